"""What carries out videos: here, in processes of this machine, or on a Ray cluster."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from depthcrafter_cli.errors import UsageError
from depthcrafter_cli.progress import Observer, Warn, ignore
from depthcrafter_cli.workflows.batches.options import Workers
from depthcrafter_cli.workflows.batches.task import EndedAttempt, Task, TaskObserver, attempt
from depthcrafter_cli.workflows.interrupts import OnInterrupt, stopping_between_steps
from depthcrafter_cli.workflows.model import LoadedModel


class Engine(AbstractContextManager["Engine"], Protocol):
    """Workers that carry out one video each at a time, each with the model loaded once.

    A worker that dies is an :class:`EndedAttempt` of its video, whose outcome may pass. Leaving the
    context stops the workers, and all that they leave can be resumed.
    """

    @property
    def free(self) -> bool:
        """Whether a worker is idle."""

    @property
    def busy(self) -> bool:
        """Whether a worker is at work."""

    def start(self, task: Task) -> None:
        """Give a video to an idle worker."""

    def wait(self, on_progress: TaskObserver) -> Sequence[EndedAttempt]:
        """Wait for something to happen, and return the attempts that ended.

        ``on_progress`` receives the progress of all workers.
        """

    def interruptible(self, on_interrupt: OnInterrupt) -> AbstractContextManager[Observer]:
        """Inside, SIGINT and SIGTERM raise Interrupted, the first one when that loses least.

        ``on_interrupt`` is called if that, or leaving the engine, takes a step under way; the
        observer must be given all progress.
        """


class LocalEngine(AbstractContextManager["LocalEngine"]):
    """An engine that computes on one device, in this process."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._model = LoadedModel()
        self._task: Task | None = None

    def __exit__(self, *_exception: object) -> None:
        """There is nothing to stop: a video is carried out inside :meth:`wait`."""

    @property
    def free(self) -> bool:
        return self._task is None

    @property
    def busy(self) -> bool:
        return self._task is not None

    def start(self, task: Task) -> None:
        self._task = task

    def interruptible(self, on_interrupt: OnInterrupt) -> AbstractContextManager[Observer]:
        return stopping_between_steps(ignore, on_interrupt)

    def wait(self, on_progress: TaskObserver) -> Sequence[EndedAttempt]:
        task, self._task = self._task, None
        if task is None:
            return ()
        outcome = attempt(
            task, self._device, self._model, lambda event: on_progress(task, self._device, event)
        )
        if outcome.unexpected:
            self._model = LoadedModel()  # the state of the networks is not known
        return (EndedAttempt(task, self._device, outcome),)


def engine_for(workers: Workers, warn: Warn = ignore) -> Engine:
    """The engine that was asked for. ``warn`` is told of a GPU that is here and not used.

    Raises UsageError for one that is not installed, or not fit for the devices.
    """
    kind = workers.engine
    if workers.ray_address is not None and kind != "ray":
        raise UsageError(
            f"got `ray_address` {workers.ray_address} for the engine {kind}, expected ray: pass "
            '`engine="ray"`.'
        )
    if kind == "ray":
        from depthcrafter_cli.workflows.batches.on_ray import RayEngine

        return RayEngine(workers.devices, workers.ray_address)
    present = devices_of(workers.devices, warn)
    if kind == "local" and len(present) > 1:
        raise UsageError(
            f"got {len(present)} devices for the engine local, expected one, as it has one "
            'process: use `engine="processes"`.'
        )
    # A GPU can become unusable to a process for good, and a night's videos with it.
    alone = kind == "auto" and len(present) == 1 and not present[0].startswith("cuda")
    if kind == "local" or alone:
        return LocalEngine(present[0])
    from depthcrafter_cli.workflows.batches.processes import ProcessEngine

    return ProcessEngine(present)


def devices_of(text: str, warn: Warn = ignore) -> list[str]:
    """``auto`` is every GPU, or else the CPU; otherwise a list such as ``cuda:0,cuda:1``.

    Raises UsageError for one that is not here.
    """
    names = [name.strip() for name in text.split(",")]
    if set(names) == {"cpu"}:
        return names  # always there, and known without PyTorch
    import torch

    from depthcrafter_cli.models.devices import pick_device

    if names == ["auto"] and torch.cuda.is_available() and torch.cuda.device_count() > 1:
        return [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    devices = [str(pick_device(name, warn)) for name in names]
    twice = {name for name in devices if name != "cpu" and devices.count(name) > 1}
    if twice:
        raise UsageError(
            f"got `devices` {text} with {', '.join(sorted(twice))} twice, expected each GPU once: "
            "correct it."
        )
    return devices
