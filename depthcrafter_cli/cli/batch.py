"""``depthcrafter batch``: find the videos, check them all, carry out what is to do, report."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from depthcrafter_cli.cli.batch_options import NAMES, BatchOptions, OutFolder, Sources
from depthcrafter_cli.cli.console import Reporting, reported
from depthcrafter_cli.cli.options import Values, VideoValues, as_typed, spread
from depthcrafter_cli.cli.outlets import counted
from depthcrafter_cli.cli.run import files_of
from depthcrafter_cli.errors import BatchError, UsageError
from depthcrafter_cli.options import build
from depthcrafter_cli.workflows.request import COLUMNS, RunRequest

if TYPE_CHECKING:
    from depthcrafter_cli.workflows.batches.sources import BatchVideo


@spread
def batch(
    sources: Sources,
    out: OutFolder,
    how: BatchOptions,
    asked: VideoValues,
    reporting: Reporting,
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
    with reported(**vars(reporting), names=NAMES) as console:
        from depthcrafter_cli import workflows
        from depthcrafter_cli.cli.batch_view import BatchView

        if not asked["record"] and (how.resume or how.skip_existing):
            raise UsageError(
                "got --no-record with --resume or --skip-existing, expected records, which tell "
                "what is complete: leave one of them out."
            )
        console.keep_log_apart(*([] if how.report is None else [how.report]), out)
        tasks = workflows.find_tasks(
            sources,
            out,
            partial(_request, how, asked),
            columns=COLUMNS,
            formats=how.format or ["mp4"],
            shard=how.shard,
            work_dir=how.work_dir,
            report=how.report,
            warn=console.warn,
        )
        console.keep_log_apart(*(path for task in tasks for path in files_of(task.request)))
        videos = workflows.batch(
            tasks,
            BatchView(console),
            console.warn,
            engine=how.engine,
            devices=how.devices,
            ray_address=how.ray_address,
            retries=how.retries,
            skip_complete=how.resume or how.skip_existing,
            report=how.report,
            dry_run=how.dry_run,
            words=partial(as_typed, names=NAMES),
        )
        console.hint = ""
        failed = sum(video.status == "failed" for video in videos)
        if failed:
            where = f"see {how.report}" if how.report and not how.dry_run else "see above"
            raise BatchError(
                f"{failed} of {counted(len(videos), 'video')} failed, expected all to be done: "
                f"{where}, and run the same command with --resume when the causes are gone."
            )
        if how.dry_run:
            return
        made = [video for video in videos if video.status == "done"]
        outputs = [Path(path) for video in made for path in video.outputs]
        frames = sum(video.frames or 0 for video in made)
        console.done(outputs, paths=(), frames=frames)


def _request(
    how: BatchOptions, asked: Values, video: "BatchVideo", outputs: tuple[Path, ...]
) -> RunRequest:
    """What is asked of a video, which may have options of its own. Raises UsageError."""
    cells = {COLUMNS[column]: text for column, text in video.options.items()}
    every = {"keep_work": how.keep_work, "resume": how.resume, "create_folders": True}
    try:
        return build(RunRequest, {**asked, **cells}, video=video.path, outputs=outputs, **every)
    except UsageError as error:
        if not cells:
            raise
        names = {field: f"column {column}" for column, field in COLUMNS.items()}
        told = as_typed(str(error), {field: names[field] for field in cells})
        raise UsageError(f"{video.origin}: {told}") from error
