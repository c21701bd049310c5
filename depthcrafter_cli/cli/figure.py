"""``depthcrafter figure``: evaluations and runs as figures."""

from pathlib import Path
from typing import Annotated

import typer

from depthcrafter_cli.cli import options as opt
from depthcrafter_cli.cli.console import Reporting, reported
from depthcrafter_cli.cli.options import Some, Values, spread
from depthcrafter_cli.text import expanded
from depthcrafter_cli.workflows.looking import FigureRequest
from depthcrafter_cli.workflows.request import RunRequest

Files = Annotated[
    list[Path],
    typer.Argument(
        help="Reports of 'evaluate' in .json, or, for costs, records of runs.",
        metavar="FILE...",
        parser=opt.past_click(expanded),
    ),
]
Out = Annotated[
    Path, opt.option("--out", "-o", text="Where to write the figure: .png.", parser=expanded)
]
NAMES = opt.names_of(RunRequest, FigureRequest) | {"out": "--out"}
"""The options that set what sentences name, of this command."""


@spread
def figure(
    files: Files,
    out: Out,
    *,
    asked: Annotated[Values, Some(FigureRequest)],
    writing: Annotated[Values, Some(RunRequest, names=("overwrite",))],
    how: Reporting,
) -> None:
    """Draw evaluations, or what runs took, as papers do.

    \b
    Examples:
      depthcrafter figure sintel.json bonn.json --out scores.png
      depthcrafter figure ours-500.json theirs-500.json --kind errors --out length.png
      depthcrafter figure a.mp4.json b.mp4.json --kind costs --out costs.png
    """
    with reported(**vars(how), names=NAMES) as console:
        console.keep_log_apart([*files, out])
        from depthcrafter_cli.workflows.figure import figure as carry_out

        carry_out(FigureRequest(tuple(files), out, **asked, **writing))
        console.done([out])
