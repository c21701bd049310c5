"""One piece of work on many workers: its parts are tasks of an engine, and it tells as one."""

from collections.abc import Generator, Sequence
from contextlib import closing

from depthcrafter_cli.errors import DepthCrafterError
from depthcrafter_cli.progress import Observer, Progress, Warn
from depthcrafter_cli.workflows.batches.engine import Engine
from depthcrafter_cli.workflows.batches.queue import run_tasks
from depthcrafter_cli.workflows.batches.task import EndedAttempt, Outcome, Task


def carried_out(
    tasks: Sequence[Task],
    engine: Engine,
    retries: int,
    observer: Observer,
    warn: Warn,
    *,
    before: int,
    total: int,
) -> Generator[EndedAttempt, None, None]:
    """The last attempt at each task. ``before`` of ``total`` frames were estimated earlier.

    ``warn`` receives once what workers say several times.
    """
    first, done, told = dict[str, int](), dict[str, int](), set[str]()

    def watch(task: Task, worker: str, event: Progress) -> None:
        if event.stage in ("decode", "estimate"):
            done[task.name] = event.done - first.setdefault(task.name, event.done)
            observer(Progress(event.stage, before + sum(done.values()), total))

    def failed(ended: EndedAttempt, again: bool) -> None:
        if again:
            warn(f"{ended.task.name}: {ended.outcome.error} Another attempt follows.")

    with closing(run_tasks(tasks, engine, retries, watch, failed)) as ends:
        for end in ends:
            for sentence in end.outcome.warnings:
                if sentence not in told:
                    warn(sentence)
                told.add(sentence)
            yield end


def raise_error(outcome: Outcome) -> None:
    """Raise what an attempt failed of, unless it ended well."""
    kinds = {kind.exit_code: kind for kind in DepthCrafterError.__subclasses__()}
    if outcome.error:
        raise kinds.get(outcome.exit_code, DepthCrafterError)(outcome.error)
