"""``depthcrafter batch``: find the clips, check them all, carry out what is to do, report."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from depthcrafter_cli.cli.batch_options import NAMES, BatchOptions, OutFolder, Sources
from depthcrafter_cli.cli.batch_view import BatchView
from depthcrafter_cli.cli.console import Console, Reporting, reported
from depthcrafter_cli.cli.groups import ClipValues, Values, spread
from depthcrafter_cli.cli.options import as_typed
from depthcrafter_cli.cli.outlets import counted
from depthcrafter_cli.cli.run import files_of
from depthcrafter_cli.errors import BatchError, UsageError
from depthcrafter_cli.options import build
from depthcrafter_cli.progress import Progress
from depthcrafter_cli.workflows.request import COLUMNS, RunRequest

if TYPE_CHECKING:
    from depthcrafter_cli.workflows.batches.clip import Task
    from depthcrafter_cli.workflows.batches.engine import Engine
    from depthcrafter_cli.workflows.batches.report import ClipReport


@spread
def batch(
    sources: Sources,
    out: OutFolder,
    how: BatchOptions,
    asked: ClipValues,
    reporting: Reporting,
) -> None:
    """Turn many clips into depth: each as 'run' would, with the model loaded once.

    A clip that fails is reported, and the others are done. Stopped or killed at any moment, the
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
        _check_options(how, asked)
        console.keep_log_apart(*([] if how.report is None else [how.report]), out)
        tasks = _tasks(sources, out, how, asked, console)
        console.keep_log_apart(*(path for task in tasks for path in files_of(task.request)))
        clips = _carry_out(tasks, how, BatchView(console), console)
        failed = sum(clip.status == "failed" for clip in clips)
        if failed:
            where = f"see {how.report}" if how.report and not how.dry_run else "see above"
            raise BatchError(
                f"{failed} of {counted(len(clips), 'clip')} failed, expected all to be done: "
                f"{where}, and run the same command with --resume when the causes are gone."
            )
        if how.dry_run:
            return
        made = [clip for clip in clips if clip.status == "done"]
        outputs = [Path(path) for clip in made for path in clip.outputs]
        frames = sum(clip.frames or 0 for clip in made)
        console.done(outputs, paths=(), frames=frames)


def _check_options(how: BatchOptions, asked: Values) -> None:
    """Raises UsageError and OutputError for what makes no sense for any clip."""
    from depthcrafter_cli.workflows.batches.report import check_report

    if how.retries < 0:
        raise UsageError(f"got --retries {how.retries}, expected 0 or more: correct it.")
    if not asked["record"] and (how.resume or how.skip_existing):
        raise UsageError(
            "got --no-record with --resume or --skip-existing, expected records, which tell what "
            "is complete: leave one of them out."
        )
    if how.report is not None:
        again = how.resume or how.skip_existing or asked["overwrite"]
        check_report(how.report, replace=again)


def _tasks(
    sources: Sequence[str],
    out: Path,
    how: BatchOptions,
    asked: Values,
    console: Console,
) -> list["Task"]:
    """Every clip of this batch, or of its part, as it is to be carried out."""
    from depthcrafter_cli.workflows.batches.checks import parse_shard
    from depthcrafter_cli.workflows.batches.clip import Task
    from depthcrafter_cli.workflows.batches.names import output_paths
    from depthcrafter_cli.workflows.batches.sources import find_clips

    part, parts = (1, 1) if how.shard is None else parse_shard(how.shard)
    clips = find_clips(sources, out, COLUMNS, console.warn)
    outputs = output_paths(clips, out, list(dict.fromkeys(how.format or ["mp4"])), how.report)
    tasks = []
    for clip, paths in zip(clips, outputs, strict=True):
        cells = {COLUMNS[column]: text for column, text in clip.options.items()}
        every = {"keep_work": how.keep_work, "resume": how.resume, "create_folders": True}
        try:
            request = build(
                RunRequest, {**asked, **cells}, source=clip.source, outputs=paths, **every
            )
        except UsageError as error:
            if not cells:
                raise
            names = {field: f"column {column}" for column, field in COLUMNS.items()}
            told = as_typed(str(error), {field: names[field] for field in cells})
            raise UsageError(f"{clip.origin}: {told}") from error
        if how.work_dir is not None:
            place = how.work_dir / request.work_folder.relative_to(out.absolute())
            request = replace(request, work_dir=place)
        tasks.append(Task(clip.name, request))
    return tasks[part - 1 :: parts]


def _carry_out(
    tasks: Sequence["Task"], how: BatchOptions, view: BatchView, console: Console
) -> Sequence["ClipReport"]:
    """Check all clips, do what is to do, and report, also if that is interrupted."""
    from depthcrafter_cli.workflows.batches.checks import check_clips, left_open
    from depthcrafter_cli.workflows.batches.engine import engine_for
    from depthcrafter_cli.workflows.batches.report import ReportFile

    engine = (
        None if how.dry_run else engine_for(how.engine, how.devices, how.ray_address, console.warn)
    )
    checked = check_clips(tasks, skip_complete=how.resume or how.skip_existing)
    clips = {name: _as_typed(clip) for name, clip in checked.items()}
    view.checked(list(clips.values()))
    report = ReportFile(how.report) if how.report is not None and not how.dry_run else None
    began = time.time()
    try:
        to_do = [task for task in tasks if clips[task.name].open]
        if report is not None:
            report.update(clips.values())
        if engine is not None and to_do:
            for clip in _done(to_do, engine, how.retries, view, console):
                clips[clip.name] = clip
                if report is not None:
                    report.update(clips.values())
            console.hint = ""
    finally:
        came = [left_open(clips[task.name], task, began) for task in tasks]
        if report is not None:
            report.write(came)
        view.finished(came)
    return came


def _done(
    tasks: Sequence["Task"],
    engine: "Engine",
    retries: int,
    view: BatchView,
    console: Console,
) -> Iterator["ClipReport"]:
    """Carry out clips under the eyes of the user; each as soon as it is done or failed."""
    from depthcrafter_cli.workflows.batches.queue import carry_out_all

    with view.drawing(len(tasks)), engine.interruptible(console.stopping) as beat:

        def watch(task: "Task", worker: str, event: Progress) -> None:
            console.hint = "Go on with: the same command with --resume."
            view.watch(task, worker, event)
            beat(event)

        for clip in carry_out_all(tasks, engine, retries, watch, view.failed):
            told = _as_typed(clip)
            view.settled(told)
            yield told


def _as_typed(clip: "ClipReport") -> "ClipReport":
    """A report that names options where the layers below named fields."""
    warnings = tuple(as_typed(warning, NAMES) for warning in clip.warnings)
    return replace(clip, error=as_typed(clip.error, NAMES), warnings=warnings)
