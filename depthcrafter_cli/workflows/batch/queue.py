"""Work for an engine: every clip once, and again what may succeed later."""

from collections import deque
from collections.abc import Callable, Iterable

from depthcrafter_cli.workflows.batch.clip import Task, Watch
from depthcrafter_cli.workflows.batch.engine import Ended, Engine
from depthcrafter_cli.workflows.batch.report import ClipReport


def carry_out_all(
    tasks: Iterable[Task],
    engine: Engine,
    *,
    retries: int,
    watch: Watch,
    settled: Callable[[ClipReport], None],
    retried: Callable[[Ended], None],
) -> None:
    """Every task, in order; failures that may pass again after the others, ``retries`` times.

    ``settled`` hears of each clip that is done or failed for good, ``retried`` of each failure
    that is not the last.
    """
    waiting = deque(tasks)
    with engine:
        while waiting or engine.busy:
            while waiting and engine.free:
                engine.start(waiting.popleft())
            for ended in engine.wait(watch):
                task, outcome = ended.task, ended.outcome
                if outcome.error and outcome.passing and task.attempt <= retries:
                    retried(ended)
                    waiting.append(task.again(ended.worker))
                    continue
                status = "failed" if outcome.error else "done"
                settled(
                    ClipReport.of(
                        task, status, outcome, attempts=task.attempt, worker=ended.worker
                    )
                )
