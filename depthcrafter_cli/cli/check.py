"""``depthcrafter check``: what is wrong with depth that was made before, in words."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from depthcrafter_cli.cli import options as opt
from depthcrafter_cli.cli.console import Console, Reporting, reported
from depthcrafter_cli.cli.options import Some, Values, spread
from depthcrafter_cli.cli.streams import Line
from depthcrafter_cli.options import build
from depthcrafter_cli.text import counted, expanded
from depthcrafter_cli.workflows.looking import CheckRequest
from depthcrafter_cli.workflows.request import RunRequest

if TYPE_CHECKING:
    from depthcrafter_cli.workflows.check import CheckReport

Depth = Annotated[
    Path,
    typer.Argument(
        help="An output of a run, its record, the folder of one that was kept, or depth of any "
        "program: .npz, .npy, a folder of images, a video.",
        metavar="DEPTH",
        parser=opt.past_click(expanded),
    ),
]
Out = Annotated[
    list[Path] | None,
    opt.option(
        "--out",
        "-o",
        text="Also write .json (all that was measured) or .png (temporal profiles); may be given "
        "several times.",
        parser=expanded,
    ),
]
NAMES = opt.names_of(RunRequest, CheckRequest)
"""The options that set what sentences name, of this command."""


@spread
def check(
    depth: Depth,
    out: Out = None,
    *,
    asked: Annotated[Values, Some(CheckRequest)],
    writing: Annotated[Values, Some(RunRequest, names=("overwrite",))],
    how: Reporting,
) -> None:
    """Say what is wrong with depth, one line each: seams, jumps, flicker, clipping, other scales.

    \b
    Examples:
      depthcrafter check depth.mp4
      depthcrafter check theirs.npz --video clip.mp4 --out profiles.png
    """
    with reported(**vars(how), names=NAMES) as console:
        outputs = tuple(out or ())
        console.keep_log_apart([depth, *outputs])
        from depthcrafter_cli.workflows.check import check as carry_out

        request = build(CheckRequest, {**asked, **writing}, depth=depth, outputs=outputs)
        with console.observing() as observer:
            report = carry_out(request, observer, console.warn)
        _show(console, report)
        console.done(outputs, frames=report.frames, findings=len(report.findings))


def _show(console: Console, report: "CheckReport") -> None:
    for finding in report.findings:
        says = opt.as_typed(finding.says, NAMES)
        values = {**vars(finding), "says": says}
        console.say("finding", values, Line(says), level="result")
    measured = [_measured(report)]
    if not report.findings:
        measured.insert(0, f"Nothing was found in {counted(report.frames, 'frame')}.")
    console.say(
        "measures", report.to_json(), *map(Line, measured), level="result"
    )  # fmt: skip


def _measured(report: "CheckReport") -> str:
    """The mean of what was measured of the shots, by their frames."""
    told = []
    names = {
        "change": "change from frame to frame", "flicker": "flicker of what stands still",
        "unsteady": "change along the motion",
    }  # fmt: skip
    for name, title in names.items():
        known = [
            (value, shot.frames) for shot in report.measures
            if (value := getattr(shot, name)) is not None
        ]  # fmt: skip
        if known:
            frames = sum(count for _value, count in known)
            told.append(f"{title} {sum(v * n for v, n in known) / frames:.2%}")
    return f"of the range: {', '.join(told)}" if told else "too few frames to measure change"
