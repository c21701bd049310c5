"""What engines have in common whose workers are other processes."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Generic, TypeVar

from depthcrafter_cli.progress import Observer, ignore
from depthcrafter_cli.workflows.batches.task import EndedAttempt, Outcome, Task, TaskObserver
from depthcrafter_cli.workflows.interrupts import OnInterrupt, stopping_between_steps


@dataclass(eq=False, kw_only=True)
class Worker:
    """One that carries out a video at a time on its ``device``; ``name`` is what people see."""

    name: str = ""
    device: str
    task: Task | None = None

    def ended(self, outcome: Outcome) -> EndedAttempt:
        """Return the attempt that ended, and note that the worker is idle."""
        task, self.task = self.task, None
        assert task is not None
        return EndedAttempt(task, self.name, outcome)


W = TypeVar("W", bound=Worker)


class WorkerEngine(AbstractContextManager["WorkerEngine[W]"], Generic[W], ABC):
    """Gives videos to idle workers, and to another one than last time where it can."""

    def __init__(self, workers: Sequence[W] = ()) -> None:
        self._workers = list(workers)

    @property
    def free(self) -> bool:
        return bool(self._idle())

    @property
    def busy(self) -> bool:
        return any(worker.task for worker in self._workers)

    def start(self, task: Task) -> None:
        idle = self._idle()
        worker = next((other for other in idle if other.name != task.avoid), idle[0])
        worker.task = task
        self._send(worker, task)

    def interruptible(self, on_interrupt: OnInterrupt) -> AbstractContextManager[Observer]:
        """As every engine's; by default the first step that ends is waited for."""
        return stopping_between_steps(ignore, on_interrupt)

    @abstractmethod
    def wait(self, on_progress: TaskObserver) -> Sequence[EndedAttempt]:
        """Wait for something to happen; see :class:`Engine`."""

    @abstractmethod
    def _idle(self) -> list[W]:
        """The workers that may be given a video."""

    @abstractmethod
    def _send(self, worker: W, task: Task) -> None:
        """Let ``worker`` begin with a task."""
