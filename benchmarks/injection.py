"""Cases of the fault benchmarks: each runs the real program in a forked child and is judged.

A child starts in milliseconds, because the parent has imported everything before it forks.
"""

import ctypes
import importlib
import mmap
import os
import pkgutil
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
TINY = ROOT / "tests" / "data" / "parity" / "tiny_model"
CLIP = ROOT / "tests" / "data" / "parity" / "video" / "clip_a.mp4"
# Five windows and five chunks of 13 frames: state of every kind is written several times.
_TINY_WINDOWS = (
    "--weights", str(TINY), "--steps", "1", "--window", "5", "--overlap", "2",
    "--decode-chunk", "3", "--max-res", "64",
)  # fmt: skip
SMALL = (*_TINY_WINDOWS, "--device", "cpu")
SECONDS = 120
LIBRARY = "DEPTHCRAFTER_DISK_FAULTS"
# SETTLE: syncs, renames, links, new folders, and files cut to a length.
WRITE, REMOVE, READ, OPEN_TO_WRITE, OPEN_TO_READ, SETTLE = 1, 2, 4, 8, 16, 32
CHANGES = WRITE | REMOVE | OPEN_TO_WRITE | SETTLE
KILL, TEAR, FAIL = 1, 2, 3
# Warnings, and lines of progress such as "depthcrafter: load model 0/1 model".
_NO_ERROR = re.compile(r"depthcrafter: (warning: |[\w ]+ [\d.]+/[\d.]+ )")
COMPLAINTS = ("Traceback", "unexpected", "Exception ignored", "Segmentation")


@dataclass(frozen=True)
class Ended:
    """How a command ended: exit code (negative: the signal that killed it; None: it hung), text."""

    code: int | None
    text: str

    @property
    def sentences(self) -> list[str]:
        """What the program said as its error."""
        said = [line for line in self.text.splitlines() if line.startswith("depthcrafter: ")]
        return [line for line in said if not _NO_ERROR.match(line)]

    @property
    def refusal(self) -> str | None:
        """Why this is no proper refusal or failure (one sentence, a documented code), else None."""
        if self.code is None:
            return "hang"
        if self.code in (0, 1) or self.code < 0:
            return f"exit code {self.code}"
        if any(word in self.text for word in COMPLAINTS):
            return "a complaint of Python's"
        if len(self.sentences) != 1:
            return f"{len(self.sentences)} sentences"
        return None


@dataclass(frozen=True)
class Fault:
    """What happens at an operation; ``for_good``: at all later ones too."""

    name: str
    action: int
    error: int = 0
    kinds: int = CHANGES
    for_good: bool = False


class Disk:
    """The preloaded library, which strikes in children only."""

    def __init__(self) -> None:
        self._arm = ctypes.CDLL(os.environ[LIBRARY]).faults_arm
        self._shared = mmap.mmap(-1, ctypes.sizeof(ctypes.c_long))
        self._count = ctypes.c_long.from_buffer(self._shared)

    def strike(self, fault: Fault, at: int, place: Path) -> Callable[[], object]:
        """What a child calls so that a fault strikes at operation ``at`` below ``place``."""
        return lambda: self._arm(
            fault.kinds, ctypes.c_long(at), fault.action, fault.error, fault.for_good,
            bytes(place), ctypes.byref(self._count),
        )  # fmt: skip

    @property
    def operations(self) -> int:
        """How many operations the latest child came to."""
        return self._count.value


def killed_run(arguments: list[object], place: Path, share: float) -> None:
    """Run in a prepared ``place``, killed after a share of its changes to the disk."""
    disk, log = Disk(), place.with_name("log")
    kill = Fault("killed", KILL)
    before = place.with_name("before")
    lay(place, before)
    done = run(arguments, log, disk.strike(kill, 0, place))
    assert done.code == 0, done.text
    moment = round(share * disk.operations)
    lay(before, place)
    assert run(arguments, log, disk.strike(kill, moment, place)).code == -signal.SIGKILL


def import_everything() -> None:
    """Import the program and what it imports late, so that forked children need not."""
    import torch

    import depthcrafter_cli

    torch.set_num_threads(1)
    for module in pkgutil.walk_packages(depthcrafter_cli.__path__, "depthcrafter_cli."):
        if not module.name.endswith(("__main__", "on_ray")):
            importlib.import_module(module.name)
    for name in ("matplotlib.figure", "rich.progress", "numcodecs", "safetensors.torch"):
        importlib.import_module(name)


def run(arguments: list[object], log: Path, before: Callable[[], object] = lambda: None) -> Ended:
    """Run ``depthcrafter`` in a child process; ``before`` is called there, last of all."""
    child = os.fork()
    if not child:
        os._exit(_command(arguments, log, before))
    deadline = time.monotonic() + SECONDS
    while not (status := os.waitpid(child, os.WNOHANG))[0]:
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return Ended(None, log.read_text(errors="replace"))
        time.sleep(0.005)
    return Ended(os.waitstatus_to_exitcode(status[1]), log.read_text(errors="replace"))


def _command(arguments: list[object], log: Path, before: Callable[[], object]) -> int:
    os.setsid()
    descriptor = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o644)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    sys.stdout, sys.stderr = (os.fdopen(stream, "w", closefd=False) for stream in (1, 2))
    sys.argv = ["depthcrafter", *map(str, arguments)]
    code: object = 0
    try:
        from depthcrafter_cli.cli import main

        before()
        main()
    except SystemExit as stop:
        code = stop.code or 0
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code if isinstance(code, int) else 1


def two_clips(place: Path) -> None:
    """What :func:`batch` reads."""
    (place / "in").mkdir()
    for name in ("a.mp4", "b.mp4"):
        shutil.copy(CLIP, place / "in" / name)


def batch(place: Path) -> list[object]:
    """A batch below ``place``; all of it in the process that is armed, and nothing tried twice."""
    how = ["--format", "npz", "--devices", "cpu", "--engine", "local", "--retries", "0", "--quiet"]
    return ["batch", place / "in", "--out", place / "out", *how, *_TINY_WINDOWS]


def recipe(place: Path) -> str:
    """A recipe of three short stages, and the clips it names, written below ``place``."""
    from training_steps import three_stages, write_clip

    for seed in range(2):
        write_clip(place / "clips" / f"clip{seed}", seed)
    return three_stages(TINY, place / "clips", steps=2)


def train(place: Path) -> list[object]:
    """Training by ``place``'s recipe.toml."""
    how = ["--work-dir", place / "training", "--device", "cpu", "--quiet"]
    return ["train", place / "recipe.toml", "--out", place / "model", *how]


def contents(place: Path) -> dict[str, bytes]:
    """Everything below a folder by its relative path.

    Of folders, of records and reports, which hold times of day, and of the picture of a training
    run so far, only that they are there.
    """
    vague = (".json", ".jsonl", ".csv")
    return {
        str(path.relative_to(place)): (
            b""
            if path.is_dir() or path.suffix in vague or path.name == "loss.png"
            else path.read_bytes()
        )
        for path in sorted(place.rglob("*"))
    }


def lay(template: Path | None, place: Path) -> None:
    """Make ``place`` a copy of ``template``, or an empty folder; times of files are kept."""
    shutil.rmtree(place, ignore_errors=True)
    if template is None:
        place.mkdir(parents=True)
    else:
        shutil.copytree(template, place, symlinks=True)


def difference(found: dict[str, bytes], expected: dict[str, bytes]) -> str | None:
    """How two results differ, None if they do not."""
    missing, more = expected.keys() - found.keys(), found.keys() - expected.keys()
    if missing:
        return f"missing: {', '.join(sorted(missing))}"
    if more:
        return f"left over: {', '.join(sorted(more))}"
    other = [name for name, data in expected.items() if found[name] != data]
    return f"other bytes: {', '.join(other)}" if other else None


def with_faults(main: Callable[[], int]) -> int:
    """Run a benchmark with the library preloaded: built first, and begun again in a new process."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if LIBRARY in os.environ:
        return main()
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder, "disk_faults.so")
        source = Path(__file__).with_name("disk_faults.c")
        compiler = os.environ.get("CC", "cc")
        subprocess.run(
            [compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True
        )
        environment = {**os.environ, LIBRARY: str(library), "LD_PRELOAD": str(library)}
        return subprocess.run([sys.executable, *sys.argv], env=environment).returncode
