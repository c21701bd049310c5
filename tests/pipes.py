"""Named pipes, which whoever opens them waits for."""

import os
from pathlib import Path

import pytest


def make_pipe(path: Path) -> None:
    """Make a named pipe; the test is skipped where there are none, on Windows."""
    if not hasattr(os, "mkfifo"):
        pytest.skip("this system has no named pipes among its files")
    os.mkfifo(path)
