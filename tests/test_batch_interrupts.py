"""Interrupts of a batch with workers: a step has its time, a second interrupt does not wait."""

import os
import signal
import time
from threading import Event, Timer

import pytest
from processes import assert_gone, workers_of

from depthcrafter_cli.workflows.batch import processes
from depthcrafter_cli.workflows.batch.clip import Task
from depthcrafter_cli.workflows.batch.processes import ProcessEngine
from depthcrafter_cli.workflows.batch.queue import carry_out_all
from depthcrafter_cli.workflows.folder import RunFolder
from depthcrafter_cli.workflows.interrupts import Interrupted
from depthcrafter_cli.workflows.request import RunRequest


@pytest.fixture
def task(clip, tiny_folder, tmp_path) -> Task:
    """A clip of many short steps."""
    settings = {"steps": 200, "window": 6, "overlap": 2, "decode_chunk": 3}
    out = tmp_path / "d.npz"
    return Task("a", RunRequest(clip, (out,), weights=str(tiny_folder), settings=settings))


def held_in_a_step(task, engine, then):
    """Interrupt an engine whose worker stands still in a step; ``then`` gets its process's id."""
    said, pids = Event(), []

    def watch(task, worker, event):
        if event.stage == "denoise" and event.done:
            pids.extend(workers_of(os.getpid()))
            os.kill(pids[0], signal.SIGSTOP)
            then(pids[0])
            raise Interrupted

    try:
        with engine.interruptible(said.set):
            list(carry_out_all([task], engine, retries=0, watch=watch, failed=lambda *_: None))
    finally:
        assert said.is_set()


def test_a_worker_has_the_time_its_step_takes(task, monkeypatch):
    monkeypatch.setattr(processes, "_STOP_SECONDS", 0.2)
    engine = ProcessEngine(["cpu"])

    def then(pid):
        Timer(3, os.kill, (pid, signal.SIGCONT)).start()

    with pytest.raises(Interrupted):
        held_in_a_step(task, engine, then)
    (worker,) = engine._workers
    assert worker.process.exitcode == 0
    assert RunFolder(task.request.work_folder).progressed


def test_a_second_interrupt_does_not_wait_for_a_worker(task):
    def then(pid):
        Timer(2, os.kill, (os.getpid(), signal.SIGINT)).start()

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        held_in_a_step(task, ProcessEngine(["cpu"]), then)
    assert time.monotonic() - began < 50
    assert_gone(workers_of(os.getpid()))
