"""A sample of the two benchmarks that break the disk under real commands, and what they read back.

docs/reliability.md has the figures of their whole sweeps.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module", autouse=True)
def injector():
    """Nothing can be injected but on Linux, by a library that the system's compiler builds."""
    if sys.platform != "linux":
        pytest.skip("faults are injected by a preloaded library, which is of Linux")
    if not shutil.which(os.environ.get("CC", "cc")):
        pytest.skip("no C compiler (cc, or CC) builds the library that injects faults")


def all_right(script: str, *options: object) -> int:
    """Run a benchmark, which must find nothing wrong; how much it tried."""
    command = [sys.executable, BENCHMARKS / script, *options]
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=850
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    return int(done.stdout.splitlines()[-1].split()[0])


@pytest.mark.slow
def test_a_fault_of_the_disk_costs_nothing():
    assert all_right("faults.py", "--only", "pull", "--every", 30) >= 6


@pytest.mark.slow
def test_a_damaged_file_never_gives_a_wrong_result_in_silence():
    assert all_right("corrupt.py", "--only", "state", "record", "--flips", 4, "--every", 12) >= 6


@pytest.mark.slow
def test_no_command_loses_anything_to_a_fault():
    every = ("run", "formats", "resume", "overwrite", "finish", "batch", "pull")
    assert all_right("faults.py", "--only", *every, "--every", 60) >= 60


@pytest.mark.slow
def test_a_stage_of_training_survives_a_fault():
    assert all_right("faults.py", "--only", "train", "--every", 10) >= 5


@pytest.mark.slow
def test_no_damaged_file_gives_a_wrong_result_in_silence():
    assert all_right("corrupt.py", "--flips", 4, "--every", 12) >= 20
