"""What goes wrong around a run: places that vanish, fill, or cannot be read or written.

Each time one sentence, the right exit code, no file under a final name, and a run that can go on.
"""

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from processes import ENVIRONMENT

from depthcrafter_cli import disk

# Windows keeps what is open from being moved away.
ELSEWHERE = pytest.mark.skipif(disk.WINDOWS, reason="on Windows nothing in use vanishes")


@contextmanager
def meanwhile(ready, action) -> Iterator[None]:
    """Do something in another thread as soon as something is there."""
    over = threading.Event()

    def watch() -> None:
        while not ready() and not over.is_set():
            time.sleep(0.001)
        if not over.is_set():
            action()

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.fixture
def disk(tmp_path) -> Iterator[Path]:
    """A small disk of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def remount(disk: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(disk)], check=True)


def assert_one_sentence(errors: str, *says: object) -> None:
    lines = [line for line in errors.splitlines() if line.startswith("depthcrafter:")]
    assert len(lines) == 1 and "unexpected" not in errors, errors
    assert all(str(part) in errors for part in says), errors


def frames_in(path: Path) -> int:
    with np.load(path) as archive:
        return len(archive["depth"])


@ELSEWHERE
def test_an_output_folder_that_vanishes_ends_the_run_which_goes_on_when_it_is_back(
    cli, clip, options, tmp_path
):
    place, work = tmp_path / "results", tmp_path / "work"
    place.mkdir()
    command = ["run", clip, "--out", place / "d.npz", *options, "--work-dir", work, "--quiet"]
    with meanwhile((work / "window.safetensors").exists, lambda: shutil.rmtree(place)):
        lost = cli(*command)
    assert lost.code == 6
    assert_one_sentence(lost.err, f"depthcrafter resume {work}")
    still = cli("resume", work, "--quiet")
    assert still.code == 6
    assert_one_sentence(still.err, "no folder")
    place.mkdir()
    assert cli("resume", work, "--quiet").code == 0
    assert frames_in(place / "d.npz") == 16 and not work.exists()


@ELSEWHERE
def test_everything_vanishing_ends_the_run(cli, clip, options, tmp_path):
    place = tmp_path / "results"
    place.mkdir()
    window = place / "d.npz.work" / "window.safetensors"
    # In one step, as a disk goes: removed file by file, it could be filled again meanwhile.
    with meanwhile(window.exists, lambda: place.rename(tmp_path / "gone")):
        lost = cli("run", clip, "--out", place / "d.npz", *options, "--quiet")
    assert lost.code == 6 and "resume" not in lost.err
    assert_one_sentence(lost.err)


@ELSEWHERE
def test_an_input_that_vanishes_ends_the_run_which_goes_on_when_it_is_back(
    cli, clip, options, tmp_path
):
    aside, out = tmp_path / "aside.mp4", tmp_path / "d.npz"
    window = tmp_path / "d.npz.work" / "window.safetensors"
    with meanwhile(window.exists, lambda: clip.rename(aside)):
        lost = cli("run", clip, "--out", out, *options, "--quiet")
    assert lost.code == 3 and not out.exists()
    assert_one_sentence(lost.err, "not what it was")
    aside.rename(clip)
    assert cli("resume", out.with_name("d.npz.work"), "--quiet").code == 0
    assert frames_in(out) == 16


def test_a_run_with_its_state_on_another_disk(cli, clip, options, tmp_path, disk):
    out, work, filler = tmp_path / "d.npz", disk / "deep" / "work", disk / "filler"

    def fill() -> None:
        with suppress(OSError), filler.open("wb") as file:
            file.write(bytes(8 << 20))

    command = ["run", clip, "--out", out, *options, "--work-dir", work, "--quiet"]
    with meanwhile((work / "window.safetensors").exists, fill):
        full = cli(*command)
    assert full.code == 6 and not out.exists()
    assert_one_sentence(full.err, "free", f"depthcrafter resume {work}")
    filler.unlink()
    done = cli(*command, "--resume", "--keep-work")
    assert done.code == 0 and frames_in(out) == 16, done
    remount(disk, "ro")  # a kept run that is not ours to change
    other = tmp_path / "other.npz"
    finished = cli("finish", work, "--out", other, "--quiet")
    assert finished.code == 0 and frames_in(other) == 16, finished


def test_an_output_that_cannot_be_written_is_refused_before_the_start(
    cli, clip, options, tmp_path, disk
):
    remount(disk, "ro")
    refused = cli("run", clip, "--out", disk / "d.npz", *options)
    assert refused.code == 6
    assert_one_sentence(refused.err, "writable")
    nowhere = cli("run", clip, "--out", tmp_path / "d.npz", *options, "--work-dir", disk / "w")
    assert nowhere.code == 6 and not (tmp_path / "d.npz").exists()
    assert_one_sentence(nowhere.err, "writable")


@pytest.mark.slow
def test_what_may_not_be_read_is_said_with_its_exit_code(clip, options, tmp_path):
    closed = tmp_path / "closed"
    (closed / "w").mkdir(parents=True)
    shutil.copy(clip, tmp_path / "secret.mp4")
    for place in (closed, tmp_path / "secret.mp4"):
        place.chmod(0)
    out = ["--out", str(tmp_path / "d.npz")]
    commands = {
        3: ["run", str(tmp_path / "secret.mp4"), *out],
        6: ["run", str(clip), *out, "--work-dir", str(closed / "w")],
    }
    program = [sys.executable, "-m", "depthcrafter_cli"]
    if os.geteuid() == 0:  # who may read everything otherwise
        if shutil.which("setpriv") is None:
            pytest.skip("needs setpriv, or a user who is not root")
        program = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *program]
    try:
        for code, arguments in commands.items():
            command = [*program, *arguments, *map(str, options)]
            done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT)
            assert done.returncode == code
            assert_one_sentence(done.stderr, "ermission denied")
        for source in (tmp_path, tmp_path / "*"):
            command = [*program, "batch", str(source), "--out", str(tmp_path / "o"), "--dry-run"]
            done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT)
            assert done.returncode == 7 and "1 of 2 videos" in done.stderr, done.stderr
            assert f"warning: {closed} cannot be read" in done.stderr
    finally:
        closed.chmod(0o700)


@pytest.mark.slow
def test_a_damaged_state_is_said_and_the_run_begins_again(cli, clip, options, tmp_path):
    out, work = tmp_path / "d.npz", tmp_path / "d.npz.work"
    assert cli("run", clip, "--out", out, *options, "--keep-work").code == 0
    out.unlink()
    (tmp_path / "d.npz.json").unlink()
    state = work / "window.safetensors"
    state.write_bytes(state.read_bytes()[:20])
    again = cli("resume", work)
    assert again.code == 0 and "begins again" in again.err, again
    assert frames_in(out) == 16
    (work / "job.json").write_text('{"format": 1')
    refused = cli("resume", work)
    assert refused.code == 2
    assert_one_sentence(refused.err)


def test_the_state_of_a_run_under_way_is_not_emptied_by_another(cli, clip, options, tmp_path):
    work = tmp_path / "work"
    kept = ["run", clip, "--out", tmp_path / "d.npz", *options, "--work-dir", work, "--keep-work"]
    assert cli(*kept).code == 0
    before = {file.name: file.read_bytes() for file in work.iterdir()}
    with FileLock(tmp_path / ".work.lock"):
        other = ["--out", tmp_path / "e.npz", *options, "--work-dir", work, "--overwrite"]
        refused = cli("run", clip, *other, "--quiet")
        assert refused.code == 6
        assert_one_sentence(refused.err, "another run")
    assert {file.name: file.read_bytes() for file in work.iterdir()} == before
