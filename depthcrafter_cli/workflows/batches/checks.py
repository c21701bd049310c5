"""What can be known of a batch before anything is computed: done, impossible, or to do."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from depthcrafter_cli.errors import DepthCrafterError, UsageError, WeightsError
from depthcrafter_cli.workflows.batches.report import TaskReport
from depthcrafter_cli.workflows.batches.task import Outcome, VideoTask, failure
from depthcrafter_cli.workflows.run_plan import check_run
from depthcrafter_cli.workflows.runs import finished_before
from depthcrafter_cli.workflows.state import RunState

RecordStamp = tuple[int, int] | None
"""Size and date of a video's record; None where there is none."""


def check_tasks(tasks: Sequence[VideoTask], *, skip_complete: bool) -> dict[str, TaskReport]:
    """The state of every video by its name; open ones are ``to do`` or were ``stopped``.

    What is wrong with one video is that video's failure.

    Raises:
        UsageError, WeightsError: what is wrong with the options, of all videos or of one.
    """
    return {task.name: _check(task, skip_complete) for task in tasks}


def _check(task: VideoTask, skip_complete: bool) -> TaskReport:
    warnings: list[str] = []
    try:
        if skip_complete and finished_before(task.request, warnings.append):
            return TaskReport.of(task, "skipped", Outcome(warnings=tuple(warnings)))
        checked = check_run(task.request)
    except (UsageError, WeightsError) as error:
        raise type(error)(f"{task.name}: {error}") from error
    except Exception as error:  # of any kind: the other videos are to be done
        failed = replace(failure(error), warnings=tuple(warnings))
        return TaskReport.of(task, "failed", failed)
    return left_open(TaskReport.of(task, "to do", frames=checked.frames), task)


def left_open(report: TaskReport, task: VideoTask) -> TaskReport:
    """A video to do as it is now: ``stopped`` if there is something to go on from."""
    if report.open and RunState(task.request.work_folder).progressed:
        return replace(report, status="stopped")
    return report


def at_the_end(report: TaskReport, task: VideoTask, before: RecordStamp) -> TaskReport:
    """As :func:`left_open`; ``done`` if it was finished, though the batch ended before noting that.

    It has another record then than ``before`` the batch. Dates are not compared with the clock,
    which may have been set back.
    """
    if report.open and record_stamp(task) not in (None, before):
        with suppress(DepthCrafterError, OSError):
            if finished_before(task.request):
                return replace(report, status="done")
    return left_open(report, task)


def record_stamp(task: VideoTask) -> RecordStamp:
    """What tells a video's record from one that is written later."""
    record = task.request.record_path
    with suppress(OSError):
        if record is not None:
            status = record.stat()
            return status.st_size, status.st_mtime_ns
    return None
