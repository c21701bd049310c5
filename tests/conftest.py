"""Shared parts of the tests: the tiny model of the parity data, one thread, real CLI calls."""

import gc
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from clips import make_clip
from filelock import FileLock

from depthcrafter_cli.models import weights
from depthcrafter_cli.types import Size

# Triton reads this once, when it is imported: its kernels are tested without a GPU.
os.environ.setdefault("TRITON_INTERPRET", "1")
# By which user_folder() finds the user's data on this system.
USERS_DATA = {"win32": "LOCALAPPDATA", "darwin": "HOME"}.get(sys.platform, "XDG_DATA_HOME")
# The rates of the tests' runs are no user's.
os.environ[USERS_DATA] = str(Path(tempfile.gettempdir(), f"depthcrafter-tests-{os.getpid()}"))

PARITY = Path(__file__).parent / "data" / "parity"


def pytest_addoption(parser):
    parser.addoption(
        "--windows-rules", action="store_true", help="run all tests under Windows' rules for files"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
    """The whole suite goes to two workers; what was named is sooner done in this process.

    Unless ``-n`` says otherwise, or pytest-xdist is left out.
    """
    asked = config.option
    if getattr(asked, "numprocesses", 0) is not None or asked.usepdb or of_worker(config):
        return
    if config.args_source.name != "ARGS":
        asked.numprocesses = min(2, os.cpu_count() or 1)
        asked.dist = "worksteal"  # modules stay together, so what is made for one is made once


def of_worker(config) -> bool:
    """Whether this process is a worker of pytest-xdist."""
    return hasattr(config, "workerinput")


def pytest_configure(config):
    if of_worker(config):  # pytest-xdist's ignore what tests of interrupts send to themselves
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if config.getoption("--windows-rules") and not of_worker(config):  # which has them already
        from windows_rules import sitecustomize

        log = Path(tempfile.mkdtemp(), "broken")
        os.environ.update(environment_of_windows_rules(log))
        sitecustomize.install(log)


def pytest_sessionfinish(session):
    shutil.rmtree(os.environ[USERS_DATA], ignore_errors=True)
    log = Path(os.environ.get("DEPTHCRAFTER_WINDOWS_RULES", ""))
    asked = session.config.getoption("--windows-rules") and not of_worker(session.config)
    if asked and log.is_file():
        print(f"\nRules of Windows that the program broke:\n{log.read_text()}")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def environment_of_windows_rules(log: Path) -> dict[str, str]:
    """What makes Windows' rules those of every process that is started with it."""
    rules = str(Path(__file__).parent / "windows_rules")
    path = os.pathsep.join(filter(None, (rules, os.environ.get("PYTHONPATH"))))
    return {"DEPTHCRAFTER_WINDOWS_RULES": str(log), "PYTHONPATH": path}


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Two threads on two shared cores spin; one is faster and repeatable."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def imported():
    """What the tests have imported stays: to look through it took 0.2 s at each collection."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def tiny_folder() -> Path:
    """A complete model folder of the published classes, 2 levels, random weights."""
    return PARITY / "tiny_model"


@pytest.fixture(scope="session")
def tiny(tiny_folder):
    """The tiny model, loaded in float32 on the CPU."""
    import torch

    from depthcrafter_cli.models.loading import load_components

    return load_components(tiny_folder, device=torch.device("cpu"), dtype=torch.float32)


@pytest.fixture(scope="module")
def gigabytes(tmp_path_factory):
    """Of the modules that take gigabytes, one at a time, however many workers there are."""
    with FileLock(tmp_path_factory.getbasetemp().parent / "gigabytes.lock"):
        yield


class Finished(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def cli(monkeypatch, capfd) -> Callable[..., Finished]:
    """Run ``depthcrafter`` with arguments, in this process, through its real entry point."""
    from depthcrafter_cli.cli import main

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def call(*arguments: object) -> Finished:
        monkeypatch.setattr(sys, "argv", ["depthcrafter", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code or 0
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        captured = capfd.readouterr()
        return Finished(code, captured.out, captured.err)

    return call


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """An empty weights folder, the only one: neither this checkout's nor the user's are seen."""
    monkeypatch.setenv("DEPTHCRAFTER_WEIGHTS", str(tmp_path / "root"))
    monkeypatch.setenv(USERS_DATA, str(tmp_path / "data"))
    monkeypatch.setattr(weights, "_PACKAGE", tmp_path / "site" / "depthcrafter_cli")
    monkeypatch.setattr(weights, "_CHECKOUT", tmp_path / "site")
    return tmp_path / "root"


@pytest.fixture
def clip(tmp_path) -> Path:
    """Sixteen frames of 64x64."""
    return make_clip(tmp_path / "clip.mp4", frames=16, size=Size(64, 64))


@pytest.fixture
def options(tiny_folder) -> list[object]:
    """Four windows a clip, of a second each, with the tiny model."""
    return [
        "--weights", tiny_folder, "--steps", 1, "--window", 6, "--overlap", 2, "--decode-chunk", 3
    ]  # fmt: skip
