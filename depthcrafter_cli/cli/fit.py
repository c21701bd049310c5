"""``depthcrafter fit``: from known distances to metres."""

from pathlib import Path
from typing import Annotated

import typer

from depthcrafter_cli.cli import options as opt
from depthcrafter_cli.cli.console import Reporting, reported
from depthcrafter_cli.cli.options import Some, Values, spread
from depthcrafter_cli.cli.streams import Line
from depthcrafter_cli.text import expanded
from depthcrafter_cli.workflows.looking import FitRequest
from depthcrafter_cli.workflows.request import RunRequest

Depth = Annotated[
    Path,
    typer.Argument(help="A result in .npz.", metavar="DEPTH.npz", parser=opt.past_click(expanded)),
]
NAMES = opt.names_of(RunRequest, FitRequest)
"""The options that set what sentences name, of this command."""


@spread
def fit(
    depth: Depth,
    *,
    asked: Annotated[Values, Some(FitRequest)],
    writing: Annotated[Values, Some(RunRequest, names=("overwrite",))],
    how: Reporting,
) -> None:
    """Find a and b of 1 / depth = a * disparity + b from known distances in metres.

    Wrong ones among them do little harm.

    \b
    Examples:
      depthcrafter fit depth.npz --points points.csv
      depthcrafter finish depth.npz.work --out metres.npz --metric depth.npz.fit.json
    """
    with reported(**vars(how), names=NAMES) as console:
        from depthcrafter_cli import workflows

        fits, place = workflows.fit(FitRequest(depth, **asked, **writing), console.warn)
        console.done(
            [place],
            *(
                Line(
                    f"from frame {fit.first_frame} on: "
                    * (len(fits) > 1)
                    + f"1 / depth = {fit.a:.6g} * disparity + {fit.b:.6g}, from {fit.points} "
                    f"points: half of them are less than {fit.error:.1%} off"
                )
                for fit in fits
            ),
            shots=[fit.to_json() for fit in fits],
        )
