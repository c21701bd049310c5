"""The options of ``run``, one name each, and the parsers behind them. Only typer is imported."""

import functools
import os
import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

import typer

from depthcrafter_cli.errors import UsageError
from depthcrafter_cli.text import clock_seconds, expanded, numbered, video_path

_NTSC = (24, 30, 48, 60, 96, 120, 240)  # each times 1000/1001
_NTSC_ROUNDING = Fraction(5, 1000)  # 23.98 for 24000/1001


def option(
    *names: str, text: str, parser: Callable[[str], Any] | None = None, **settings: Any
) -> Any:
    """An option whose help says its default itself.

    ``parser`` makes a path of what is typed, which may not look like an option: where the path was
    forgotten, the option behind it would become one.
    """
    if parser is not None:
        settings["parser"] = _no_option(names[0], parser)
    return typer.Option(*names, help=text, show_default=False, **settings)


def _no_option(name: str, parser: Callable[[str], Any]) -> Callable[[str], Any]:
    @functools.wraps(parser)
    def parsed(typed: str | Path) -> Any:
        text = str(typed)  # the default of an option comes here as well, which may be a Path
        if text.startswith("-"):
            raise UsageError(
                f"got {name} {text}, expected a path after {name}: add it, or write ./{text} for a "
                "file or folder of that name."
            )
        return parser(text)

    return parsed


def output_path(text: str) -> Path:
    """An output as typed; what ends in a slash is a folder, also if its name has a dot."""
    path = numbered(expanded(text))
    if text.endswith(("/", os.sep)) and path.suffix and not path.is_dir():
        from depthcrafter_cli.media.sinks.png16 import PngSink

        return PngSink.pattern(path)
    return path


Source = Annotated[
    Path,
    typer.Argument(
        help="A video, a folder of images, a pattern such as frame_%05d.png, or one image.",
        metavar="VIDEO",
        parser=video_path,
    ),
]
Outputs = Annotated[
    list[Path],
    option(
        "--out",
        "-o",
        text="Where to write; may be given several times. The suffix chooses the format: .mp4 or "
        ".mov (colour video), .npz or .npy (raw disparity, float32), a folder or name_%05d.png "
        "(16-bit grey), name.%04d.tif (16-bit grey), name.%04d.exr (raw disparity, float32).",
        parser=output_path,
    ),
]
Weights = Annotated[
    str | None,
    option(
        "--weights",
        "-w",
        text="nano, depthcrafter, or a model folder. Default: depthcrafter if pulled, else nano.",
    ),
]
Device = Annotated[str, option("--device", text="auto (default), cuda, cuda:N, mps, xpu or cpu.")]
Dtype = Annotated[
    str, option("--dtype", text="auto (default: fp16 on a GPU, else fp32), fp32, fp16 or bf16.")
]
MaxRes = Annotated[
    int | None,
    option("--max-res", text="Longest side the model sees, in pixels. Default: the model's own."),
]
Size = Annotated[
    str,
    option("--size", text="Size of the result: source (default), model or WIDTHxHEIGHT."),
]
Start = Annotated[
    str | None, option("--start", text="Begin here: seconds or [HH:]MM:SS, fractions allowed.")
]
End = Annotated[str | None, option("--end", text="Stop before this time.")]
MaxFrames = Annotated[int | None, option("--max-frames", text="Read at most this many frames.")]
Fps = Annotated[
    str | None,
    option("--fps", text="Pick frames by timestamp at this rate, e.g. 12 or 24000/1001."),
]
SequenceRate = Annotated[
    str, option("--sequence-rate", text="Frame rate of a folder of images. Default: 24.")
]
Stream = Annotated[
    int | None,
    option(
        "--stream",
        text="Number of one of the file's video streams, from 0. Default: what players show, the "
        "one flagged as default or the largest.",
    ),
]
Gaps = Annotated[
    str,
    option(
        "--gaps",
        text="Numbers that a sequence of images lacks: error (default), hold (the image before "
        "stays) or close (the next one follows at once).",
    ),
]
Matrix = Annotated[
    str,
    option(
        "--matrix",
        text="Colour matrix of a video that does not name its own: auto (default: by its "
        "primaries, else bt709 from 720 lines or 1280 columns up, else bt601), bt601, bt709 or "
        "bt2020.",
    ),
]
Normalize = Annotated[
    str,
    option(
        "--normalize",
        text="What becomes 0 and 1: clip (default: the extremes of the whole clip), percentile or "
        "'percentile 2 98', 'fixed LO HI', or none.",
    ),
]
Colormap = Annotated[
    str, option("--colormap", text="Any matplotlib colormap for videos. Default: inferno.")
]
SideBySide = Annotated[bool, option("--side-by-side", text="Video: the source left of the depth.")]
Crf = Annotated[int, option("--crf", text="H.264 quality, 0 (lossless) to 51. Default: 18.")]
StartNumber = Annotated[
    str,
    option(
        "--start-number",
        text="Number of the first PNG (default: 0), or source: as the source's images are "
        "numbered.",
    ),
]
Overwrite = Annotated[bool, option("--overwrite", text="Replace existing outputs.")]
Record = Annotated[
    bool,
    option("--record/--no-record", text="Write OUT.json, which says how OUT was made. Default."),
]
Reference = Annotated[
    bool,
    option(
        "--reference",
        text="Reproduce the published program: its noise as drawn on a CPU (a GPU draws other "
        "numbers), its frame choice, rate label and size.",
    ),
]
Steps = Annotated[
    int | None, option("--steps", text="Denoising steps per window. Default: 5 (nano: 1).")
]
Guidance = Annotated[
    float | None, option("--guidance", text="Classifier-free guidance. Default: 1 (off).")
]
Window = Annotated[
    int | None,
    option("--window", text="Frames denoised together. Default: the model's (110, nano 24)."),
]
Overlap = Annotated[
    int | None,
    option(
        "--overlap",
        text="Frames shared by neighbouring windows. Default: the model's (25, nano 8).",
    ),
]
NoiseAug = Annotated[
    float | None,
    option("--noise-aug", text="Noise added to the frames before encoding. Default: 0.02."),
]
DecodeChunk = Annotated[
    int | None,
    option("--decode-chunk", text="Frames decoded together; changes the result. Default: 8."),
]
EncodeBatch = Annotated[
    int | None,
    option("--encode-batch", text="Frames encoded together; only memory. Default: 8."),
]
Seed = Annotated[int | None, option("--seed", text="Seed of all noise. Default: 42.")]
MaxVram = Annotated[
    str,
    option(
        "--max-vram",
        text="GB the card has, or may be used of it: the fastest plan that fits is taken. Default: "
        "auto, what is free. On a CPU: GB of RAM for the whole process.",
    ),
]
MaxRam = Annotated[
    str,
    option("--max-ram", text="GB of host memory for what leaves the GPU. Default: auto."),
]
Card = Annotated[
    str | None,
    option("--card", text="The GPU to tell the time for, such as 'RTX 4060'. Default: --device."),
]
Resume = Annotated[
    bool, option("--resume", text="Go on where the same run was stopped; begin if it was not.")
]
WorkDir = Annotated[
    Path | None,
    option(
        "--work-dir",
        text="Where the run keeps its state. Default: OUT.work beside OUT.",
        parser=expanded,
    ),
]
KeepWork = Annotated[
    bool,
    option("--keep-work", text="Keep that folder, to make other outputs with 'finish'."),
]
WorkFolder = Annotated[
    Path,
    typer.Argument(
        help="The folder of a run, such as depth.mp4.work.", metavar="WORKDIR", parser=expanded
    ),
]
Quiet = Annotated[bool, option("--quiet", "-q", text="Print errors alone, no warnings.")]
Json = Annotated[bool, option("--json", text="Print one JSON event a line instead.")]
Debug = Annotated[bool, option("--debug", text="Show tracebacks.")]
Log = Annotated[
    Path | None,
    option("--log", text="Add all that is said to this file, with times.", parser=expanded),
]


def parse_time(text: str | None, option: str) -> Fraction | None:
    """Seconds, MM:SS or HH:MM:SS."""
    if text is not None and (seconds := clock_seconds(text)) is None:
        raise UsageError(
            f"got {option} {text!r}, expected seconds or HH:MM:SS: write 83.5 or 1:23.5."
        )
    return None if text is None else seconds


def parse_rate(text: str, option: str) -> Fraction:
    """Frames per second as a number or a ratio; 23.976 and the like mean the rates of NTSC."""
    try:
        rate = Fraction(text)
        ntsc = Fraction(round(rate * 1001 / 1000) * 1000, 1001)
        if "/" not in text and ntsc * 1001 / 1000 in _NTSC and abs(rate - ntsc) < _NTSC_ROUNDING:
            return ntsc
        # Other floats written out mean the ratio they are nearest to.
        return rate.limit_denominator(1_000_000) or rate
    except (ValueError, ZeroDivisionError):
        raise UsageError(
            f"got {option} {text!r}, expected frames per second: write 12, 23.976 or 24000/1001."
        ) from None


def parse_normalize(text: str) -> tuple[str, list[float]]:
    """A mode and its limits."""
    mode, *limits = re.split(r"[\s,:]+", text.strip())
    modes = ("clip", "percentile", "fixed", "none")
    try:
        numbers = [float(limit) for limit in limits]
    except ValueError:
        numbers = []
        mode = ""
    if mode not in modes or len(numbers) not in (0, 2):
        raise UsageError(
            f"got --normalize {text!r}, expected clip, percentile, 'percentile 2 98', "
            "'fixed LO HI' or none: correct it."
        )
    return mode, numbers


def parse_gigabytes(option: str, text: str) -> float | None:
    """GB of an amount such as ``8``, ``8.5 GB``, ``8000MB`` or ``8GiB``; ``auto`` is None.

    GB, as printed on a card's box, are GiB here. Raises UsageError.
    """
    if text.strip().lower() == "auto":
        return None
    found = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*(?:([MG])(i?)B?)?\s*", text, re.IGNORECASE)
    if found is not None:
        number, unit, binary = found.groups()
        step = 1024 if binary else 1000
        amount = float(number) / (step if unit in ("M", "m") else 1)
        if 0 < amount < 1e6:
            return amount
    raise UsageError(
        f"got {option} {text!r}, expected auto or GB above 0, as in 8, 8GB or 8000MB: write "
        f"{option} {_gigabytes_here(option)}, which is what is free here, or leave it out."
    )


def _gigabytes_here(option: str) -> str:
    """What an option of memory could be on this machine."""
    from depthcrafter_cli.models.devices import pick_device
    from depthcrafter_cli.workflows.resources import available_ram, free_device_memory

    free = available_ram()
    if option == "--max-vram":
        free = free_device_memory(str(pick_device("auto"))) or free
    return f"{max(1, free * 10 >> 30) / 10:g}GB"
