"""Workers as processes of this machine, one for each device."""

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from threading import Event, Thread

from depthcrafter_cli.progress import Interrupted, Observer, Progress, ignore, spaced
from depthcrafter_cli.workflows.batches.task import (
    EndedAttempt,
    Outcome,
    Task,
    TaskObserver,
    attempt,
    lost,
)
from depthcrafter_cli.workflows.batches.workers import Worker, WorkerEngine
from depthcrafter_cli.workflows.interrupts import (
    OF_TERMINALS,
    OnInterrupt,
    raise_on_signals,
    stopping_between_steps,
)
from depthcrafter_cli.workflows.model import LoadedModel

_STOP = (signal.SIGTERM,)
_STOP_SECONDS = 60  # for a process that has nothing left to do
_DEATHS = 2  # in a row, without a video between them, before a worker is not replaced


@dataclass(eq=False, kw_only=True)
class _Worker(Worker):
    """A device's process, if it has one, and what that is at."""

    threads: int
    process: SpawnProcess | None = None
    channel: Connection | None = None
    deaths: int = 0

    def send(self, task: Task) -> None:
        """Give it a video; its process is started if it has none."""
        if self.channel is None:
            context = get_context("spawn")
            ours, theirs = context.Pipe()
            arguments = (theirs, self.device, self.threads)
            process = context.Process(target=_serve, args=arguments, name=self.name, daemon=True)
            process.start()
            theirs.close()  # so that its end is the end of the channel
            self.channel, self.process = ours, process
        with suppress(OSError):  # its end is noticed by whoever listens
            self.channel.send(task)

    def dismiss(self) -> None:
        """End its process; another takes the next video."""
        assert self.process is not None and self.channel is not None
        self.channel.close()
        self.channel = None
        self.process.kill()

    def died(self) -> EndedAttempt:
        """Its process is gone, and the video with it."""
        assert self.process is not None and self.channel is not None
        self.process.join(_STOP_SECONDS)
        self.process.kill()  # if a driver keeps it from its end
        self.channel.close()
        how, self.channel, self.deaths = self.process.exitcode, None, self.deaths + 1
        assert self.task is not None
        return self.ended(lost(self.task, self.name, f"exit code {how}"))


class ProcessEngine(WorkerEngine[_Worker]):
    """One process for each of ``devices``; one that dies is replaced."""

    def __init__(self, devices: Sequence[str]) -> None:
        threads = max(1, (os.cpu_count() or 1) // len(devices))
        names = [
            f"{device} #{devices[:at].count(device) + 1}" if devices.count(device) > 1 else device
            for at, device in enumerate(devices)
        ]
        self._on_interrupt: OnInterrupt = lambda: None
        super().__init__(
            [
                _Worker(name=name, device=device, threads=threads)
                for name, device in zip(names, devices, strict=True)
            ]
        )

    def __exit__(self, *_exception: object) -> None:
        """Stop all workers: an idle one at once, another when its step is on the disk.

        A step may take minutes, and is waited for until the next interrupt.
        """
        processes = {w.process: w.task is not None for w in self._workers if w.process}
        try:
            for process in processes:
                process.terminate()
            if any(processes.values()):
                self._on_interrupt()
            for process, busy in processes.items():
                process.join(None if busy else _STOP_SECONDS)
        finally:
            for process in processes:
                process.kill()

    @contextmanager
    def interruptible(self, on_interrupt: OnInterrupt) -> Iterator[Observer]:
        self._on_interrupt = on_interrupt
        yield ignore  # a signal raises where it arrives: the steps under way are the workers' own

    def _send(self, worker: _Worker, task: Task) -> None:
        worker.send(task)

    def wait(self, on_progress: TaskObserver) -> Sequence[EndedAttempt]:
        listening = [(w.channel, w) for w in self._workers if w.task and w.channel]
        ready = connection.wait([channel for channel, _ in listening])
        ends = []
        for channel, worker in listening:
            if channel not in ready:
                continue
            try:
                told: Progress | Outcome = channel.recv()
            except (EOFError, OSError):
                ends.append(worker.died())
                continue
            if isinstance(told, Outcome):
                worker.deaths = 0
                ends.append(worker.ended(told))
                if told.unexpected:
                    worker.dismiss()
            elif worker.task is not None:
                on_progress(worker.task, worker.name, told)
        return ends

    def _idle(self) -> list[_Worker]:
        """Workers without a video; one that only dies is left out while there are others."""
        alive = [worker for worker in self._workers if worker.deaths < _DEATHS]
        return [worker for worker in alive or self._workers if worker.task is None]


def _serve(channel: Connection, device: str, threads: int) -> None:
    """What a worker's process does: videos in, progress and outcomes out."""
    Thread(target=_die_with_parent, daemon=True).start()
    # The batch decides what becomes of its workers.
    for number in OF_TERMINALS:
        signal.signal(number, signal.SIG_IGN)
    raise_on_signals(_STOP)
    if device == "cpu" and "OMP_NUM_THREADS" not in os.environ:
        import torch

        torch.set_num_threads(threads)
    model, tell = LoadedModel(), spaced(channel.send)
    with suppress(EOFError, OSError, Interrupted):
        while True:
            task: Task = channel.recv()
            stopping = Event()  # set where a stop was asked for that no step has answered yet
            with stopping_between_steps(tell, stopping.set, _STOP) as observer:
                outcome = attempt(task, device, model, observer)
            channel.send(outcome)
            if stopping.is_set():
                return


def _die_with_parent() -> None:
    """A batch that was killed must not go on in the dark, nor hold the outputs' locks."""
    parent = parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
