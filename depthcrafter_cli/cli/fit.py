"""``depthcrafter fit``: from known distances to metres."""

from pathlib import Path
from typing import Annotated

import typer

from depthcrafter_cli.cli import options as opt
from depthcrafter_cli.cli.console import Reporting, reported
from depthcrafter_cli.cli.options import Some, Values, spread
from depthcrafter_cli.cli.streams import Line
from depthcrafter_cli.text import expanded
from depthcrafter_cli.workflows.request import RunRequest

Depth = Annotated[
    Path,
    typer.Argument(help="A result in .npz.", metavar="DEPTH.npz", parser=opt.past_click(expanded)),
]
Points = Annotated[
    Path | None,
    opt.option(
        "--points",
        text="A CSV of frame,x,y,depth: pixels of the result, from 0, and metres.",
        parser=expanded,
    ),
]
Reference = Annotated[
    Path | None,
    opt.option("--reference", text="An .npz with true depth [T, H, W] in metres.", parser=expanded),
]
Colmap = Annotated[
    Path | None,
    opt.option(
        "--colmap", text="A folder with a sparse model of COLMAP (sparse/0).", parser=expanded
    ),
]
Images = Annotated[
    Path | None,
    opt.option(
        "--images",
        text="The folder of the images that COLMAP saw. Default: what DEPTH was made of.",
        parser=expanded,
    ),
]
Out = Annotated[
    Path | None,
    opt.option(
        "--out",
        "-o",
        text="Where to write a and b. Default: DEPTH.npz.fit.json. A name depth_params.json is "
        "written for Gaussian splatting.",
        parser=expanded,
    ),
]

NAMES = opt.NAMES | {name: f"--{name}" for name in ("points", "reference", "colmap", "images")}
"""The options that set what sentences name, of this command."""


@spread
def fit(
    depth: Depth,
    *,
    points: Points = None,
    reference: Reference = None,
    colmap: Colmap = None,
    images: Images = None,
    out: Out = None,
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

        fits, place = workflows.fit(
            depth,
            points=points,
            reference=reference,
            colmap=colmap,
            images=images,
            out=out,
            **writing,
        )
        console.done(
            [place],
            *(
                Line(
                    f"from frame {fit.first_frame} on: "
                    * (len(fits) > 1)
                    + f"1 / depth = {fit.a:.6g} * disparity + {fit.b:.6g}, from {fit.points} "
                    f"points, which are {fit.error:.1%} off in the middle"
                )
                for fit in fits
            ),
            shots=[fit.to_json() for fit in fits],
        )
