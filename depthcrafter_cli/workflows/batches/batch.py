"""A batch from its sources to its reports: find the videos, check all, carry out what is to do."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

from depthcrafter_cli.errors import UsageError
from depthcrafter_cli.options import as_kind, require_functions
from depthcrafter_cli.progress import Progress, Warn, ignore
from depthcrafter_cli.workflows.batches.checks import at_the_end, check_tasks, record_stamp
from depthcrafter_cli.workflows.batches.engine import Engine, engine_for
from depthcrafter_cli.workflows.batches.names import output_paths
from depthcrafter_cli.workflows.batches.options import BatchOptions
from depthcrafter_cli.workflows.batches.queue import run_tasks
from depthcrafter_cli.workflows.batches.report import ReportFile, TaskReport, check_report
from depthcrafter_cli.workflows.batches.sources import BatchVideo, find_videos
from depthcrafter_cli.workflows.batches.task import EndedAttempt, Task, VideoTask
from depthcrafter_cli.workflows.request import RunRequest


class BatchObserver:
    """Receives what becomes of a batch; a subclass shows what it wants of it."""

    def checked(self, reports: Sequence[TaskReport]) -> None:
        """Receive the reports of all videos before anything is computed."""

    @contextmanager
    def working(self, engine: Engine, videos: int) -> Iterator[None]:
        """Wrap the time in which an engine carries out so many videos."""
        yield

    def on_progress(self, task: Task, worker: str, event: Progress) -> None:
        """Receive how far a worker is with a video."""

    def failed(self, ended: EndedAttempt, again: bool) -> None:
        """Receive an attempt that failed, and whether it will be tried ``again``."""

    def settled(self, report: TaskReport) -> None:
        """Receive the report of a video that is done, or has failed for good."""

    def finished(self, reports: Sequence[TaskReport]) -> None:
        """Receive the reports of all videos after the batch has ended or was stopped."""


def find_tasks(
    sources: Sequence[str],
    out: Path,
    request_for: Callable[[BatchVideo, tuple[Path, ...]], RunRequest] | None = None,
    *,
    options: BatchOptions = BatchOptions(),
    columns: Collection[str] = (),
    warn: Warn = ignore,
) -> list[VideoTask]:
    """Every video of ``sources``, or of the part of them asked for, as it is to be carried out.

    Results go below ``out``. ``request_for`` makes the request of a video and its outputs, by
    default with all defaults; ``columns`` are the options that a CSV may give it.

    Raises:
        UsageError, InputError: as :func:`find_videos` and :func:`output_paths`, and what
            ``request_for`` raises.
    """
    require_functions(warn=warn, request_for=request_for or _default_request)
    sources, out = as_kind(tuple[str, ...], "sources", sources), as_kind(Path, "out", out)
    options = as_kind(BatchOptions, "options", options)
    part, parts = map(int, options.shard.split("/"))
    videos = find_videos(sources, out, columns, warn)
    outputs = output_paths(videos, out, options.formats, options.report)
    tasks = []
    for video, paths in zip(videos, outputs, strict=True):
        request = (request_for or _default_request)(video, paths)
        if options.work_dir is not None:
            place = options.work_dir / request.work_folder.relative_to(out.absolute())
            request = replace(request, work_dir=place)
        tasks.append(VideoTask(video.name, request))
    return tasks[part - 1 :: parts]


def _default_request(video: BatchVideo, outputs: tuple[Path, ...]) -> RunRequest:
    return RunRequest(video.path, outputs, create_folders=True)


def batch(
    tasks: Sequence[VideoTask],
    observer: BatchObserver | None = None,
    warn: Warn = ignore,
    *,
    options: BatchOptions = BatchOptions(),
    words: Callable[[str], str] = str,
) -> list[TaskReport]:
    """Carry out many videos, each as ``run`` would, with the model loaded once on each device.

    A video that fails is reported, and the others are done. ``words`` turns a sentence of a report
    into the caller's, who may call the fields that it names otherwise.

    Raises:
        UsageError, WeightsError: what is wrong with the options, of all videos or of one.
        OutputError: the report cannot be written.
    """
    require_functions(warn=warn, words=words)
    tasks = as_kind(tuple[VideoTask, ...], "tasks", tasks)
    options = as_kind(BatchOptions, "options", options)
    skip_complete = options.resume or options.skip_existing
    if skip_complete and not all(task.request.record for task in tasks):
        raise UsageError(
            "got `record=False` with `resume` or `skip_existing`, expected records, which tell "
            "what is complete: leave one of them out."
        )
    if options.report is not None:
        again = skip_complete or any(task.request.overwrite for task in tasks)
        check_report(options.report, replace=again)
    observer = as_kind(BatchObserver, "observer", observer or BatchObserver())
    engine = engine_for(options.workers, warn)
    checked = check_tasks(tasks, skip_complete=skip_complete)
    reports = {name: each.reworded(words) for name, each in checked.items()}
    observer.checked(list(reports.values()))
    place = None if options.dry_run else options.report
    file = None if place is None else ReportFile(place)
    before = {task.name: record_stamp(task) for task in tasks}
    try:
        to_do = {task.name: task for task in tasks if reports[task.name].open}
        if file is not None:
            file.update(reports.values())
        if to_do and not options.dry_run:
            ends = run_tasks(
                to_do.values(), engine, options.retries, observer.on_progress, observer.failed
            )
            with observer.working(engine, len(to_do)), closing(ends):
                for end in ends:
                    settled = TaskReport.settled(to_do[end.task.name], end).reworded(words)
                    observer.settled(settled)
                    reports[settled.name] = settled
                    if file is not None:
                        file.update(reports.values())
    finally:
        came = [at_the_end(reports[task.name], task, before[task.name]) for task in tasks]
        if file is not None:
            file.write(came)
        observer.finished(came)
    return came
