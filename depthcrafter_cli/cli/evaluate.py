"""``depthcrafter evaluate``: score a method, or results of any other, on a set with true depth."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from depthcrafter_cli.cli import options as opt
from depthcrafter_cli.cli.console import Console, Reporting, reported
from depthcrafter_cli.cli.options import Some, Values, spread
from depthcrafter_cli.cli.run import at_work
from depthcrafter_cli.cli.streams import Line
from depthcrafter_cli.options import build
from depthcrafter_cli.text import counted, expanded
from depthcrafter_cli.workflows.batches.options import Workers
from depthcrafter_cli.workflows.looking import EvaluationRequest
from depthcrafter_cli.workflows.request import RunRequest

if TYPE_CHECKING:
    from depthcrafter_cli.evaluation.report import ClipScore, EvaluationReport

_METHOD = (
    "method", "weights", "max_res", "reference", "device", "dtype", "max_vram", "max_ram",
    "overwrite",
)  # fmt: skip
_SETTINGS = (
    "steps", "guidance", "window", "overlap", "noise_aug", "decode_chunk", "encode_batch", "align",
    "seed",
)  # fmt: skip

Set = Annotated[
    str,
    typer.Argument(
        help="sintel, scannet, scannet-tae, kitti, bonn, nyuv2, or folder: clips of your own."
    ),
]
Root = Annotated[
    Path,
    typer.Argument(
        help="The folder of the set, as its publisher ships it.", parser=opt.past_click(expanded)
    ),
]
Out = Annotated[
    list[Path],
    opt.option(
        "--out",
        "-o",
        text="Where to write the scores; may be given several times: .json (kept as it goes, and "
        "gone on from), .csv (a row for each clip), .md or .tex (a table with published rows), "
        ".png (error against length).",
        parser=expanded,
    ),
]


@spread
def evaluate(
    dataset: Set,
    root: Root,
    out: Out,
    *,
    how_scored: Annotated[Values, Some(EvaluationRequest)],
    asked: Annotated[Values, Some(RunRequest, names=_METHOD)],
    settings: Annotated[Values, Some(RunRequest, names=_SETTINGS)],
    workers: Annotated[Values, Some(Workers)],
    how: Reporting,
) -> None:
    """Score a method on a set with true depth, as the DepthCrafter paper does.

    The same command goes on where it was stopped, clip by clip.

    \b
    Examples:
      depthcrafter evaluate sintel MPI-Sintel/ --out scores.json --out scores.md
      depthcrafter evaluate kitti KITTI/ --method depth-anything-v2-small --out scores.json
      depthcrafter evaluate bonn bonn/ --predictions results/ --convention depth --out scores.csv
      depthcrafter evaluate folder my-clips/ --weights my-nano --out scores.json
      depthcrafter evaluate scannet ScanNet/ --out scores.json --devices cuda:0,cuda:1
    """
    names = opt.names_of(RunRequest, EvaluationRequest, Workers) | {"dataset": "SET"}
    with reported(**vars(how), names=names) as console:
        console.keep_log_apart(out)
        from depthcrafter_cli.workflows.evaluate import evaluate as carry_out

        request = build(
            EvaluationRequest, how_scored, dataset=dataset, root=root, outputs=tuple(out),
            settings=settings, **asked,
        )  # fmt: skip
        goes_on = any(path.suffix.lower() == ".json" for path in out)
        tell = partial(_tell, console, goes_on)
        if workers:
            from depthcrafter_cli.workflows.batches.clips import on_engine

            with at_work(build(Workers, workers), request.device, console) as (engine, observer):
                elsewhere = on_engine(engine)
                report = carry_out(request, observer, console.warn, tell, elsewhere=elsewhere)
        else:
            with console.observing() as observer:
                report = carry_out(request, observer, console.warn, tell)
        console.hint = ""
        _show(console, report, out)


def _tell(console: Console, goes_on: bool, score: "ClipScore") -> None:
    steady = "" if score.temporal is None else f"  temporal {score.temporal:.3f}"
    metrics = score.metrics
    text = f"AbsRel {metrics.abs_rel:.3f}  δ1 {metrics.delta1:.3f}{steady}  {score.name}"
    console.say("clip", score.values(), Line(text))
    console.hint = "Go on with: the same command." if goes_on else ""


def _show(console: Console, report: "EvaluationReport", out: list[Path]) -> None:
    from depthcrafter_cli.evaluation.report import NOTE, table

    titles, rows = table(report)
    widest = max(len(row[0]) for row in rows)
    lines = [
        Line(f"{row[0]:<{widest}}" + "".join(f"{cell:>8}" for cell in row[1:]))
        for row in (titles, *rows)
    ]
    frames = sum(clip.frames for clip in report.clips)
    head = Line(
        f"{report.dataset}: {counted(len(report.clips), 'clip')}, {counted(frames, 'frame')}"
    )
    lines += [Line(NOTE)] * (len(rows) > 1)
    console.say("scores", report.to_json()["mean"], head, *lines, level="result")
    console.done(out, frames=frames)
