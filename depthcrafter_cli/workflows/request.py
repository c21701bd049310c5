"""What a user asked of a run, and the same as JSON for records and a run's state.

The command line's options are declared here, so little is imported before it is needed.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from fractions import Fraction
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from depthcrafter_cli.depth.normalize import NORMALIZATIONS, Normalization, read_normalization
from depthcrafter_cli.disk import derived, nearest_folder
from depthcrafter_cli.errors import UsageError
from depthcrafter_cli.media.look import Look
from depthcrafter_cli.media.numbered import NUMBER, without_places
from depthcrafter_cli.media.selection import ReadOptions
from depthcrafter_cli.options import documented, option, options_of, settings_of, settle_options
from depthcrafter_cli.pipeline.config import PipelineConfig
from depthcrafter_cli.text import expanded, read_gigabytes

if TYPE_CHECKING:
    from depthcrafter_cli.types import Anamorphic, Size

FROM_SOURCE = "source"
STANDARD_INPUT = Path("-")  # as a video; a file of that name has an absolute path
CONSUMERS = ("stereocrafter", "iw3", "3dgs", "nuke", "resolve", "blender", "comfyui")
AUTO_CUTS, NO_CUTS, TRANSNET = "auto", "none", "transnetv2"


def _read_limit(name: str, text: str) -> float | None:
    """GB of memory; ``auto`` is None. Raises UsageError with an amount that this machine has."""
    if text.strip().lower() == "auto":
        return None
    try:
        return read_gigabytes(text)
    except ValueError:
        raise UsageError(
            f"got `{name}` {text!r}, expected auto or GB above 0, as in 8, 8GB or 8000MB: write "
            f"`{name}={_gigabytes_here(name)}`, which is what is free here, or leave it out."
        ) from None


def _gigabytes_here(name: str) -> str:
    """What a limit of memory could be on this machine."""
    from depthcrafter_cli.models.devices import pick_device
    from depthcrafter_cli.workflows.resources import available_ram, free_device_memory

    free = available_ram()
    if name == "max_vram":
        free = free_device_memory(str(pick_device("auto"))) or free
    return f"{max(1, free * 10 >> 30) / 10:g}"


def _is_first_number(text: str) -> bool:
    return text == FROM_SOURCE or re.fullmatch(r"\d{1,9}", text) is not None


@documented
@dataclass(frozen=True)
class RunRequest(Look):
    """One video and what shall become of it, as the user asked; None means the default.

    ``settings`` are those of the method that override the model's own: a method reads all or some
    of the options of :class:`PipelineConfig`, and refuses others. Without
    ``outputs`` a run can be planned but not carried out. A run that cannot be gone on with by
    ``resume`` is begun again where ``overwrite`` is set, unless ``resume_only``.
    ``create_folders`` makes those that the outputs need. ``only_shots`` are those of a run begun
    elsewhere that a worker computes, which writes no outputs.

    Raises UsageError for a value outside its range.
    """

    video: Path
    outputs: tuple[Path, ...]
    size: str = option(
        "source", help="Size of the result: {default} (default), model or WIDTHxHEIGHT.",
        part="look", form="source, model or WIDTHxHEIGHT: write 1280x720",
    )  # fmt: skip
    square: bool = option(
        False,
        help="Square pixels, at the size at which the video is shown. Default: the size at which "
        "it is stored, with its pixel aspect.",
        part="look",
    )
    normalization: Normalization = option(
        Normalization(),
        help="What becomes 0 and 1: {default} (default: the extremes), "
        "percentile or 'percentile 2 98', 'fixed LO HI', or none.",
        part="look",
        typed="normalize",
        read=read_normalization,
        form=NORMALIZATIONS,
    )
    range_of: str = option(
        "shot",
        help="From what 0 and 1 are taken: {default} (default: each shot has its own) or film.",
        part="look",
        typed="range",
        choices=("shot", "film"),
    )
    start_number: str = option(
        FROM_SOURCE,
        help="Number of the first image of a sequence, or {default} (default): as the source's "
        "images are numbered, and from 0 where it has no numbers.",
        part="look",
        accepts=_is_first_number,
        form=f"a whole number or {FROM_SOURCE}",
    )
    upsample: str = option(
        "bilinear",
        help="How disparity is enlarged: {default} (default), or edges, which lets it jump where "
        "the colours of the video do.",
        part="look",
        choices=("bilinear", "edges"),
    )
    audio: str = option(
        "copy",
        help="Sound of the source, for videos of its depth: {default} (default) or none.",
        part="look",
        choices=("copy", "none"),
    )
    consumer: str | None = option(
        None,
        help="Lay results out in the folder OUT for a program (docs/hand-off.md): "
        f"{', '.join(CONSUMERS)}.",
        part="files",
        typed="for",
        choices=CONSUMERS,
    )
    preview: bool = option(
        False, help="Write OUT.preview.gif, small and looping, and OUT.sheet.jpg.", part="files"
    )
    overwrite: bool = option(False, help="Replace existing outputs.", part="writing", saved=False)
    per_shot: bool = option(
        False,
        help="Write a file, or a folder of images, for each shot of a film, named by its number "
        "from 0: OUT_shot0000.mp4, OUT/shot0000/.",
        part="writing",
    )
    record: bool = option(
        True, help="Write OUT.json, which says how OUT was made. Default.", part="writing"
    )
    method: str = option(
        "depthcrafter",
        help="{default} (default), a model of single images such as depth-anything-v2-small "
        "(docs/methods.md), or trivial-constant, trivial-gradient, trivial-mean.",
        part="depth",
    )
    weights: str | None = option(
        None,
        help="nano, depthcrafter, or a model folder; MODEL+FOLDER adds the adapter in a folder. "
        "Default: depthcrafter if pulled, else nano.",
        part="depth",
        short="w",
    )
    max_res: int | None = option(
        None,
        help="Longest side the model sees, in pixels. Default: the model's own.",
        part="depth",
        unit="pixels",
    )
    reading: ReadOptions = field(default_factory=ReadOptions)
    cuts: str = option(
        AUTO_CUTS,
        help="Where a film is cut into shots, each of which gets depth of its own: {default} "
        "(default: cuts are looked for; to all but 'shots', images and the reference are one "
        "shot), none, transnetv2 (by that network, extra transnetv2), or a list such as shots.csv "
        "or an EDL.",
        part="depth",
    )
    settings: Mapping[str, Any] = settings_of(PipelineConfig)
    reference: bool = option(
        False,
        help="Reproduce the reference program: its noise as drawn on a CPU (a GPU draws other "
        "numbers), its frame choice, rate label and size.",
        part="depth",
    )
    max_vram: float | None = option(
        None,
        help="GB the card has, or may be used of it: the fastest plan that fits is taken. Default: "
        "auto, what is free. On a CPU: GB of RAM for the whole process.",
        part="memory",
        unit="GB",
        above=0,
        read=partial(_read_limit, "max_vram"),
        saved=False,
    )
    max_ram: float | None = option(
        None,
        help="GB of host memory for what leaves the GPU. Default: auto.",
        part="memory",
        unit="GB",
        above=0,
        read=partial(_read_limit, "max_ram"),
        saved=False,
    )
    dtype: str = option(
        "auto",
        help="{default} (default: fp16 on a GPU, else fp32), fp32, fp16 or bf16.",
        part="depth",
        choices=("auto", "fp32", "fp16", "bf16"),
    )
    device: str = option(
        "auto", help="{default} (default), cuda, cuda:N, mps, xpu or cpu.", part="run"
    )
    work_dir: Path | None = option(
        None,
        help="Where the run keeps its state. Default: OUT.work beside the first OUT.",
        part="run",
        read=expanded,
        saved=False,
    )
    keep_work: bool = option(
        False,
        help="Keep that folder, to make other outputs with 'finish'.",
        part="run",
        saved=False,
    )
    resume: bool = option(
        False,
        help="Go on where the same run was stopped, by its state in WORK-DIR; begin if there is "
        "none.",
        part="run",
        saved=False,
    )
    resume_only: bool = False
    create_folders: bool = False
    only_shots: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        from depthcrafter_cli.media.sinks.registry import output_named

        settle_options(self)
        object.__setattr__(self, "outputs", tuple(map(output_named, self.outputs)))
        for place in (*self.outputs, *([self.work_dir] if self.work_dir else [])):
            if not (place.name.strip(".") or place.resolve().name):
                raise UsageError(
                    f"got {place} to write to, which is a whole disk, expected a file or a folder "
                    "on it: name one."
                )

    @property
    def selection(self) -> ReadOptions:
        """How the source is read.

        The reference takes BT.601 for all that name no matrix, and HDR as it is stored.
        """
        if not self.reference:
            return self.reading
        own: dict[str, Any] = {"matrix": "bt601", "tonemap": "none"}
        told = {name: own[name] for name in own if getattr(self.reading, name) == "auto"}
        return replace(self.reading, **told)

    @property
    def cut_list(self) -> Path | None:
        """The file that says where the video is cut, if one was given."""
        return None if self.cuts in (AUTO_CUTS, NO_CUTS, TRANSNET) else expanded(self.cuts)

    def cut_list_identity(self) -> dict[str, Any]:
        """What tells that file from others; empty if there is none. Raises OSError."""
        from depthcrafter_cli.media.identity import identity

        return {} if self.cut_list is None else identity(self.cut_list)

    @cached_property
    def look(self) -> Look:
        """The part of the request that says how the depth is shown."""
        return Look(**{each.name: getattr(self, each.name) for each in fields(Look)})

    @property
    def limits(self) -> tuple[float | None, float | None]:
        """GB of the device and of the host that may be used, None for what is free."""
        return self.max_vram, self.max_ram

    @property
    def first_number(self) -> int:
        """That of the first frame where each is a file; 0 if the source decides."""
        return 0 if self.start_number == FROM_SOURCE else int(self.start_number)

    @property
    def first_output(self) -> Path:
        """The first output by a name of its own, which ``.`` and ``..`` have not."""
        first = self.outputs[0]
        return first if first.name.strip(".") else first.resolve()

    @cached_property
    def work_folder(self) -> Path:
        """Where the run keeps its state, such as ``depth.mp4.work`` beside ``depth.mp4``."""
        if self.work_dir is not None:
            return self.work_dir
        from depthcrafter_cli.media.sinks.registry import is_numbered

        first = self.first_output.absolute()
        name = (NUMBER.sub("", first.name) or "depth") if is_numbered(first) else first.name
        return derived(first.with_name(name), ".work")

    @cached_property
    def record_path(self) -> Path | None:
        """Where the run's record goes; None if none is wanted.

        It lies beside the first output: ``depth.mp4.json``. For the images ``shot/d.%04d.exr``,
        whose folder is to hold images alone, it is ``shot.d.exr.json`` beside that folder.
        """
        if not self.record:
            return None
        from depthcrafter_cli.media.sinks.registry import is_numbered

        first = self.first_output
        if is_numbered(first):
            folder, name = first.absolute().parent, without_places(first.stem)
            above = nearest_folder(folder.parent)
            if folder.name and above is not None and os.access(above, os.W_OK):
                own = f".{name}" * (name not in ("", folder.name))
                first = folder.with_name(f"{folder.name}{own}{first.suffix}")
        return derived(first, ".json")

    def output_size(
        self, source: "Size", model: "Size", anamorphic: "Anamorphic | None" = None
    ) -> "Size":
        """The size of the results of a video and a model of these sizes.

        Of a video that is ``anamorphic`` the results are stored as it is. Raises UsageError.
        """
        from depthcrafter_cli.media.resize import output_size

        if self.reference and self.size == "source":
            return model
        return output_size(self.size, self.picture_size(source, anamorphic), model)

    def picture_size(self, source: "Size", anamorphic: "Anamorphic | None") -> "Size":
        """The size of the source's pictures beside the results."""
        return source if anamorphic is None or self.square else anamorphic.size

    def pixel_aspect(self, anamorphic: "Anamorphic | None") -> Fraction:
        """The width of the results' pixels to their height."""
        if anamorphic is None or self.square or self.reference or self.size != "source":
            return Fraction(1)
        return anamorphic.pixel_aspect

    def to_json(self) -> dict[str, Any]:
        """Plain values; paths are absolute, so that they mean the same from any folder."""
        from depthcrafter_cli.structured import plain

        values = plain(self.absolute())
        return {name: value for name, value in values.items() if name not in _CIRCUMSTANCES}

    def absolute(self) -> "RunRequest":
        """Return the same request, which means the same in any folder."""
        from depthcrafter_cli.models.weights import absolute_weights

        return replace(
            self,
            video=self.video.absolute(),
            outputs=tuple(out.absolute() for out in self.outputs),
            weights=absolute_weights(self.weights),
            cuts=str(self.cut_list.absolute()) if self.cut_list else self.cuts,
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
        from depthcrafter_cli.structured import typed

        asked: RunRequest = typed(RunRequest, values, "request")
        return asked


_CIRCUMSTANCES = {"resume_only", "create_folders", "only_shots"} | {
    name for name, each in options_of(RunRequest).items() if not each.saved
}
COLUMNS = {
    o.typed: n for n, o in options_of(RunRequest).items() if o.part in ("look", "depth", "memory")
}
"""The options that a list may set for each of its videos, and the fields that they set."""
_FINISHED = "look", "writing", "files", "metric"
FINISHED = {n: o.default for n, o in options_of(RunRequest).items() if o.part in _FINISHED}
"""The fields that may differ where other outputs are made of a run, and their defaults."""
