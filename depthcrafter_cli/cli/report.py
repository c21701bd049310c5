"""``depthcrafter report``: a page to look at a run, or an index of many."""

from pathlib import Path
from typing import Annotated

import typer

from depthcrafter_cli.cli import options as opt
from depthcrafter_cli.cli.console import Reporting, reported
from depthcrafter_cli.cli.options import Some, Values, spread
from depthcrafter_cli.cli.streams import Line
from depthcrafter_cli.text import expanded
from depthcrafter_cli.workflows.looking import ReportRequest
from depthcrafter_cli.workflows.request import RunRequest

Runs = Annotated[
    list[Path],
    typer.Argument(
        help="An output of a run, its record, or the folder of one that was kept; reports of "
        "'batch' and of 'evaluate'.",
        metavar="RUN...",
        parser=opt.past_click(expanded),
    ),
]
Out = Annotated[
    Path,
    opt.option("--out", "-o", text="Where to write the page, such as page.html.", parser=expanded),
]
NAMES = opt.names_of(RunRequest, ReportRequest) | {"out": "--out"}
"""The options that set what sentences name, of this command."""


@spread
def report(
    runs: Runs,
    out: Out,
    *,
    asked: Annotated[Values, Some(ReportRequest)],
    writing: Annotated[Values, Some(RunRequest, names=("overwrite",))],
    how: Reporting,
) -> None:
    """Make a page that shows a run: video and depth, over time and in space, in one file.

    Of several runs, of a batch or an evaluation it is an index with thumbnails. The page needs no
    network and no model.

    \b
    Examples:
      depthcrafter report depth.mp4 --out page.html
      depthcrafter report depth.npz scores.json --out page.html
      depthcrafter report report.json --out index.html
    """
    with reported(**vars(how), names=NAMES) as console:
        console.keep_log_apart([*runs, out])
        from depthcrafter_cli.workflows.report import report as carry_out

        request = ReportRequest(tuple(runs), out, **asked, **writing)
        with console.observing() as observer:
            written = carry_out(request, observer, console.warn)
        console.done(written, Line(f"{out.stat().st_size / 1e6:.2f} MB"))
