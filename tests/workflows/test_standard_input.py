"""A video by standard input is kept with its run's state, and goes with it."""

import subprocess
import sys

import numpy as np
import pytest
from clips import ffmpeg, make_clip
from processes import ENVIRONMENT

from depthcrafter_cli import workflows
from depthcrafter_cli.options import build
from depthcrafter_cli.types import Size
from depthcrafter_cli.workflows.request import STANDARD_INPUT, RunRequest

SIZE = Size(64, 64)
QUICK = ("--method", "trivial-gradient")


@pytest.fixture(scope="module")
def streams(tmp_path_factory):
    """The same video as raw pictures and in containers that can be streamed."""
    folder = tmp_path_factory.mktemp("streams")
    clip = make_clip(folder / "clip.mkv", frames=8, size=SIZE)
    for name in ("clip.y4m", "clip.ts"):
        coded = ("-f", "yuv4mpegpipe") if name.endswith("y4m") else ("-c", "copy")
        ffmpeg("-i", clip, *coded, folder / name)
    return folder


def run(data, *arguments):
    command = [sys.executable, "-m", "depthcrafter_cli", "run", "-", *map(str, arguments)]
    return subprocess.run(command, input=data, capture_output=True, env=ENVIRONMENT)


@pytest.mark.parametrize("name", ["clip.y4m", "clip.ts", "clip.mkv"])
def test_a_stream_gives_what_its_file_does(cli, tmp_path, monkeypatch, streams, name):
    out, same = tmp_path / "out" / "piped.npy", tmp_path / "file.npy"
    with (streams / name).open("rb") as file:
        monkeypatch.setattr(sys, "stdin", Piped(file))
        done = cli("run", "-", "--out", out, *QUICK)
    assert done.code == 0, done.err
    assert cli("run", streams / name, "--out", same, *QUICK).code == 0
    np.testing.assert_array_equal(np.load(out), np.load(same))
    assert {file.name for file in out.parent.iterdir()} == {"piped.npy", "piped.npy.json"}


class Piped:
    """Standard input as another program writes it."""

    def __init__(self, file):
        self.buffer = file

    def isatty(self):
        return False


def test_a_kept_run_has_its_video_for_other_outputs(cli, tmp_path, monkeypatch, streams):
    out, work = tmp_path / "d.npy", tmp_path / "d.npy.work"
    with (streams / "clip.y4m").open("rb") as file:
        monkeypatch.setattr(sys, "stdin", Piped(file))
        assert cli("run", "-", "--out", out, *QUICK, "--keep-work").code == 0
    done = cli("finish", work, "--out", tmp_path / "both.mp4", "--side-by-side")
    assert done.code == 0, done.err
    with (streams / "clip.y4m").open("rb") as file:
        monkeypatch.setattr(sys, "stdin", Piped(file))
        refused = cli("run", "-", "--out", out, *QUICK, "--resume")
        assert refused.code == 2 and "depthcrafter resume" in " ".join(refused.err.split())
        taken = cli("run", "-", "--out", tmp_path / "e.npy", "--work-dir", work, *QUICK)
        assert taken.code == 6 and file.tell() == 0
        again = cli("run", "-", "--out", out, *QUICK, "--overwrite")
        assert again.code == 0, again.err
    assert not work.exists()


def test_a_stopped_run_goes_on_without_its_stream(cli, tmp_path, monkeypatch, streams):
    out, work = tmp_path / "d.npy", tmp_path / "d.npy.work"
    request = build(
        RunRequest, {"method": "trivial-gradient"}, video=STANDARD_INPUT, outputs=(out,)
    )

    def stop(event):
        if event.stage == "write":
            raise KeyboardInterrupt

    with (streams / "clip.y4m").open("rb") as file:
        monkeypatch.setattr(sys, "stdin", Piped(file))
        with pytest.raises(KeyboardInterrupt):
            workflows.run(request, stop)
    assert (work / "input").is_file() and not out.exists()
    done = cli("resume", work)
    assert done.code == 0, done.err
    assert len(np.load(out)) == 8
    assert not work.exists()


@pytest.mark.parametrize(
    ("data", "says"), [(b"", "Nothing came by standard input"), (b"text " * 99, "cannot be read")]
)
def test_what_is_no_video_leaves_nothing(tmp_path, data, says):
    done = run(data, "--out", tmp_path / "d.npy", *QUICK)
    assert done.returncode == 3 and says in done.stderr.decode()
    assert list(tmp_path.iterdir()) == []


def test_other_commands_take_no_stream_and_other_files_stay(cli, tmp_path, monkeypatch, streams):
    for command in ("plan", "shots"):
        refused = cli(command, "-", *(() if command == "plan" else ("--out", tmp_path / "s.csv")))
        assert refused.code == 3 and "standard input" in refused.err
    work = tmp_path / "mine"
    work.mkdir()
    (work / "notes.txt").write_text("mine")
    with (streams / "clip.y4m").open("rb") as file:
        monkeypatch.setattr(sys, "stdin", Piped(file))
        refused = cli("run", "-", "--out", tmp_path / "d.npy", "--work-dir", work, *QUICK)
        assert refused.code == 6 and file.tell() == 0
    assert [file.name for file in work.iterdir()] == ["notes.txt"]


def test_iw3_gets_what_comes_by_standard_input_and_is_told_of_its_sound(
    cli, tmp_path, monkeypatch, streams
):
    film = tmp_path / "film.ts"
    tone = ("-f", "lavfi", "-i", "sine=d=0.3", "-c:v", "copy", "-c:a", "aac")
    ffmpeg("-i", streams / "clip.mkv", *tone, film)
    with film.open("rb") as file:
        monkeypatch.setattr(sys, "stdin", Piped(file))
        done = cli("run", "-", "--out", tmp_path / "iw3", "--for", "iw3", *QUICK)
    assert done.code == 0, done.err
    assert "which came by standard input" in done.err
    (listed,) = (tmp_path / "iw3").glob("*/iw3_export.yml")
    assert f"basename: '{listed.parent.name}'" in listed.read_text()
    assert len(list((listed.parent / "depth").iterdir())) == 8
