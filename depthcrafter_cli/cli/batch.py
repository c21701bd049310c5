"""``depthcrafter batch``: find the videos, check them all, carry out what is to do, report."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from depthcrafter_cli.cli import options as opt
from depthcrafter_cli.cli.console import Reporting, reported
from depthcrafter_cli.cli.options import Some, Values, as_typed, spread
from depthcrafter_cli.cli.run import files_of
from depthcrafter_cli.errors import BatchError, UsageError
from depthcrafter_cli.options import build
from depthcrafter_cli.text import counted, expanded
from depthcrafter_cli.workflows.batches.options import BatchOptions
from depthcrafter_cli.workflows.request import COLUMNS, RunRequest

if TYPE_CHECKING:
    from depthcrafter_cli.workflows.batches.sources import BatchVideo


NAMES = opt.names_of(RunRequest, BatchOptions) | {"device": "--devices"}
"""The options that set what sentences name, of a batch."""


@spread
def batch(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Folders (with all below), quoted patterns such as 'shots/**/*.mov', lists (.txt "
            "with a path a line; .csv with a column 'video', one 'name' and options of run), "
            "videos.",
            metavar="SOURCE...",
        ),
    ],
    out: Annotated[
        Path,
        opt.option(
            "--out",
            "-o",
            text="The folder of the results, which mirrors the sources.",
            parser=expanded,
        ),
    ],
    given: Annotated[Values, Some(BatchOptions)],
    asked: Annotated[Values, Some(RunRequest, *opt.RESULT, *opt.DEPTH, names=("keep_work",))],
    how: Reporting,
) -> None:
    """Turn many videos into depth: each as 'run' would, with the model loaded once.

    A video that fails is reported, and the others are done. Stopped or killed at any moment, the
    same command with --resume goes on.

    \b
    Examples:
      depthcrafter batch shots/ --out depth/
      depthcrafter batch 'shots/**/*.mov' --out depth/ --format png --resume
      depthcrafter batch list.csv --out depth/ --devices cuda:0,cuda:1
      depthcrafter batch shots/ --out depth/ --engine ray --ray-address auto
      depthcrafter batch shots/ --out depth/ --shard 3/8
    """
    with reported(**vars(how), names=NAMES) as console:
        from depthcrafter_cli import workflows
        from depthcrafter_cli.cli.batch_view import BatchView

        options = build(BatchOptions, given)
        console.keep_log_apart(filter(None, [options.report, out]))
        words = partial(as_typed, names=NAMES)
        tasks = workflows.find_tasks(
            sources,
            out,
            partial(_request, asked, options.resume),
            options=options,
            columns=COLUMNS,
            warn=console.warn,
        )
        console.keep_log_apart(path for task in tasks for path in files_of(task.request))
        console.warn_of_unread([task.request for task in tasks])
        videos = workflows.batch(
            tasks,
            BatchView(console, words),
            console.warn,
            options=options,
            words=words,
        )
        console.hint = ""
        failed = sum(video.status == "failed" for video in videos)
        if failed:
            where = "above" if options.dry_run else options.report or "above"
            raise BatchError(
                f"{failed} of {counted(len(videos), 'video')} failed, expected all to be done: "
                f"see {where}, and run the same command with --resume when the causes are gone."
            )
        if options.dry_run:
            return
        made = [video for video in videos if video.status == "done"]
        outputs = [Path(path) for video in made for path in video.outputs]
        frames = sum(video.frames or 0 for video in made)
        console.done(outputs, paths=(), frames=frames)


def _request(
    asked: Values, resume: bool, video: "BatchVideo", outputs: tuple[Path, ...]
) -> RunRequest:
    """What is asked of a video, which may have options of its own. Raises UsageError."""
    cells = {COLUMNS[column]: text for column, text in video.options.items()}
    every = {"resume": resume, "create_folders": True}
    try:
        return build(RunRequest, {**asked, **cells}, video=video.path, outputs=outputs, **every)
    except UsageError as error:
        if not cells:
            raise
        names = {field: f"column {column}" for column, field in COLUMNS.items()}
        told = as_typed(str(error), {field: names[field] for field in cells})
        raise UsageError(f"{video.origin}: {told}") from error
