"""Real runs in processes of their own, which tests stop or kill."""

import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from depthcrafter_cli import disk
from depthcrafter_cli.cli import app, batch
from depthcrafter_cli.models import loading
from depthcrafter_cli.workflows import runs

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}

# On Linux children are forks of a server that has imported everything and has never begun a thread.
_CHILDREN = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
if sys.platform == "linux":
    _USED = (pytest, app, batch, loading, runs)
    _CHILDREN.set_forkserver_preload([used.__name__ for used in _USED])
_KILL = getattr(signal, "SIGKILL", signal.SIGTERM)  # Windows has one way, whatever its name
KILLED = -_KILL if os.name == "posix" else _KILL


def nothing() -> None:
    """Change nothing in a child."""


def in_child(command: list[object], prepare: Callable[[], None] = nothing) -> int:
    """Run a command in a child, which ``prepare`` changes first; its exit code, KILLED if killed.

    ``prepare`` is a function of a module, or a partial of one. What the child says is passed on.
    """
    with tempfile.TemporaryDirectory() as folder:
        said = Path(folder, "said")
        asked = (list(map(str, command)), prepare, said)
        child = _CHILDREN.Process(target=_carry_out, args=asked)
        child.start()
        child.join()
        print(said.read_text(errors="replace"), file=sys.stderr)
    assert child.exitcode is not None
    return child.exitcode


def _carry_out(command: list[str], prepare: Callable[[], None], said: Path) -> None:
    import torch

    from depthcrafter_cli.cli import main

    torch.set_num_threads(1)
    sink = os.open(said, os.O_WRONLY | os.O_CREAT)
    os.dup2(sink, 1)
    os.dup2(sink, 2)
    os.close(sink)
    sys.argv = ["depthcrafter", *command, "--quiet"]
    prepare()
    main()


def a_worker() -> psutil.Process | None:
    """One of an engine's workers that this process started, None where none lives."""
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):  # of processes that have ended, other tests' too
            if re.search("spawn_main|ray::_Actor", " ".join(process.cmdline())):
                return process
    return None


def kill_this_process() -> None:
    """End this process at once, as a kill from outside does."""
    os.kill(os.getpid(), _KILL)


def stop_at(
    stage: str, done: int, arguments: list[object], *signals: signal.Signals
) -> tuple[int, list[dict]]:
    """Run, and send signals at a stage's first event from ``done`` on; exit code, later events.

    The test is skipped on Windows, where a process cannot be held, or sent a signal.
    """
    if disk.WINDOWS:
        pytest.skip("no process of Windows sends another a signal")
    command = [sys.executable, "-m", "depthcrafter_cli", "run", *arguments, "--json"]
    process = subprocess.Popen(
        [str(part) for part in command], stdout=subprocess.PIPE, text=True, env=ENVIRONMENT
    )
    assert process.stdout is not None
    for line in process.stdout:
        event = json.loads(line)
        if event.get("stage") == stage and event["done"] >= done:
            break
    # Held, so that it does not go on between them; two of one kind would count as one.
    for number in (signal.SIGSTOP, *signals, signal.SIGCONT):
        process.send_signal(number)
    rest = process.communicate(timeout=600)[0]
    return process.returncode, [json.loads(line) for line in rest.splitlines()]


def workers_of(pid: int) -> list[int]:
    """The worker processes of a batch."""
    children = psutil.Process(pid).children()
    return [child.pid for child in children if "spawn_main" in _command(child.pid)]


def _command(pid: int) -> str:
    """The command line of a process that is at work; empty of one that has ended."""
    with suppress(psutil.Error):
        return " ".join(psutil.Process(pid).cmdline())
    return ""


def assert_gone(workers: list[int]) -> None:
    """Wait for processes that end; for two minutes at most."""
    patience = time.monotonic() + 120
    while any(map(_command, workers)):
        assert time.monotonic() < patience, "a worker outlived its batch"
        time.sleep(0.05)
