"""``depthcrafter compare``: several methods on one video, side by side."""

from pathlib import Path
from typing import Annotated

from depthcrafter_cli.cli import options as opt
from depthcrafter_cli.cli.console import Reporting, reported
from depthcrafter_cli.cli.options import Some, Values, spread
from depthcrafter_cli.media.selection import ReadOptions
from depthcrafter_cli.text import expanded
from depthcrafter_cli.workflows.looking import CompareRequest
from depthcrafter_cli.workflows.request import RunRequest

_RUN = ("max_res", "cuts", "device", "dtype", "max_vram", "max_ram")
_READING = ("start", "end", "frames", "max_frames", "fps")

Methods = Annotated[
    list[str] | None,
    opt.option(
        "--method",
        text="A method to run, with settings if wanted; may be given several times: depthcrafter, "
        "depthcrafter:steps=1,weights=nano, depth-anything-v2-small.",
    ),
]
Results = Annotated[
    list[Path] | None,
    opt.option(
        "--result", text="Depth that is there, of the same frames; may be given several times.",
        parser=expanded,
    ),
]  # fmt: skip
Out = Annotated[
    list[Path],
    opt.option(
        "--out",
        "-o",
        text="Where to write; may be given several times: .png or .jpg (a sheet), .mp4 (a video).",
        parser=expanded,
    ),
]
NAMES = opt.names_of(RunRequest, CompareRequest) | {"methods": "--method", "results": "--result"}
"""The options that set what sentences name, of this command."""


@spread
def compare(
    video: opt.Video,
    out: Out,
    method: Methods = None,
    result: Results = None,
    *,
    profiles: Annotated[Values, Some(CompareRequest)],
    look: Annotated[Values, Some(RunRequest, names=("colormap", "overwrite"))],
    asked: Annotated[Values, Some(RunRequest, names=_RUN)],
    reading: Annotated[Values, Some(ReadOptions, names=_READING)],
    how: Reporting,
) -> None:
    """Show methods side by side on one video: source, each depth, one column of each over time.

    \b
    Examples:
      depthcrafter compare clip.mp4 --method depthcrafter --method depth-anything-v2-small \\
        --out sheet.png --out side.mp4
      depthcrafter compare clip.mp4 --method depthcrafter:steps=1 --result theirs.npz -o sheet.png
    """
    with reported(**vars(how), names=NAMES) as console:
        console.keep_log_apart([video, *(result or ()), *out])
        from depthcrafter_cli.workflows.compare import compare as carry_out

        request = CompareRequest(
            video, tuple(out), tuple(method or ()), tuple(result or ()),
            options={**asked, **reading}, **profiles, **look,
        )  # fmt: skip
        console.hint = "Go on with: the same command."
        with console.observing() as observer:
            frames = carry_out(request, observer, console.warn)
        console.hint = ""
        console.done(out, frames=frames)
