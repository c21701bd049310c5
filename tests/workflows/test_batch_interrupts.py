"""Interrupts of a batch with workers: a step has its time, a second interrupt does not wait."""

import os
import signal
import time
from dataclasses import replace
from threading import Event, Timer

import pytest
from filelock import FileLock
from processes import assert_gone, workers_of

from depthcrafter_cli import disk
from depthcrafter_cli.media.reader import count_frames
from depthcrafter_cli.workflows.batches import processes
from depthcrafter_cli.workflows.batches.engine import LocalEngine
from depthcrafter_cli.workflows.batches.processes import ProcessEngine
from depthcrafter_cli.workflows.batches.queue import run_tasks
from depthcrafter_cli.workflows.batches.task import VideoTask
from depthcrafter_cli.workflows.interrupts import Interrupted
from depthcrafter_cli.workflows.request import RunRequest
from depthcrafter_cli.workflows.state import RunState


@pytest.fixture
def task(clip, tiny_folder, tmp_path) -> VideoTask:
    """A clip of many short steps."""
    settings = {"steps": 200, "window": 6, "overlap": 2, "decode_chunk": 3}
    out = tmp_path / "d.npz"
    return VideoTask("a", RunRequest(clip, (out,), weights=str(tiny_folder), settings=settings))


def held_in_a_step(task, engine, then, stage="denoise", at=1, after=0.0):
    """Interrupt an engine whose worker stands still in a step; ``then`` gets its process's id."""
    said = Event()

    def watch(task, worker, event):
        if event.stage == stage and event.done >= at:
            time.sleep(after)
            (held,) = engine._workers
            os.kill(held.process.pid, signal.SIGSTOP)
            then(held.process.pid)
            raise Interrupted

    try:
        with engine.interruptible(said.set):
            list(run_tasks([task], engine, retries=0, on_progress=watch, failed=lambda *_: None))
    finally:
        assert said.is_set()


@pytest.mark.slow
def test_a_worker_has_the_time_its_step_takes(task, monkeypatch):
    monkeypatch.setattr(processes, "_STOP_SECONDS", 0.2)
    engine = ProcessEngine(["cpu"])

    def then(pid):
        Timer(3, os.kill, (pid, signal.SIGCONT)).start()

    with pytest.raises(Interrupted):
        held_in_a_step(task, engine, then)
    (worker,) = engine._workers
    assert worker.process.exitcode == 0
    assert RunState(task.request.work_folder).progressed


@pytest.mark.slow
def test_a_worker_that_is_asked_to_stop_while_its_clip_ends_does_not_wait_for_another(
    task, tmp_path
):
    outputs = (*task.request.outputs, tmp_path / "pictures")  # whose last ones take a moment
    request = replace(task.request, outputs=outputs, size="1024x1024", settings={"steps": 1})
    last = count_frames(request.video, request.reading)
    rescue = Timer(60, os.kill, (os.getpid(), signal.SIGINT))
    rescue.start()
    engine = ProcessEngine(["cpu"])

    def then(pid):
        Timer(0.5, os.kill, (pid, signal.SIGCONT)).start()

    with pytest.raises(Interrupted):
        held_in_a_step(VideoTask("a", request), engine, then, stage="write", at=last, after=0.05)
    rescue.cancel()
    assert engine._workers[0].process.exitcode == 0


@pytest.mark.slow
def test_a_second_interrupt_does_not_wait_for_a_worker(task):
    def then(pid):
        Timer(2, os.kill, (os.getpid(), signal.SIGINT)).start()

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        held_in_a_step(task, ProcessEngine(["cpu"]), then)
    assert time.monotonic() - began < 50
    assert_gone(workers_of(os.getpid()))


@pytest.mark.slow
def test_a_clip_rests_before_it_is_tried_again_and_each_time_longer(task):
    quick = replace(task.request, settings={**task.request.settings, "steps": 1})
    failures, rests = [], []
    lock = FileLock(task.request.outputs[0].parent / ".d.npz.lock")
    lock.acquire()

    def failed(ended, again):
        failures.append(time.monotonic())
        if len(failures) == 2:
            lock.release()

    def watch(task, worker, event):
        if event.stage == "pause":
            rests.append(event.total)

    tasks, engine = [replace(task, request=quick)], LocalEngine("cpu")
    (end,) = run_tasks(tasks, engine, retries=2, on_progress=watch, failed=failed)
    assert (end.outcome.error, end.task.attempt, rests) == ("", 3, [2, 8])
    assert failures[1] - failures[0] >= 2 and time.monotonic() - failures[1] >= 8


@pytest.mark.skipif(disk.WINDOWS, reason="there os.kill ends a process and interrupts none")
def test_an_interrupt_ends_a_pause(task):
    lock = FileLock(task.request.outputs[0].parent / ".d.npz.lock")
    engine, begun = LocalEngine("cpu"), []
    with lock, pytest.raises(Interrupted), engine.interruptible(lambda: None) as beat:

        def watch(task, worker, event):
            beat(event)
            if event.stage == "pause" and event.total == 8:  # the second, which takes 8 seconds
                begun.append(time.monotonic())
                Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()

        list(run_tasks([task], engine, retries=2, on_progress=watch, failed=lambda *_: None))
    assert time.monotonic() - begun[0] < 7
