"""Pipes that close, disks that fill, streams that are not there: no run is lost to them."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from depthcrafter_cli import disk

pytestmark = pytest.mark.skipif(disk.WINDOWS, reason="lines of a POSIX shell")

MAIN = f"{shlex.quote(sys.executable)} -m depthcrafter_cli"


def shell(line: str) -> subprocess.CompletedProcess[str]:
    """A line of bash, in which ``depthcrafter`` is this program; the first command's exit code."""
    return subprocess.run(
        ["bash", "-c", f'depthcrafter() {{ {MAIN} "$@"; }}; {line}; exit ${{PIPESTATUS[0]}}'],
        capture_output=True, text=True, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


@pytest.fixture
def run(clip, tiny_folder, tmp_path) -> str:
    """A run of a second as a line of a shell."""
    options = ["--weights", tiny_folder, "--steps", 1, "--max-res", 64]
    return shlex.join(
        map(str, ["depthcrafter", "run", clip, "--out", tmp_path / "d.npz", *options])
    )


@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        ("depthcrafter weights list | head -1", 0, ""),
        ("depthcrafter --help | true", 0, ""),
        ("depthcrafter --version >&-", 0, ""),
        ("depthcrafter weights list --json >&-", 0, ""),
        ("depthcrafter --version >/dev/full", 6, "No space left"),
        ("depthcrafter weights list >/dev/full", 6, "No space left"),
        ("depthcrafter weights path none 2>/dev/full", 4, ""),
        ("depthcrafter weights verify none --json | true", 4, ""),
    ],
)
def test_a_command_that_only_tells_ends_quietly(line, code, says):
    done = shell(line)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr
    assert says in done.stderr and len(done.stderr.splitlines()) == bool(says), done.stderr


@pytest.mark.parametrize(
    "where",
    [
        "--json | head -1",
        pytest.param(">/dev/full 2>/dev/full", marks=pytest.mark.slow),
        pytest.param("--json >/dev/full 2>&-", marks=pytest.mark.slow),
        pytest.param("| true", marks=pytest.mark.slow),
        pytest.param(">&- 2>&- <&-", marks=pytest.mark.slow),
    ],
)
def test_a_run_is_finished_whatever_becomes_of_its_streams(run, tmp_path, where):
    done = shell(f"{run} {where}")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr
    made = {path.name for path in tmp_path.iterdir()}
    assert made == {"clip.mp4", "d.npz", "d.npz.json"}


@pytest.mark.slow
def test_a_terminal_that_goes_away_ends_no_run(run, tmp_path):
    shown = shell(f"script -qec {shlex.quote(run.replace('depthcrafter', MAIN, 1))} /dev/full")
    assert (tmp_path / "d.npz").exists(), shown


def test_wrong_usage_is_one_sentence_and_with_json_an_event():
    told = shell("depthcrafter run clip.mp4")
    assert told.returncode == 2 and len(told.stderr.splitlines()) == 1
    assert "--out" in told.stderr and "run --help" in told.stderr
    for arguments in ("run clip.mp4", "nonsense", "run '~nobody-here/x.mp4' --out d.npz"):
        done = shell(f"depthcrafter {arguments} --json")
        assert done.returncode == 2 and not done.stderr, done
        (event,) = map(json.loads, done.stdout.splitlines())
        assert (event["event"], event["exit_code"]) == ("error", 2) and event["message"]
        assert event["time"].endswith("Z") and event["elapsed"] >= 0


@pytest.mark.slow
def test_quiet_keeps_libraries_from_standard_error(run, tmp_path):
    # Not the libraries' own words: an OMP_NUM_THREADS that makes no sense is told of by libgomp.
    noisy = shell(f"OMP_NUM_THREADS=garbage {run} --quiet")
    assert (noisy.returncode, noisy.stdout, noisy.stderr) == (0, "", "")
    failed = shell(f"OMP_NUM_THREADS=garbage {run} --quiet")
    assert failed.returncode == 6 and len(failed.stderr.splitlines()) == 1


@pytest.mark.parametrize("suffix", ["mp4", pytest.param("npz", marks=pytest.mark.slow)])
def test_what_a_notebook_sets_for_its_plots_changes_nothing(run, tmp_path, suffix):
    run = run.replace("d.npz", f"d.{suffix}")
    place = Path(tmp_path / "place")
    (place / "config").mkdir(parents=True)
    for settings in (place / "matplotlibrc", place / "config" / "matplotlibrc"):
        settings.write_bytes(b"backend: nonsense\nfigure.dpi: none\n\xff\xfe no text\n")
    (place / "config").chmod(0o500)
    notebook = "MPLBACKEND=module://matplotlib_inline.backend_inline MATPLOTLIBRC=config"
    done = shell(f"cd {place}; {notebook} MPLCONFIGDIR=config HOME=/dev/null {run} --quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.skipif(sys.platform != "linux", reason="no other system removes the current folder")
def test_a_current_folder_that_was_removed_is_said(tmp_path):
    gone, root = tmp_path / "gone", Path(__file__).parents[2]
    gone.mkdir()
    start = f"""
import os, sys
sys.path.insert(0, {str(root)!r})
os.rmdir(os.getcwd())
sys.argv = ["depthcrafter", "doctor"]
from depthcrafter_cli.cli import main
main()
"""
    done = subprocess.run([sys.executable, "-c", start], cwd=gone, capture_output=True, text=True)
    assert done.returncode == 2 and "the folder you are in was removed" in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
