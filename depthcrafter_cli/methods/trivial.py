"""Methods that look at no pixel: what every other one has to beat."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from depthcrafter_cli.errors import UsageError
from depthcrafter_cli.evaluation.alignment import Array, resize_bilinear
from depthcrafter_cli.methods.base import (
    Estimator,
    Keep,
    Machine,
    MethodPlan,
    MethodRequest,
    ResumePoint,
    configured,
    refuse,
    size_within,
)
from depthcrafter_cli.models.layout import Layout
from depthcrafter_cli.models.registry import ModelSpec
from depthcrafter_cli.models.weights import InstalledModel
from depthcrafter_cli.progress import Observer, Progress, Warn
from depthcrafter_cli.structured import content_errors
from depthcrafter_cli.text import expanded
from depthcrafter_cli.types import Disparity, RgbImage, Size

_MAX_RES, _MULTIPLE = 256, 8  # there is nothing to see in more
_FRAMES = 8  # handed out together
Shape = tuple[int, int, int]  # frames, height, width


def constant(shape: Shape) -> Disparity:
    """Everything equally far: the fit then finds the best single depth."""
    return np.broadcast_to(np.float32(0.5), shape)


def vertical_gradient(shape: Shape) -> Disparity:
    """Far at the top, near at the bottom, as in most pictures that show a floor; in (0, 1)."""
    height = shape[1]
    rows = (np.arange(height, dtype=np.float32) + 0.5) / height
    return np.broadcast_to(rows[:, np.newaxis], shape)


def mean_image(shape: Shape, mean_disparity: Array) -> Disparity:
    """``mean_disparity`` [h, w], the mean over a training set, resized for every frame."""
    return np.broadcast_to(resize_bilinear(mean_disparity, Size(*shape[1:])), shape)


@dataclass(frozen=True)
class TrivialMethod:
    """The same depth for every frame: ``constant``, ``gradient`` (lower is nearer) or ``mean``.

    ``mean`` is the mean disparity of a training set, float [h, w] in a file of NumPy's that
    ``--weights`` names.
    """

    kind: str
    description: str

    @property
    def name(self) -> str:
        """The method's name, as users type it."""
        return f"trivial-{self.kind}"

    def find(self, weights: str | None) -> InstalledModel | None:
        """Return None: there is no model folder."""
        del weights
        return None

    def plan(self, request: MethodRequest, source: Size) -> "TrivialPlan":
        """Settle what is asked. Raises UsageError for what has no meaning here."""
        configured(_NoSettings(), request, self.name)
        asked = {
            "reference": request.reference,
            "dtype": request.dtype != "auto",
            "max_vram": request.limits[0] is not None,
            "max_ram": request.limits[1] is not None,
            "weights": request.weights is not None and self.kind != "mean",
        }
        refuse(self.name, *(name for name, given in asked.items() if given))
        if self.kind == "mean" and request.weights is None:
            raise UsageError(
                f"got `method` {self.name} without `weights`, expected the mean disparity of a "
                'training set: pass `weights="mean.npy"`, an array [height, width].'
            )
        spec = ModelSpec(self.name, self.name, self.description, (), layout=Layout(()))
        longest = _MAX_RES if request.max_res is None else request.max_res
        size = size_within(source, longest, _MULTIPLE)
        mean = None if request.weights is None else expanded(request.weights)
        if mean is not None:
            _read(mean)
        return TrivialPlan(
            weights=None, spec=spec, size=size, multiple=_MULTIPLE, kind=self.kind, mean=mean
        )


@dataclass(frozen=True)
class _NoSettings:
    """The settings of a method that has none."""


@dataclass(frozen=True, kw_only=True)
class TrivialPlan(MethodPlan):
    """A plan to give one picture for all frames."""

    kind: str
    mean: Path | None

    @property
    def settings(self) -> Mapping[str, Any]:
        """The file of the mean, by its content."""
        if self.mean is None:
            return {}
        return {"mean_sha256": hashlib.sha256(self.mean.read_bytes()).hexdigest()}

    def on(
        self,
        machine: Machine,
        frames: int | None,
        settings: Mapping[str, Any] | None = None,
    ) -> "TrivialPlan":
        """Return the plan itself: it is the same on any machine."""
        return replace(self, machine=machine)

    def how(self, windows: int | None) -> str:
        """Return, in words, that nothing is computed."""
        return "the same for every frame"

    def memory_words(self) -> str:
        """Return, in words, that it takes no memory."""
        return "one frame"

    def load(self, networks: Any, observer: Observer, warn: Warn) -> Estimator:
        """Return the estimator; there is nothing to load."""
        shape = (1, self.size.height, self.size.width)
        if self.mean is not None:
            return _Same(mean_image(shape, _read(self.mean)))
        return _Same({"constant": constant, "gradient": vertical_gradient}[self.kind](shape))


class _Same:
    """Gives one picture, float32 [1, H, W], for each frame."""

    def __init__(self, picture: Disparity) -> None:
        self._picture = np.asarray(picture, dtype=np.float32)
        self.networks: Any = None
        self.fallbacks: list[str] = []
        self.kernels = ""

    def first_read(self, point: ResumePoint) -> int:
        """Frames are read for their times alone."""
        return point.decoded

    def __call__(
        self,
        frames: Iterable[RgbImage],
        *,
        total: int | None,
        observer: Observer,
        resume_from: ResumePoint | None,
        keep: Keep,
    ) -> Iterator[Disparity]:
        """Yield the picture of each frame: :class:`~depthcrafter_cli.methods.base.Estimator`."""
        stream, done = iter(frames), 0 if resume_from is None else resume_from.decoded
        observer(Progress("estimate", done, total))
        while count := sum(1 for _ in islice(stream, _FRAMES)):
            keep(ResumePoint(done, count, last=False))
            yield np.repeat(self._picture, count, axis=0)
            done += count
            observer(Progress("estimate", done, total))
        keep(ResumePoint(done, 0, last=True))


def _read(path: Path) -> Disparity:
    """A mean disparity, float32 [h, w]. Raises UsageError for what is none."""
    with content_errors(path, UsageError, "expected an array [height, width] of NumPy's: check it"):
        mean = np.load(path, allow_pickle=False)
        if not (isinstance(mean, np.ndarray) and mean.ndim == 2 and mean.size):
            raise ValueError("it is no array of two dimensions")
        if mean.dtype.kind != "f" or not np.isfinite(mean).all():
            raise ValueError("its values are no finite numbers")
    return mean.astype(np.float32)


TRIVIAL_METHODS = (
    TrivialMethod("constant", "Everything equally far."),
    TrivialMethod("gradient", "Far at the top, near at the bottom."),
    TrivialMethod("mean", "The mean picture of a training set."),
)
