"""Depth models of single images, frame by frame: the baselines of video depth.

What they have in common; ``transformers_depth`` and ``marigold`` say how each kind predicts.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from depthcrafter_cli.errors import DepthCrafterError, UsageError, WeightsError, first_line
from depthcrafter_cli.methods.base import (
    AFFINE,
    Estimator,
    Keep,
    Machine,
    MethodPlan,
    MethodRequest,
    ResumePoint,
    refuse,
)
from depthcrafter_cli.models.registry import MODELS, ModelSpec
from depthcrafter_cli.models.weights import InstalledModel, find_weights
from depthcrafter_cli.progress import Observer, Progress, StageWork, Warn
from depthcrafter_cli.structured import content_errors
from depthcrafter_cli.types import Disparity, MemoryPlan, RgbImage, Scarce, Size

if TYPE_CHECKING:
    from torch import Tensor

NEAREST = 0.01  # metres: no surface is taken for nearer, so that 1 / depth stays finite
_MEANINGS = {
    "inverse depth": AFFINE,
    "metric depth": f"1 / metres, at most {1 / NEAREST:g}, larger is nearer",
    "canonical inverse depth": "1 / metres by the model's own field of view, larger is nearer",
    "affine depth": "1 - affine-invariant depth, which is depth turned over and no disparity; "
    "larger is nearer",
}


@dataclass(frozen=True)
class PerFrameConfig:
    """Settings of a method without time: ``encode_batch`` frames are computed together."""

    encode_batch: int = 4


@dataclass(frozen=True, kw_only=True)
class PerFramePlan(MethodPlan):
    """Frames on their own, in batches on a grid that is counted from the first frame.

    The grid keeps the result of a run that stopped and went on the same to the bit, as networks
    may round otherwise in batches of another size.
    """

    config: PerFrameConfig = PerFrameConfig()

    @property
    def disparity(self) -> str:
        """What the numbers mean, by what the network predicts."""
        return _MEANINGS[self.spec.convention]

    @property
    def settings(self) -> Mapping[str, Any]:
        """The method's settings, as plain values."""
        return asdict(self.config)

    def on(
        self,
        machine: Machine,
        frames: int | None,
        settings: Mapping[str, Any] | None = None,
    ) -> MethodPlan:
        """The same on any machine: what it takes of memory is not predicted."""
        config = self.config if settings is None else replace(self.config, **settings)
        return replace(self, machine=machine, config=config)

    def stage_work(self, frames: int) -> dict[str, StageWork]:
        """One stage, of which it is not known beforehand how long a frame takes."""
        return {"estimate": StageWork(frames, operations=1.0)}

    def how(self, windows: int | None) -> str:
        """Return, in words, that each frame is estimated on its own."""
        return f"each frame on its own, {self.config.encode_batch} at a time"

    def load(self, networks: Any, observer: Observer, warn: Warn) -> Estimator:
        """Load the networks, or take those that are loaded."""
        assert self.machine is not None and self.weights is not None
        if networks is None:
            observer(Progress("load", 0, 1, unit="model"))
            networks = self.networks(self.weights.path, self.machine)
            observer(Progress("load", 1, 1, unit="model"))
        return PerFrameEstimator(self, networks, warn)

    @abstractmethod
    def networks(self, folder: Path, machine: Machine) -> Any:
        """Load the network that predicts. Raises WeightsError."""

    @abstractmethod
    def predict(self, networks: Any, pictures: "Tensor", first: int) -> "Tensor":
        """What the network says of pictures uint8 [n, 3, H, W], the first of which is ``first``.

        Float32 [n, H, W] of disparity by :attr:`disparity`.
        """


class PerFrameEstimator:
    """Batches in, disparity out; a batch that is too large for memory is halved."""

    def __init__(self, plan: PerFramePlan, networks: Any, warn: Warn) -> None:
        self._plan, self.networks, self._warn = plan, networks, warn
        self.fallbacks: list[str] = []
        self.kernels = ""
        assert plan.machine is not None
        self._device, self._dtype = plan.machine.device, plan.machine.dtype
        kind = self._device.split(":")[0]
        self._memory = replace(MemoryPlan.default(kind), encode_batch=plan.config.encode_batch)

    def first_read(self, point: ResumePoint) -> int:
        """The first frame of the batch that the pass stopped in."""
        return point.decoded // self._plan.config.encode_batch * self._plan.config.encode_batch

    def __call__(
        self,
        frames: Iterable[RgbImage],
        *,
        total: int | None,
        observer: Observer,
        resume_from: ResumePoint | None,
        keep: Keep,
    ) -> Iterator[Disparity]:
        """See :class:`~depthcrafter_cli.methods.base.Estimator`."""
        stream, done = iter(frames), 0 if resume_from is None else resume_from.decoded
        begin = 0 if resume_from is None else self.first_read(resume_from)
        observer(Progress("estimate", done, total))
        while batch := list(islice(stream, self._plan.config.encode_batch)):
            fresh = begin + len(batch) - done
            if fresh > 0:  # else it was handed out whole before the pass stopped
                disparity = self._disparity(np.stack(batch), begin)
                keep(ResumePoint(done, fresh, last=False))
                yield disparity[-fresh:]
                done += fresh
                observer(Progress("estimate", done, total))
            begin += len(batch)
        keep(ResumePoint(done, 0, last=True))

    def _disparity(self, pictures: RgbImage, first: int) -> Disparity:
        """Of a batch uint8 [n, H, W, 3], float32 [n, H, W]."""
        import torch

        from depthcrafter_cli.pipeline.retries import until_it_fits

        def under(memory: MemoryPlan) -> Disparity:
            size = memory.encode_batch
            starts = range(0, len(pictures), size)
            return np.concatenate(
                [self._predicted(pictures[at : at + size], first + at) for at in starts]
            )

        device = torch.device(self._device)
        return until_it_fits(under, self._memory, device, "condition", self._smaller)

    def _smaller(self, plan: MemoryPlan, _place: Scarce) -> MemoryPlan | None:
        """Batches of half the size from now on; None after single frames."""
        if plan.encode_batch == 1:
            return None
        self._memory = replace(plan, encode_batch=plan.encode_batch // 2)
        batch = self._memory.encode_batch
        self.fallbacks.append(f"memory ran out; went on with {batch} frames at a time")
        self._warn(f"{self.fallbacks[-1]}.")
        return self._memory

    def _predicted(self, pictures: RgbImage, first: int) -> Disparity:
        import torch

        from depthcrafter_cli.models.undisturbed import undisturbed
        from depthcrafter_cli.pipeline.denoise import require_numbers

        with undisturbed():
            tensor = torch.from_numpy(pictures).permute(0, 3, 1, 2).to(self._device)
            found = self._plan.predict(self.networks, tensor, first).float()
            require_numbers(found, getattr(torch, self._dtype), f"for frame {first} or after")
            if found.shape[1:] != tensor.shape[2:]:
                found = torch.nn.functional.interpolate(
                    found[:, None], size=tensor.shape[2:], mode="bilinear"
                )[:, 0]
            disparity: Disparity = found.cpu().numpy()
            return disparity


@dataclass(frozen=True)
class PerFrameMethod(ABC):
    """A registered model of single images, which is a method of the same name."""

    spec: ModelSpec

    @property
    def name(self) -> str:
        """The method's name, as users type it."""
        return self.spec.name

    def find(self, weights: str | None) -> InstalledModel:
        """The registered model, or a folder with other weights for it, of the same convention.

        Raises UsageError for the name of another model, WeightsError where there is none.
        """
        spec = self.spec
        if weights in MODELS and weights != spec.name:
            raise UsageError(
                f"got `weights` {weights} with `method` {self.name}, expected {spec.name} or a "
                "folder in its layout: leave `weights` out."
            )
        found = find_weights(weights or spec.name, spec.layout)
        return replace(found, spec=replace(found.spec, convention=spec.convention))

    def plan(self, request: MethodRequest, source: Size) -> PerFramePlan:
        """Settle what is asked. Raises UsageError, WeightsError."""
        unread = {"reference": request.reference, "max_ram": request.limits[1] is not None}
        refuse(self.name, *(name for name, given in unread.items() if given))
        return self._plan(request, source, self.find(request.weights))

    @abstractmethod
    def _plan(
        self, request: MethodRequest, source: Size, weights: InstalledModel
    ) -> PerFramePlan: ...


@contextmanager
def loading(folder: Path) -> Iterator[None]:
    """Inside, whatever keeps a library from loading a model is a WeightsError.

    Its own advice, which names other programs' options, is left out, and so are its bars.
    """
    import diffusers
    import transformers

    for library in (diffusers, transformers):
        library.utils.logging.disable_progress_bar()
        library.utils.logging.set_verbosity_error()
    expected = "expected a model that its library can load: pull or copy the model again"
    with content_errors(folder, WeightsError, expected):
        try:
            yield
        except DepthCrafterError:
            raise
        except Exception as error:
            if isinstance(error, MemoryError):
                raise
            raise ValueError(first_line(error) or type(error).__name__) from error


def require_whole(folder: Path, told: Mapping[str, Any]) -> None:
    """Raise WeightsError if a library made up weights; ``told`` is its loading information."""
    lacking = sorted(map(str, (*told["missing_keys"], *told["mismatched_keys"])))
    if lacking:
        raise WeightsError(
            f"got weights in {folder} that lack {len(lacking)} tensors of the network or have them "
            f"in another shape ({lacking[0]}), expected all: pull or copy the model again."
        )
