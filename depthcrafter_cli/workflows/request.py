"""What a user asked of a run, and the same as JSON for records and a run's state."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from depthcrafter_cli.depth.normalize import Normalization
from depthcrafter_cli.disk import derived
from depthcrafter_cli.errors import UsageError
from depthcrafter_cli.media.numbered import NUMBER
from depthcrafter_cli.media.resize import output_size
from depthcrafter_cli.media.selection import ReadOptions
from depthcrafter_cli.models.variants import VARIANTS
from depthcrafter_cli.structured import plain, typed
from depthcrafter_cli.types import Size

FROM_SOURCE = "source"
DTYPES = ("auto", "fp32", "fp16", "bf16")

# How a run is carried out, not what comes of it: may differ when it is resumed.
_CIRCUMSTANCES = (
    "overwrite", "work_dir", "keep_work", "resume", "resume_only", "max_vram", "max_ram",
    "create_folders",
)  # fmt: skip


@dataclass(frozen=True)
class RunRequest:
    """One video and what shall become of it, as the user asked; None means the default.

    ``settings`` are fields of :class:`PipelineConfig` that override the model's own.
    ``reference`` reproduces the published program: its noise, its choice of frames and
    frame-rate label, its output at the model's size. ``start_number`` is that of the first frame
    where each is a file, or ``source``: as the images of the source are numbered, if they are.
    ``max_vram`` and ``max_ram`` are GB, None what is free. Without ``outputs`` a run can be planned
    but not carried out. ``resume`` goes on with a run that stopped; its state is in ``work_dir``
    (None: beside the first output), which goes when the run is finished unless ``keep_work``. A run
    that cannot be gone on with is begun again where ``overwrite`` is set, unless ``resume_only``.
    ``create_folders`` makes those that the outputs need.

    Raises UsageError for a ``crf`` that H.264 does not have, a ``dtype`` that there is not, and a
    ``start_number`` that is none.
    """

    source: Path
    outputs: tuple[Path, ...]
    weights: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    reading: ReadOptions = field(default_factory=ReadOptions)
    max_res: int | None = None
    size: str = "source"
    normalization: Normalization = field(default_factory=Normalization)
    colormap: str = "inferno"
    side_by_side: bool = False
    crf: int = 18
    start_number: str = "0"
    overwrite: bool = False
    record: bool = True
    reference: bool = False
    max_vram: float | None = None
    max_ram: float | None = None
    work_dir: Path | None = None
    keep_work: bool = False
    resume: bool = False
    resume_only: bool = False
    create_folders: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 <= self.crf <= 51:
            raise UsageError(
                f"The quality is {self.crf}, expected 0 (lossless) to 51: correct --crf."
            )
        if self.start_number != FROM_SOURCE and not re.fullmatch(r"\d{1,9}", self.start_number):
            raise UsageError(
                f"The first number is {self.start_number!r}, expected a whole number or "
                f"{FROM_SOURCE}: correct --start-number."
            )
        if self.dtype not in DTYPES:
            raise UsageError(
                f"The dtype is {self.dtype}, expected one of {', '.join(DTYPES)}: correct --dtype."
            )

    @property
    def selection(self) -> ReadOptions:
        """How the source is read; the reference takes BT.601 for all that name no matrix."""
        if self.reference and self.reading.matrix == "auto":
            return replace(self.reading, matrix="bt601")
        return self.reading

    @property
    def first_number(self) -> int:
        """That of the first frame where each is a file; 0 if the source decides."""
        return 0 if self.start_number == FROM_SOURCE else int(self.start_number)

    @property
    def first_output(self) -> Path:
        """The first output by a name of its own, which ``.`` and ``..`` have not."""
        first = self.outputs[0]
        return first if first.name.strip(".") else first.resolve()

    @property
    def work_folder(self) -> Path:
        """Where the run keeps its state, such as ``depth.mp4.work`` beside ``depth.mp4``."""
        if self.work_dir is not None:
            return self.work_dir
        first = self.first_output.absolute()
        return derived(first.with_name(NUMBER.sub("", first.name)), ".work")

    @property
    def record_path(self) -> Path | None:
        """Where the run's record goes, beside the first output; None if none is wanted."""
        return derived(self.first_output, ".json") if self.record else None

    def output_size(self, source: Size, model: Size) -> Size:
        """The size of the results of a video and a model of these sizes. Raises UsageError."""
        if self.reference and self.size == "source":
            return model
        return output_size(self.size, source, model)

    def to_json(self) -> dict[str, Any]:
        """Plain values; paths are absolute, so that they mean the same from any folder."""
        values = plain(self.absolute())
        return {name: value for name, value in values.items() if name not in _CIRCUMSTANCES}

    def absolute(self) -> "RunRequest":
        """The same in any folder."""
        return replace(
            self,
            source=self.source.absolute(),
            outputs=tuple(out.absolute() for out in self.outputs),
            weights=_absolute_folder(self.weights),
            work_dir=self.work_dir and self.work_dir.absolute(),
        )

    def same_result(self, made: Mapping[str, Any]) -> bool:
        """Whether ``made``, a request as :meth:`to_json` gives it, asked for the same results.

        The device and how the weights are called do not count: what is made says which kind of
        device and which weights made it. Nor does what would be made of gaps where the run before
        got on without any. Raises ValueError for what is no request.
        """
        asked, before = self.to_json(), RunRequest.from_json(made).to_json()
        if before["reading"]["gaps"] == "error":
            asked["reading"]["gaps"] = "error"
        return all(
            asked[name] == before[name] for name in asked if name not in ("device", "weights")
        )

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> "RunRequest":
        """The request that :meth:`to_json` was called on, with default circumstances.

        What a former version did not ask for yet has its default. Raises ValueError for values
        that are no request's, and UsageError for those that no request takes any more.
        """
        asked: RunRequest = typed(RunRequest, values, "request")
        return asked


def _absolute_folder(weights: str | None) -> str | None:
    """A variant's name means the variant, whatever folders there are (as for find_weights)."""
    if weights is None or weights in VARIANTS or not Path(weights).is_dir():
        return weights
    return str(Path(weights).absolute())
