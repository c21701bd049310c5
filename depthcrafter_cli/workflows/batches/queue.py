"""Work for an engine: every video once, and again what may succeed later."""

import math
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable

from depthcrafter_cli.progress import Progress
from depthcrafter_cli.workflows.batches.engine import Engine
from depthcrafter_cli.workflows.batches.task import EndedAttempt, Task, TaskObserver

# Before a video is tried again: a share or a full disk may need as long to come back.
_PAUSE_SECONDS, _PAUSE_GROWTH, _LONGEST_PAUSE = 2.0, 4, 60.0


def run_tasks(
    tasks: Iterable[Task],
    engine: Engine,
    retries: int,
    on_progress: TaskObserver,
    failed: Callable[[EndedAttempt, bool], None],
) -> Generator[EndedAttempt, None, None]:
    """Every task, in order; failures that may pass again after the others, ``retries`` times, each
    after a longer pause (of which ``on_progress`` is told as of a stage, if nothing else is to do).

    Gives each video as soon as it is done, or failed for good; ``failed`` is told of each failure,
    and whether the video will be tried again.
    """
    waiting, due = deque(tasks), dict[str, float]()
    with engine:
        while waiting or engine.busy:
            while waiting and engine.free:
                pause = due.get(waiting[0].name, 0.0) - time.monotonic()
                if pause > 0 and engine.busy:
                    break
                if pause > 0:
                    _rest(waiting[0], pause, on_progress)
                engine.start(waiting.popleft())
            for ended in engine.wait(on_progress):
                task, outcome = ended.task, ended.outcome
                again = outcome.passing and task.attempt <= retries
                if outcome.error:
                    failed(ended, again)
                if again:
                    due[task.name] = time.monotonic() + _pause_after(task.attempt)
                    waiting.append(task.again(ended.worker))
                    continue
                yield ended


def _pause_after(attempt: int) -> float:
    return float(min(_PAUSE_SECONDS * _PAUSE_GROWTH ** (attempt - 1), _LONGEST_PAUSE))


def _rest(task: Task, seconds: float, on_progress: TaskObserver) -> None:
    on_progress(task, task.avoid, Progress("pause", 0, math.ceil(seconds), unit="seconds"))
    time.sleep(seconds)
