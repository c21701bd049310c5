"""Real runs in processes of their own, which tests stop or kill."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import psutil

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def stop_at(
    stage: str, done: int, arguments: list[object], *signals: signal.Signals
) -> tuple[int, list[dict]]:
    """Run, and send signals at a stage's first event from ``done`` on; exit code, later events."""
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
