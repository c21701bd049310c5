"""One task on its way through an engine: what is to be done, and what came of it."""

import errno
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from depthcrafter_cli.errors import (
    DepthCrafterError,
    InputError,
    MemoryLimitError,
    OutputError,
    unexpected,
    unreachable,
)
from depthcrafter_cli.progress import Observer, Progress, Warn
from depthcrafter_cli.workflows.request import RunRequest
from depthcrafter_cli.workflows.resources import lack_of_memory

if TYPE_CHECKING:
    from depthcrafter_cli.workflows.model import LoadedModel
    from depthcrafter_cli.workflows.run_plan import RunPlan

# What the operating system says of disks and networks that may be back in a minute.
_PASSING = frozenset(
    number
    for name in (
        "EAGAIN", "EBUSY", "EDQUOT", "EHOSTDOWN", "EIO", "EMFILE", "ENETDOWN", "ENETUNREACH",
        "ENFILE", "ENOLINK", "ENOMEM", "ENOSPC", "ESTALE", "ETIMEDOUT",
    )
    if (number := getattr(errno, name, None)) is not None
)  # fmt: skip


@dataclass(frozen=True)
class Task(ABC):
    """What is to be carried out for the ``attempt``-th time, not by the worker ``avoid``."""

    name: str
    attempt: int = field(default=1, kw_only=True)
    avoid: str = field(default="", kw_only=True)

    @abstractmethod
    def carry_out(
        self, device: str, model: "LoadedModel", observer: Observer, warn: Warn
    ) -> "Outcome":
        """Do it here. Raises whatever goes wrong."""

    @abstractmethod
    def absolute(self) -> "Task":
        """The same task, which means the same in any folder."""

    @abstractmethod
    def in_words(self) -> tuple[str, str]:
        """What a worker is to finish, and what users do to go on if it cannot."""

    def again(self, worker: str) -> "Task":
        """The next attempt, which goes on where this one, by ``worker``, stopped."""
        return replace(self, attempt=self.attempt + 1, avoid=worker)


@dataclass(frozen=True)
class VideoTask(Task):
    """A video, or some shots of a film."""

    request: RunRequest

    def carry_out(
        self, device: str, model: "LoadedModel", observer: Observer, warn: Warn
    ) -> "Outcome":
        from depthcrafter_cli.workflows.hand_off import laid_out
        from depthcrafter_cli.workflows.run_plan import plan
        from depthcrafter_cli.workflows.runs import compute_only, run

        request = replace(self.request, device=device)
        started = time.monotonic()
        if request.only_shots:
            frames = compute_only(plan(request, warn, observer), model, observer, warn)
            return Outcome(frames, time.monotonic() - started)

        def planned(made: "RunPlan") -> None:
            if made.method.changed:
                warn(made.method.changed)

        # What is complete though it was to be overwritten may be older than this batch. Otherwise
        # the worker that finished a video may have died before it could say so.
        asked = plan(laid_out(request), warn, observer) if request.overwrite else request
        result = run(asked, observer, warn, planned=planned, model=model)
        return Outcome() if result is None else Outcome(result.frames, result.seconds)

    def absolute(self) -> "VideoTask":
        return replace(self, request=self.request.absolute())

    def in_words(self) -> tuple[str, str]:
        if self.request.only_shots:
            return "its shots", "run the film again with `resume=True`"
        return "the video", "run the batch again with `resume=True`"

    def again(self, worker: str) -> Task:
        request = replace(self.request, resume=True)
        return replace(self, request=request, attempt=self.attempt + 1, avoid=worker)


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended; ``error`` is empty if well, else a sentence.

    ``exit_code`` is what ``run`` would have ended with, ``passing`` whether another attempt may
    succeed, ``seconds`` what the attempt took without loading the model, ``value`` what it made
    that is no file.
    """

    frames: int = 0
    seconds: float = 0.0
    error: str = ""
    exit_code: int = 0
    passing: bool = False
    warnings: tuple[str, ...] = ()
    trace: str = field(default="", compare=False)
    value: Any = None

    @property
    def unexpected(self) -> bool:
        """Whether the worker may be broken as well, as after an error of a GPU."""
        return self.exit_code == 1


class EndedAttempt(NamedTuple):
    """An attempt that ended, by which worker and how."""

    task: Task
    worker: str
    outcome: Outcome


def attempt(task: Task, device: str, model: "LoadedModel", observer: Observer) -> Outcome:
    """Carry out a task here; whatever goes wrong becomes part of the outcome."""
    warnings: list[str] = []
    started = time.monotonic()
    try:
        outcome = task.carry_out(device, model, observer, warnings.append)
    except Exception as error:
        failed = failure(error, traceback.format_exc())
        outcome = replace(failed, seconds=time.monotonic() - started)
    return replace(outcome, warnings=tuple(warnings))


def failure(error: Exception, trace: str = "") -> Outcome:
    """Return the outcome that stands for an exception."""
    if not isinstance(error, DepthCrafterError):
        error = lack_of_memory(error) or unreachable(error) or error
    if isinstance(error, DepthCrafterError):
        return Outcome(
            error=str(error), exit_code=error.exit_code, passing=_may_pass(error), trace=trace
        )
    return Outcome(error=unexpected(error), exit_code=1, passing=_may_pass(error), trace=trace)


def lost(task: Task, worker: str, how: str) -> Outcome:
    """The outcome of a task whose worker is gone."""
    what, go_on = task.in_words()
    error = (
        f"the worker {worker} died ({how}), expected it to finish {what}: look for a lack of "
        f"memory in the system's log, then {go_on}."
    )
    return Outcome(error=error, exit_code=1, passing=True)


def _may_pass(error: BaseException) -> bool:
    """Whether memory, a disk, a network or a GPU failed, not the video or what was asked."""
    if isinstance(error, MemoryLimitError | OutputError | MemoryError):
        return True
    if isinstance(error, OSError) and error.errno in _PASSING:
        return True
    if isinstance(error, RuntimeError) and "CUDA error" in str(error):
        return True
    cause = error.__cause__
    return isinstance(error, InputError) and cause is not None and _may_pass(cause)


TaskObserver = Callable[[Task, str, Progress], None]
"""Receives how far a worker is with a task."""
