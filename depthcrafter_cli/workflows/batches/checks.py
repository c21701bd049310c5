"""What can be known of a batch before anything is computed: done, impossible, or to do."""

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from depthcrafter_cli.errors import DepthCrafterError, UsageError, WeightsError
from depthcrafter_cli.workflows.batches.report import TaskReport
from depthcrafter_cli.workflows.batches.task import Outcome, VideoTask, failure
from depthcrafter_cli.workflows.request import RunRequest
from depthcrafter_cli.workflows.run_plan import check_run
from depthcrafter_cli.workflows.runs import finished_before
from depthcrafter_cli.workflows.state import RunState


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


def left_open(report: TaskReport, task: VideoTask, since: float = math.inf) -> TaskReport:
    """A video to do as it is now: ``stopped`` if there is something to go on from.

    ``done`` if it was finished ``since`` a time of the clock, though the batch was stopped before
    that was noted.
    """
    if not report.open:
        return report
    if _finished(task.request, since):
        return replace(report, status="done")
    if RunState(task.request.work_folder).progressed:
        return replace(report, status="stopped")
    return report


def _finished(request: RunRequest, since: float) -> bool:
    record = request.record_path
    with suppress(DepthCrafterError, OSError):
        return (
            record is not None
            and record.exists()
            and record.stat().st_mtime >= since
            and finished_before(request)
        )
    return False
