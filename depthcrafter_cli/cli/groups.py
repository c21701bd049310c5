"""Options that several commands share: declared once, as dataclasses, and made into requests."""

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from depthcrafter_cli.cli import options as opt
from depthcrafter_cli.errors import UsageError

if TYPE_CHECKING:
    from depthcrafter_cli.depth.normalize import Normalization
    from depthcrafter_cli.workflows.request import RunRequest


@dataclass(frozen=True)
class ResultOptions:
    """What becomes of a clip's disparity."""

    size: opt.Size = "source"
    normalize: opt.Normalize = "clip"
    colormap: opt.Colormap = "inferno"
    side_by_side: opt.SideBySide = False
    crf: opt.Crf = 18
    start_number: opt.StartNumber = "0"
    overwrite: opt.Overwrite = False
    record: opt.Record = True

    def asked(self) -> dict[str, Any]:
        """The fields of a request that these options decide. Raises UsageError."""
        return {
            "size": self.size,
            "normalization": self._normalization(),
            "colormap": self.colormap,
            "side_by_side": self.side_by_side,
            "crf": self.crf,
            "start_number": self.start_number,
            "overwrite": self.overwrite,
            "record": self.record,
        }

    def _normalization(self) -> "Normalization":
        from depthcrafter_cli.depth.normalize import Normalization

        mode, limits = opt.parse_normalize(self.normalize)
        return Normalization(mode, *limits)  # type: ignore[arg-type]


@dataclass(frozen=True)
class DepthOptions:
    """How a clip's disparity is computed."""

    weights: opt.Weights = None
    max_res: opt.MaxRes = None
    start: opt.Start = None
    end: opt.End = None
    max_frames: opt.MaxFrames = None
    fps: opt.Fps = None
    sequence_rate: opt.SequenceRate = "24"
    gaps: opt.Gaps = "error"
    stream: opt.Stream = None
    matrix: opt.Matrix = "auto"
    window: opt.Window = None
    overlap: opt.Overlap = None
    steps: opt.Steps = None
    guidance: opt.Guidance = None
    noise_aug: opt.NoiseAug = None
    decode_chunk: opt.DecodeChunk = None
    encode_batch: opt.EncodeBatch = None
    seed: opt.Seed = None
    reference: opt.Reference = False
    max_vram: opt.MaxVram = "auto"
    max_ram: opt.MaxRam = "auto"
    dtype: opt.Dtype = "auto"

    def request(
        self, source: Path, outputs: tuple[Path, ...], **circumstances: Any
    ) -> "RunRequest":
        """What is asked of one clip; ``circumstances`` are more fields of the request.

        Raises UsageError for a value that makes no sense.
        """
        from depthcrafter_cli.media.selection import ReadOptions
        from depthcrafter_cli.workflows.request import RunRequest

        settings = (
            "window", "overlap", "steps", "guidance", "noise_aug", "decode_chunk", "encode_batch",
            "seed",
        )  # fmt: skip
        given = {name: getattr(self, name) for name in settings}
        reading = ReadOptions(
            start=opt.parse_time(self.start, "--start"),
            end=opt.parse_time(self.end, "--end"),
            max_frames=self.max_frames,
            fps=None if self.fps is None else opt.parse_rate(self.fps, "--fps"),
            sequence_rate=opt.parse_rate(self.sequence_rate, "--sequence-rate"),
            gaps=self.gaps,
            stream=self.stream,
            matrix=self.matrix,
        )
        return RunRequest(
            source=source,
            outputs=outputs,
            weights=self.weights,
            dtype=self.dtype,
            reading=reading,
            max_res=self.max_res,
            reference=self.reference,
            max_vram=opt.parse_gigabytes("--max-vram", self.max_vram),
            max_ram=opt.parse_gigabytes("--max-ram", self.max_ram),
            settings={name: value for name, value in given.items() if value is not None},
            **circumstances,
        )


@dataclass(frozen=True)
class RunOptions(DepthOptions, ResultOptions):
    """All that may be asked of a clip, apart from where it is and where its result goes."""

    def request(
        self, source: Path, outputs: tuple[Path, ...], **circumstances: Any
    ) -> "RunRequest":
        """Also what becomes of the disparity."""
        return super().request(source, outputs, **self.asked(), **circumstances)


CELLS = tuple(
    field.name for field in fields(RunOptions) if field.name not in ("overwrite", "record")
)
"""The options that a list may set for each of its clips."""


def with_cells(options: RunOptions, cells: Mapping[str, str], origin: str) -> RunOptions:
    """The options with those of one line of a list in their place.

    Raises UsageError, naming ``origin``, for a text that is not of the option's type.
    """
    hints = get_type_hints(RunOptions)
    return replace(
        options, **{name: _typed(text, hints[name], name, origin) for name, text in cells.items()}
    )


def _typed(text: str, hint: Any, name: str, origin: str) -> Any:
    """A text as the first type of ``hint``, which may be optional."""
    kind = (get_args(hint) or (hint,))[0]
    try:
        return _TRUTH[text.lower()] if kind is bool else kind(text)
    except (ValueError, KeyError):
        raise UsageError(
            f"{origin} has {name} {text!r}, expected {_KINDS[kind]}: correct it."
        ) from None


_KINDS = {bool: "yes or no", int: "a whole number", float: "a number"}
_TRUTH = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}


def spread(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the fields of its dataclass parameters as parameters of their own.

    So typer, which knows no groups of options, sees each as an option.
    """
    parameters: list[inspect.Parameter] = []
    groups: dict[str, type] = {}
    for parameter in inspect.signature(command).parameters.values():
        group = parameter.annotation
        if not is_dataclass(group):
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        assert isinstance(group, type)
        groups[parameter.name] = group
        hints = get_type_hints(group, include_extras=True)
        parameters += [
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=field.default,
                annotation=hints[field.name],
            )
            for field in fields(group)
        ]

    @functools.wraps(command)
    def gathered(**values: Any) -> None:
        for name, group in groups.items():
            members = {field.name: values.pop(field.name) for field in fields(group)}
            values[name] = group(**members)
        command(**values)

    annotations = {parameter.name: parameter.annotation for parameter in parameters}
    gathered.__annotations__ = annotations
    gathered.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return gathered
