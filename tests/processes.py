"""Real runs in processes of their own, which tests stop or kill."""

import json
import os
import signal
import subprocess
import sys
import time

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def stop_at(
    stage: str, done: int, arguments: list[object], number=signal.SIGTERM, times: int = 1
) -> tuple[int, list[dict]]:
    """Run, and send a signal at a stage's first event from ``done`` on; exit code, later events."""
    command = [sys.executable, "-m", "depthcrafter_cli", "run", *arguments, "--json"]
    process = subprocess.Popen(
        [str(part) for part in command], stdout=subprocess.PIPE, text=True, env=ENVIRONMENT
    )
    assert process.stdout is not None
    for line in process.stdout:
        event = json.loads(line)
        if event.get("stage") == stage and event["done"] >= done:
            break
    for _ in range(times):
        process.send_signal(number)
        time.sleep(0.01)  # two at once would count as one
    rest = process.communicate(timeout=120)[0]
    return process.returncode, [json.loads(line) for line in rest.splitlines()]
