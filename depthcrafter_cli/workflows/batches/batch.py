"""A batch from its sources to its reports: find the clips, check all, carry out what is to do."""

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

from depthcrafter_cli.errors import UsageError
from depthcrafter_cli.progress import Progress, Warn, ignore
from depthcrafter_cli.workflows.batches.checks import check_clips, left_open, parse_shard
from depthcrafter_cli.workflows.batches.clip import Ended, Task
from depthcrafter_cli.workflows.batches.engine import Engine, engine_for
from depthcrafter_cli.workflows.batches.names import output_paths
from depthcrafter_cli.workflows.batches.queue import carry_out_all
from depthcrafter_cli.workflows.batches.report import ClipReport, ReportFile, check_report
from depthcrafter_cli.workflows.batches.sources import Clip, find_clips
from depthcrafter_cli.workflows.request import RunRequest


class BatchObserver:
    """Hears what becomes of a batch; a subclass says what it wants to tell of it."""

    def checked(self, clips: Sequence[ClipReport]) -> None:
        """All clips, before anything is computed."""

    @contextmanager
    def working(self, engine: Engine, clips: int) -> Iterator[None]:
        """Inside, an engine carries out so many clips."""
        yield

    def watch(self, task: Task, worker: str, event: Progress) -> None:
        """How far a worker is with a clip."""

    def failed(self, ended: Ended, again: bool) -> None:
        """An attempt at a clip failed, which may be tried ``again``."""

    def settled(self, clip: ClipReport) -> None:
        """A clip that is done, or has failed for good."""

    def finished(self, clips: Sequence[ClipReport]) -> None:
        """All clips, after all was done, or stopped."""


def find_tasks(
    sources: Sequence[str],
    out: Path,
    request_for: Callable[[Clip, tuple[Path, ...]], RunRequest] | None = None,
    *,
    columns: Collection[str] = (),
    formats: Sequence[str] = ("mp4",),
    shard: str | None = None,
    work_dir: Path | None = None,
    report: Path | None = None,
    warn: Warn = ignore,
) -> list[Task]:
    """Every clip of ``sources``, or of a part of them such as ``2/8``, as it is to be carried out.

    Results go below ``out``, states below ``work_dir`` (None: beside the results). ``request_for``
    makes the request of a clip and its outputs, by default with all defaults; ``columns`` are the
    options that a CSV may give it. ``report`` is a file that no clip may be, or become.

    Raises:
        UsageError, InputError: as :func:`find_clips` and :func:`output_paths`, and what
            ``request_for`` raises.
    """
    part, parts = (1, 1) if shard is None else parse_shard(shard)
    clips = find_clips(sources, out, columns, warn)
    outputs = output_paths(clips, out, list(dict.fromkeys(formats)), report)
    tasks = []
    for clip, paths in zip(clips, outputs, strict=True):
        request = (request_for or _default_request)(clip, paths)
        if work_dir is not None:
            place = work_dir / request.work_folder.relative_to(out.absolute())
            request = replace(request, work_dir=place)
        tasks.append(Task(clip.name, request))
    return tasks[part - 1 :: parts]


def _default_request(clip: Clip, outputs: tuple[Path, ...]) -> RunRequest:
    return RunRequest(clip.source, outputs, create_folders=True)


def batch(
    tasks: Sequence[Task],
    observer: BatchObserver | None = None,
    warn: Warn = ignore,
    *,
    engine: str = "auto",
    devices: str = "auto",
    ray_address: str | None = None,
    retries: int = 2,
    skip_complete: bool = False,
    report: Path | None = None,
    dry_run: bool = False,
    words: Callable[[str], str] = str,
) -> list[ClipReport]:
    """Carry out many clips, each as ``run`` would, with the model loaded once on each device.

    A clip that fails is reported, and the others are done; ``retries`` is how often one is tried
    again if memory, a disk or a worker failed. With ``skip_complete``, clips that are complete by
    their records are left. ``report`` is a .json or .csv that is written as the batch goes.
    ``dry_run`` only checks. ``words`` turns a sentence of a report into the caller's, who may call
    the fields that it names otherwise. See :func:`engine_for` for ``engine`` and ``devices``.

    Raises:
        UsageError, WeightsError: what is wrong with the options, of all clips or of one.
        OutputError: the report cannot be written.
    """
    if retries < 0:
        raise UsageError(f"got `retries` {retries}, expected 0 or more: correct it.")
    if report is not None:
        again = skip_complete or any(task.request.overwrite for task in tasks)
        check_report(report, replace=again)
    observer = observer or BatchObserver()
    workers = None if dry_run else engine_for(engine, devices, ray_address, warn)
    checked = check_clips(tasks, skip_complete=skip_complete)
    clips = {name: clip.reworded(words) for name, clip in checked.items()}
    observer.checked(list(clips.values()))
    file = ReportFile(report) if report is not None and not dry_run else None
    began = time.time()
    try:
        to_do = [task for task in tasks if clips[task.name].open]
        if file is not None:
            file.update(clips.values())
        if workers is not None and to_do:
            ends = carry_out_all(to_do, workers, retries, observer.watch, observer.failed)
            with observer.working(workers, len(to_do)), closing(ends):
                for ended in ends:
                    clip = ended.reworded(words)
                    observer.settled(clip)
                    clips[clip.name] = clip
                    if file is not None:
                        file.update(clips.values())
    finally:
        came = [left_open(clips[task.name], task, began) for task in tasks]
        if file is not None:
            file.write(came)
        observer.finished(came)
    return came
