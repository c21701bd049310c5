"""One video on its way through a batch: what is to be done, and what came of it."""

import errno
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from depthcrafter_cli.errors import (
    DepthCrafterError,
    InputError,
    MemoryLimitError,
    OutputError,
    unexpected,
)
from depthcrafter_cli.progress import Observer, Progress
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
class Task:
    """A video to be carried out for the ``attempt``-th time, not by the worker ``avoid``."""

    name: str
    request: RunRequest
    attempt: int = 1
    avoid: str = ""

    def on(self, device: str) -> RunRequest:
        """What a worker with this device is asked."""
        return replace(self.request, device=device)

    def again(self, worker: str) -> "Task":
        """The next attempt, which goes on where this one, by ``worker``, stopped."""
        request = replace(self.request, resume=True)
        return Task(self.name, request, self.attempt + 1, avoid=worker)


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended; ``error`` is empty if well, else a sentence.

    ``exit_code`` is what ``run`` would have ended with, ``passing`` whether another attempt may
    succeed, ``seconds`` what the attempt took without loading the model.
    """

    frames: int = 0
    seconds: float = 0.0
    error: str = ""
    exit_code: int = 0
    passing: bool = False
    warnings: tuple[str, ...] = ()
    trace: str = field(default="", compare=False)

    @property
    def unexpected(self) -> bool:
        """Whether the worker may be broken as well, as after an error of a GPU."""
        return self.exit_code == 1


class EndedAttempt(NamedTuple):
    """An attempt that ended, by which worker and how."""

    task: Task
    worker: str
    outcome: Outcome


def attempt(request: RunRequest, model: "LoadedModel", observer: Observer) -> Outcome:
    """Run one video here; whatever goes wrong becomes part of the outcome."""
    from depthcrafter_cli.workflows.run_plan import plan
    from depthcrafter_cli.workflows.runs import compute_only, run

    warnings: list[str] = []
    started = time.monotonic()

    def planned(made: "RunPlan") -> None:
        if made.method.changed:
            warnings.append(made.method.changed)

    try:
        if request.only_shots:
            shots = plan(request, warnings.append, observer)
            frames = compute_only(shots, model, observer, warnings.append)
            return Outcome(frames, time.monotonic() - started, warnings=tuple(warnings))
        # What is complete though it was to be overwritten may be older than this batch. Otherwise
        # the worker that finished a video may have died before it could say so.
        asked = plan(request, warnings.append, observer) if request.overwrite else request
        result = run(asked, observer, warnings.append, planned=planned, model=model)
    except Exception as error:
        failed = failure(error, traceback.format_exc())
        return replace(failed, seconds=time.monotonic() - started, warnings=tuple(warnings))
    if result is None:
        return Outcome()
    return Outcome(result.frames, result.seconds, warnings=tuple(warnings))


def failure(error: Exception, trace: str = "") -> Outcome:
    """Return the outcome that stands for an exception."""
    if not isinstance(error, DepthCrafterError):
        error = lack_of_memory(error) or error
    if isinstance(error, DepthCrafterError):
        return Outcome(
            error=str(error), exit_code=error.exit_code, passing=_may_pass(error), trace=trace
        )
    return Outcome(error=unexpected(error), exit_code=1, passing=_may_pass(error), trace=trace)


def lost(task: Task, worker: str, how: str) -> Outcome:
    """The outcome of a video, or of shots, whose worker is gone."""
    what = "its shots" if task.request.only_shots else "the video"
    whole = "film" if task.request.only_shots else "batch"
    error = (
        f"the worker {worker} died ({how}), expected it to finish {what}: look for a lack of "
        f"memory in the system's log, then run the {whole} again with `resume=True`."
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
"""Receives how far a worker is with a video."""
