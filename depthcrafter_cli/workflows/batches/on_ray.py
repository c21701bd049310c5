"""Workers as Ray actors, one for each GPU of a cluster, or of this machine."""

import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from depthcrafter_cli.errors import DepthCrafterError, UsageError, first_line
from depthcrafter_cli.progress import Progress, spaced
from depthcrafter_cli.workflows.batches.task import (
    EndedAttempt,
    Outcome,
    Task,
    TaskObserver,
    attempt,
    lost,
)
from depthcrafter_cli.workflows.batches.workers import Worker, WorkerEngine
from depthcrafter_cli.workflows.model import LoadedModel

_STORE_BYTES = 100_000_000  # only requests and outcomes pass through it
_ANSWER_SECONDS = 10
_DEATHS = 3  # a worker, in a row and without a video finished meanwhile


class _Actor:
    """The worker's side: a process that Ray placed where the resources are."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._model = LoadedModel()
        self._events: SimpleQueue[tuple[str, Progress]] = SimpleQueue()

    def place(self) -> str:
        """The machine and process, once it runs."""
        import platform

        return f"{platform.node()}/{os.getpid()}"

    def attempt(self, task: Task) -> Outcome:
        """Run one video from start to end."""
        tell = spaced(lambda event: self._events.put((task.name, event)))
        return attempt(task, self._device, self._model, tell)

    def progress(self) -> tuple[str, Progress]:
        """The next event and its video, when there is one."""
        return self._events.get()


@dataclass(eq=False, kw_only=True)
class _Worker(Worker):
    """The driver's side. ``name`` is empty until the actor runs."""

    actor: Any
    listening: bool = False


class RayEngine(WorkerEngine[_Worker]):
    """Ray places the workers, watches them and replaces what a lost node held."""

    def __init__(self, devices: str, address: str | None) -> None:
        """``devices`` is ``auto`` (all GPUs there are) or a list such as ``cpu,cpu``.

        Raises UsageError if Ray is not installed, or for a device that Ray itself chooses.
        """
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
        os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")  # ships the working folder
        try:
            import ray
        except ImportError:
            raise UsageError(
                'got `engine="ray"` without Ray installed, expected its package: '
                'pip install "depthcrafter[ray]".'
            ) from None
        named = [] if devices == "auto" else [name.strip() for name in devices.split(",")]
        if not set(named) <= {"cpu", "cuda"}:
            raise UsageError(
                f"got `devices` {devices} for the engine ray, expected auto, or cuda or cpu once a "
                "worker, such as cpu,cpu: Ray chooses the cards."
            )
        self._ray, self._devices, self._address = ray, named, address
        super().__init__()
        self._awaited: dict[Any, _Worker] = {}
        self._talk = ExitStack()
        self._deaths = 0

    def __enter__(self) -> "RayEngine":
        """Join the cluster, or start one here, and ask it for workers. Raises UsageError."""
        # Ray prints what happens to its workers, also where programs read our events.
        self._talk.enter_context(redirect_stdout(sys.stderr))
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self) -> None:
        with _own_signal_handlers():
            self._connect()
        gpus = int(self._ray.cluster_resources().get("GPU", 0))
        wanted = self._devices or ["cuda"] * gpus or ["cpu"]
        if wanted.count("cuda") > gpus:
            raise UsageError(
                f"got {wanted.count('cuda')} workers with a GPU each, expected at most {gpus}, all "
                "that this Ray has: correct `devices`."
            )
        for device in wanted:
            self._hire(device)

    def __exit__(self, *_exception: object) -> None:
        """Give the workers back; a cluster stays, a Ray that was started here ends."""
        for worker in self._workers:
            self._ray.kill(worker.actor)
        self._ray.shutdown()
        self._talk.close()

    def _send(self, worker: _Worker, task: Task) -> None:
        # A worker's working folder is that of `ray start`.
        self._awaited[worker.actor.attempt.remote(task.absolute())] = worker
        if not worker.listening:
            self._listen(worker)

    def wait(self, on_progress: TaskObserver) -> Sequence[EndedAttempt]:
        ends = []
        for reference in self._ray.wait(list(self._awaited))[0]:
            worker = self._awaited.pop(reference)
            try:
                told: Outcome | tuple[str, Progress] | str = self._ray.get(reference)
            except self._ray.exceptions.RayActorError as error:
                ends += self._replace(worker, error)
                continue
            if isinstance(told, str):
                worker.name = told
            elif isinstance(told, Outcome):
                self._deaths = 0
                ends.append(worker.ended(told))
                if told.unexpected:
                    self._renew(worker)
            else:
                self._listen(worker)
                name, event = told
                if worker.task is not None and worker.task.name == name:
                    on_progress(worker.task, worker.name, event)
        return ends

    def _idle(self) -> list[_Worker]:
        return [worker for worker in self._workers if worker.name and not worker.task]

    def _listen(self, worker: _Worker) -> None:
        worker.listening = True
        self._awaited[worker.actor.progress.remote()] = worker

    def _hire(self, device: str) -> None:
        """Ask for a worker, which is there when Ray has the resources."""
        gpus = 1 if device == "cuda" else 0
        # One thread carries out, one tells how far it is.
        placed = self._ray.remote(_Actor).options(num_cpus=1, num_gpus=gpus, max_concurrency=2)
        worker = _Worker(device=device, actor=placed.remote(device))
        self._workers.append(worker)
        self._awaited[worker.actor.place.remote()] = worker

    def _replace(self, worker: _Worker, error: Exception) -> list[EndedAttempt]:
        """Another worker for one that is gone, with the end of the video it held."""
        self._deaths += 1
        how = first_line(error)
        if self._deaths > _DEATHS * len(self._workers):
            raise DepthCrafterError(
                f"got {self._deaths} dead workers from Ray in a row ({how}), expected them to "
                "work: check that every node has this version of depthcrafter and enough memory."
            ) from error
        self._renew(worker)
        return [worker.ended(lost(worker.task, worker.name, how))] if worker.task else []

    def _renew(self, worker: _Worker) -> None:
        self._awaited = {key: of for key, of in self._awaited.items() if of is not worker}
        self._workers.remove(worker)
        self._ray.kill(worker.actor)  # one that only cannot be reached must not go on
        self._hire(worker.device)

    def _connect(self) -> None:
        here: dict[str, Any] = {
            "num_cpus": max(len(self._devices), os.cpu_count() or 1),
            "include_dashboard": False,
            "object_store_memory": _STORE_BYTES,
        }
        try:
            _require_answer(self._address)
            self._ray.init(
                self._address or "local",
                log_to_driver=False,
                logging_level=logging.ERROR,
                **({} if self._address else here),
            )
        except OSError as error:
            raise UsageError(
                f"got no answer from Ray at {self._address or 'this machine'} ({error}), expected "
                "a running cluster: start it with `ray start --head`, or leave `ray_address` out."
            ) from error


def _require_answer(address: str | None) -> None:
    """Raises OSError where no cluster answers, for which Ray itself would wait minutes."""
    host, _, port = (address or "").rpartition(":")
    if host and port.isdecimal() and "://" not in host:
        socket.create_connection((host, int(port)), timeout=_ANSWER_SECONDS).close()


@contextmanager
def _own_signal_handlers() -> Iterator[None]:
    """Ray replaces SIGTERM's handler with one of its own; ours is put back."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
