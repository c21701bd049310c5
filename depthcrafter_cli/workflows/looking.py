"""What commands are asked that look at results, score them or fit metres to them.

Only options are imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from depthcrafter_cli.errors import UsageError
from depthcrafter_cli.options import option, settle_options
from depthcrafter_cli.text import expanded, video_path

if TYPE_CHECKING:
    from depthcrafter_cli.datasets.recorded import RecordedClip
    from depthcrafter_cli.datasets.registry import Dataset
    from depthcrafter_cli.evaluation.report import Protocol


@dataclass(frozen=True)
class CheckRequest:
    """What is looked at: an output, record or kept state of a run, or depth of any program."""

    depth: Path
    video: Path | None = option(
        None, help="What the depth is of, where no record tells.", read=video_path
    )
    outputs: tuple[Path, ...] = ()
    columns: tuple[float, ...] = option(
        (0.25, 0.5, 0.75),
        help="Places of the temporal profiles, from 0 (left) to 1. Default: 0.25,0.5,0.75.",
        read=lambda text: tuple(map(float, text.split(","))),
        accepts=lambda shares: bool(shares) and all(0 <= share <= 1 for share in shares),
        form="places from 0 (left) to 1 (right) with commas between, such as 0.25,0.5",
    )
    overwrite: bool = False

    def __post_init__(self) -> None:
        settle_options(self)


@dataclass(frozen=True)
class CompareRequest:
    """One video and what is compared on it.

    ``methods`` are names, each with settings if wanted: ``depthcrafter:steps=1,weights=nano``.
    ``results`` are depth that is there. ``options`` are fields of a
    :class:`~depthcrafter_cli.workflows.request.RunRequest` and of its parts, for all methods.
    """

    video: Path
    outputs: tuple[Path, ...]
    methods: tuple[str, ...] = ()
    results: tuple[Path, ...] = ()
    column: float = option(
        0.5,
        help="Place of the temporal profiles, from 0 (left) to 1. Default: {default}.",
        minimum=0,
        maximum=1,
    )
    colormap: str = "inferno"
    overwrite: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        settle_options(self)


@dataclass(frozen=True)
class ReportRequest:
    """What pages are made of: outputs, records or kept states of runs, reports of batches and of
    evaluations."""

    inputs: tuple[Path, ...]
    out: Path
    frames: int = option(
        120,
        help="The most frames that a page has. Default: {default}.",
        minimum=1,
        typed="page_frames",
    )
    max_mb: float = option(
        2.0,
        help="About how large a page may be, in megabytes. Default: {default}.",
        above=0,
    )
    overwrite: bool = False

    def __post_init__(self) -> None:
        settle_options(self)


@dataclass(frozen=True)
class FigureRequest:
    """What a figure is made of: reports of evaluations or, for ``costs``, records of runs."""

    inputs: tuple[Path, ...]
    out: Path
    kind: Literal["scores", "errors", "costs"] = option(
        "scores",
        help="scores (default: bars), errors (against length), or costs (time and memory of runs).",
    )
    overwrite: bool = False

    def __post_init__(self) -> None:
        settle_options(self)


_OF_METHODS = (
    "method", "weights", "max_res", "reference", "device", "dtype", "max_vram", "max_ram"
)  # fmt: skip


@dataclass(frozen=True)
class FitRequest:
    """A result in NPZ, and what tells metres of it: one of ``points``, ``reference``, ``colmap``.

    Points of the result are in pixels of it. Of a sparse model of COLMAP the images are those of
    ``images``.
    """

    depth: Path
    points: Path | None = option(
        None,
        help="A CSV of frame,x,y,depth: pixels of the result, from 0, and metres.",
        read=expanded,
    )
    reference: Path | None = option(
        None, help="An .npz with true depth [T, H, W] in metres.", read=expanded
    )
    colmap: Path | None = option(
        None, help="A folder with a sparse model of COLMAP (sparse/0).", read=expanded
    )
    images: Path | None = option(
        None,
        help="The folder of the images that COLMAP saw. Default: what DEPTH was made of.",
        read=expanded,
    )
    out: Path | None = option(
        None,
        help="Where to write a and b. Default: DEPTH.npz.fit.json. A name depth_params.json is "
        "written for Gaussian splatting.",
        read=expanded,
        short="o",
    )
    overwrite: bool = False

    def __post_init__(self) -> None:
        settle_options(self)
        if (given := len(self._given)) != 1:
            raise UsageError(
                f"got {given} of `points`, `reference` and `colmap`, expected one: name one."
            )

    @property
    def _given(self) -> list[Path]:
        places = (self.points, self.reference, self.colmap)
        return [place for place in places if place is not None]

    @property
    def known(self) -> Path:
        """The file or folder that tells metres."""
        return self._given[0]


@dataclass(frozen=True)
class EvaluationRequest:
    """What is to be evaluated, on what, and where the scores go.

    Attributes:
        dataset: a name of :data:`~depthcrafter_cli.datasets.registry.DATASETS`.
        root: the set's folder, in its publisher's layout.
        outputs: files for the report; the first in .json is kept as the evaluation goes.
        max_res: the longest side that the method sees, in pixels; None is the set's published
            one for the published model, and the model's own for others.
        settings: of the method, by name.
        reference: whether noise and windows are those of the reference program.
        overwrite: whether files of another evaluation are replaced.
    """

    dataset: str
    root: Path
    outputs: tuple[Path, ...] = ()
    method: str = "depthcrafter"
    weights: str | None = None
    predictions: Path | None = option(
        None,
        help="Score these results of any method instead: a folder with a file (.npz, .npy) or a "
        "folder of frames (.png, .tif, .npy) for each clip.",
        read=expanded,
    )
    convention: Literal["disparity", "depth", "metric"] = option(
        "disparity",
        help="What the results are: disparity (default; larger is nearer), depth, or metric: depth "
        "in metres, to which nothing is fitted.",
    )
    per_metre: float = option(
        1.0,
        help="How many units of metric results are a metre: 1000 for millimetres. Default: 1.",
        minimum=0.0001,
        maximum=1_000_000,
    )
    only: tuple[str, ...] = option(
        (),
        help="The clips to score, by name, with commas between. Default: all.",
        read=lambda text: tuple(filter(None, text.split(","))),
        accepts=lambda _names: True,
        form="names with commas between",
    )
    fit: Literal["clip", "frame"] = option(
        "clip",
        help="Fit scale and shift to each clip (default, as published) or to each frame.",
    )
    align_by: Literal["auto", "scale-shift", "scale", "none"] = option(
        "auto",
        help="What is fitted: scale-shift, scale or none. Default: auto, which is none for metric "
        "results, else scale-shift, as published.",
    )
    loss: Literal["squares", "absolute"] = option(
        "squares", help="Fit by least squares (default, as published) or absolute deviations."
    )
    long: bool = option(False, help="The longer lists: up to 500 frames of each clip.")
    flow: bool = option(False, help="Also measure OPW, along optical flow: needs the extra flow.")
    max_frames: int | None = option(
        None, help="Frames of each clip. Default: the set's own list.", minimum=1
    )
    max_res: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    reference: bool = False
    device: str = "auto"
    dtype: str = "auto"
    max_vram: float | None = None
    max_ram: float | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        settle_options(self)

    @property
    def set(self) -> Dataset:
        """Raises UsageError for a name that there is not."""
        from depthcrafter_cli.datasets.registry import DATASETS

        if self.dataset not in DATASETS:
            raise UsageError(
                f"got `dataset` {self.dataset}, expected one of {', '.join(DATASETS)}: choose one."
            )
        return DATASETS[self.dataset]

    @property
    def protocol(self) -> Protocol:
        """How estimates are compared with the truth."""
        from depthcrafter_cli.datasets.registry import LONG_FRAMES
        from depthcrafter_cli.evaluation.report import Protocol

        return Protocol(
            self.set.max_depth,
            self.max_frames or (LONG_FRAMES if self.long else self.set.max_frames),
            "depth" if self.convention == "disparity" else "disp",
            self.fit == "frame",
            self._fitted,
            self.loss,
            self.long,
            self.flow,
        )

    def clips(self) -> list[RecordedClip]:
        """All clips that are asked for. Raises InputError for none, UsageError for other names."""
        return self.set.clips(self.root, long=self.long, only=self.only)

    @property
    def _fitted(self) -> str:
        if self.align_by != "auto":
            return self.align_by
        return "none" if self.convention == "metric" else "scale-shift"

    def check(self) -> None:
        """Raise UsageError for options that contradict each other, or would not be read."""
        if self.predictions is not None:
            defaults = {each.name: each.default for each in fields(self)}
            unread = [name for name in _OF_METHODS if getattr(self, name) != defaults[name]]
            if unread := [*unread, *self.settings]:
                raise UsageError(
                    f"got `{unread[0]}` with `predictions`, which are there already, expected only "
                    "options that do something: leave one of them out."
                )
        elif self.convention != "disparity":
            raise UsageError(
                f"got `convention` {self.convention} without `predictions`, expected those which "
                "it tells of: leave it out."
            )
        if self.per_metre != 1 and self.convention != "metric":
            raise UsageError(
                f"got `per_metre` {self.per_metre:g} for `convention` {self.convention}, expected "
                'metric results: pass `convention="metric"`.'
            )

    def frames_of(self, clip: RecordedClip) -> int:
        """How many frames of a clip are used."""
        return min(clip.frames, self.protocol.max_frames)

    def absolute(self) -> EvaluationRequest:
        """Return the same request, which means the same in any folder."""
        from depthcrafter_cli.models.weights import absolute_weights

        return replace(
            self,
            root=self.root.absolute(),
            weights=absolute_weights(self.weights),
            predictions=self.predictions and self.predictions.absolute(),
        )
