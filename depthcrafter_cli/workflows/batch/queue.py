"""Work for an engine: every clip once, and again what may succeed later."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator

from depthcrafter_cli.workflows.batch.clip import Ended, Task, Watch
from depthcrafter_cli.workflows.batch.engine import Engine
from depthcrafter_cli.workflows.batch.report import ClipReport


def carry_out_all(
    tasks: Iterable[Task],
    engine: Engine,
    retries: int,
    watch: Watch,
    failed: Callable[[Ended, bool], None],
) -> Iterator[ClipReport]:
    """Every task, in order; failures that may pass again after the others, ``retries`` times.

    Gives each clip as soon as it is done, or failed for good; ``failed`` hears of each failure,
    and whether the clip will be tried again.
    """
    waiting = deque(tasks)
    with engine:
        while waiting or engine.busy:
            while waiting and engine.free:
                engine.start(waiting.popleft())
            for ended in engine.wait(watch):
                task, outcome = ended.task, ended.outcome
                again = outcome.passing and task.attempt <= retries
                if outcome.error:
                    failed(ended, again)
                if again:
                    waiting.append(task.again(ended.worker))
                    continue
                status = "failed" if outcome.error else "done"
                yield ClipReport.of(
                    task, status, outcome, attempts=task.attempt, worker=ended.worker
                )
