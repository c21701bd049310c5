"""What carries out clips: here, in processes of this machine, or on a Ray cluster."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from depthcrafter_cli.errors import UsageError
from depthcrafter_cli.progress import Observer, Warn, ignore
from depthcrafter_cli.workflows.batches.clip import Ended, Task, Watch, attempt
from depthcrafter_cli.workflows.interrupts import Say, stopping_between_steps
from depthcrafter_cli.workflows.model import LoadedModel


class Engine(AbstractContextManager["Engine"], Protocol):
    """Workers that carry out one clip each at a time, each with the model loaded once.

    A worker that dies is an :class:`Ended` of its clip, whose outcome may pass. Leaving the
    context stops the workers, and all that they leave can be resumed.
    """

    @property
    def free(self) -> bool:
        """Whether a worker is idle."""

    @property
    def busy(self) -> bool:
        """Whether a worker is not."""

    def start(self, task: Task) -> None:
        """Give a clip to an idle worker."""

    def wait(self, watch: Watch) -> Sequence[Ended]:
        """Wait for something to happen; ``watch`` hears of progress, the ends are returned."""

    def interruptible(self, say: Say) -> AbstractContextManager[Observer]:
        """Inside, SIGINT and SIGTERM raise Interrupted, the first one when that loses least.

        ``say`` is called if that, or leaving the engine, takes a step under way; the observer is
        to hear of all progress.
        """


class LocalEngine(AbstractContextManager["LocalEngine"]):
    """One device, in this process."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._model = LoadedModel()
        self._task: Task | None = None

    def __exit__(self, *_exception: object) -> None:
        """There is nothing to stop: a clip is carried out inside :meth:`wait`."""

    @property
    def free(self) -> bool:
        return self._task is None

    @property
    def busy(self) -> bool:
        return self._task is not None

    def start(self, task: Task) -> None:
        self._task = task

    def interruptible(self, say: Say) -> AbstractContextManager[Observer]:
        return stopping_between_steps(ignore, say)

    def wait(self, watch: Watch) -> Sequence[Ended]:
        task, self._task = self._task, None
        if task is None:
            return ()
        outcome = attempt(
            task.on(self._device), self._model, lambda event: watch(task, self._device, event)
        )
        if outcome.unexpected:
            self._model = LoadedModel()  # nobody knows what state the networks are in
        return (Ended(task, self._device, outcome),)


def engine_for(kind: str, devices: str, ray_address: str | None, warn: Warn = ignore) -> Engine:
    """The engine ``auto``, ``local``, ``processes`` or ``ray``, with workers for ``devices``.

    ``warn`` hears of a GPU that is here and not used.

    Raises UsageError for one that is unknown, not installed, or not fit for the devices.
    """
    if kind not in ("auto", "local", "processes", "ray"):
        raise UsageError(
            f"got `engine` {kind}, expected auto, local, processes or ray: choose one."
        )
    if ray_address is not None and kind != "ray":
        raise UsageError(
            f"got `ray_address` {ray_address} for the engine {kind}, expected ray: pass "
            '`engine="ray"`.'
        )
    if kind == "ray":
        from depthcrafter_cli.workflows.batches.on_ray import RayEngine

        return RayEngine(devices, ray_address)
    present = devices_of(devices, warn)
    if kind == "local" and len(present) > 1:
        raise UsageError(
            f"got {len(present)} devices for the engine local, expected one, as it has one "
            'process: use `engine="processes"`.'
        )
    # A GPU can become unusable to a process for good, and a night's clips with it.
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
