"""Methods side by side: what is in the sheet and in the video, and what a failed method leaves."""

import numpy as np
import pytest
from clips import make_clip, make_film
from PIL import Image
from processes import KILLED, in_child, kill_this_process

from depthcrafter_cli.media.reader import probe, read_frames
from depthcrafter_cli.types import Size

FRAMES = 10  # of 72x128, which is not enlarged
CELL, GAP, CAPTION = (72, 128), 8, 20


@pytest.fixture
def theirs(tmp_path):
    """A film, and depth of its frames that grows to the right."""
    across = np.linspace(0, 1, 64, dtype=np.float32)
    np.save(tmp_path / "theirs.npy", np.broadcast_to(across, (FRAMES, 36, 64)))
    make_film(tmp_path / "film.mp4", FRAMES)
    return tmp_path


def cell(picture, row, column):
    top, left = row * (CELL[0] + CAPTION + GAP) + CAPTION, GAP + column * (CELL[1] + GAP)
    return picture[top : top + CELL[0], left : left + CELL[1]].astype(int)


def test_source_each_method_and_results_stand_side_by_side(cli, theirs):
    told = ["--method", "trivial-gradient", "--result", theirs / "theirs.npy"]
    out = [theirs / "sheet.png", theirs / "side.mp4"]
    done = cli("compare", theirs / "film.mp4", *told, "--colormap", "gray",
               *(word for path in out for word in ("--out", path)))  # fmt: skip
    assert done.code == 0, done.err
    sheet = np.asarray(Image.open(out[0]))
    source = next(read_frames(theirs / "film.mp4", probe(theirs / "film.mp4").size)).rgb
    assert np.abs(cell(sheet, 0, 0) - source).mean() < 2
    down, right = cell(sheet, 1, 3)[..., 0], cell(sheet, 2, 0)[..., 0]
    assert np.all(np.diff(down.mean(1)) >= 0) and np.ptp(down) == 255 and np.ptp(down.mean(0)) < 2
    assert np.all(np.diff(right.mean(0)) >= 0) and np.ptp(right.mean(1)) < 2
    profile = sheet[2 * (CELL[0] + CAPTION + GAP) + CAPTION + 5, -200:-20].astype(int)
    assert np.abs(profile - 127).max() < 8  # the middle column of theirs
    info = probe(out[1])
    assert info.frame_count == FRAMES and info.rate == 24
    shown = [frame.rgb for frame in read_frames(out[1], info.size)]
    strip = CAPTION + CELL[0] + GAP // 2 + 16
    lines = [int(frame[strip, GAP : GAP + CELL[1]].sum(-1).argmax()) for frame in shown]
    assert lines == sorted(lines) and lines[-1] - lines[0] > 100
    assert sorted(path.name for path in theirs.iterdir()) == [
        "film.mp4", "sheet.png", "side.mp4", "theirs.npy",
    ]  # fmt: skip


def test_the_video_that_is_named_is_shown_beside_a_result_of_another(cli, theirs):
    bright, out = theirs / "bright.mp4", theirs / "d.npz"
    make_clip(bright, frames=FRAMES, size=Size(72, 128))
    assert cli("run", theirs / "film.mp4", "--out", out, "--method", "trivial-gradient").code == 0
    sheet = theirs / "sheet.png"
    assert cli("compare", bright, "--result", out, "--out", sheet).code == 0
    source = next(read_frames(bright, Size(72, 128))).rgb
    assert np.abs(cell(np.asarray(Image.open(sheet)), 0, 0) - source).mean() < 2


def test_what_was_computed_waits_for_the_same_command(cli, theirs):
    told = ["compare", theirs / "film.mp4", "--method", "trivial-gradient", "--out",
            theirs / "sheet.png"]  # fmt: skip
    kept = theirs / "sheet.png.work" / "0.npz"
    missing = cli(*told, "--result", theirs / "short.npy")
    assert missing.code == 3 and "short.npy" in missing.err and not kept.exists()
    np.save(theirs / "short.npy", np.load(theirs / "theirs.npy")[:-1])
    for _ in range(2):
        short = cli(*told, "--result", theirs / "short.npy")
        assert short.code == 3 and "9 frames of short.npy" in short.err
        made = kept.stat().st_mtime_ns
    again = cli(*told, "--result", theirs / "short.npy", "--json")
    assert "estimate" not in again.out  # it was not computed anew
    assert kept.stat().st_mtime_ns == made
    assert cli(*told, "--result", theirs / "theirs.npy").code == 0 and not kept.exists()


def killed_in_the_video():
    """From here on this process ends once some frames of the video are written."""
    from depthcrafter_cli.media.sinks import pictures

    add = pictures.PicturesSink.add

    def stopping(sink, picture, time):
        add(sink, picture, time)
        if time * 24 >= FRAMES // 2:
            kill_this_process()

    pictures.PicturesSink.add = stopping


def test_a_killed_comparison_goes_on_with_the_same_command(cli, theirs):
    told = ["compare", theirs / "film.mp4", "--method", "trivial-gradient"]
    one, other = theirs / "one", theirs / "other"
    for folder in (one, other):
        folder.mkdir()
    command = {f: [*told, "--out", f / "sheet.png", "--out", f / "side.mp4"] for f in (one, other)}
    assert cli(*command[one]).code == 0
    assert in_child(command[other], killed_in_the_video) == KILLED
    assert (other / "sheet.png").exists() and not (other / "side.mp4").exists()
    again = cli(*command[other], "--json")
    assert again.code == 0 and "estimate" not in again.out, again.err
    assert sorted(path.name for path in other.iterdir()) == ["sheet.png", "side.mp4"]
    for name in ("sheet.png", "side.mp4"):
        assert (one / name).read_bytes() == (other / name).read_bytes()
    assert cli(*command[other]).code == 6  # what is finished is not replaced


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "got no --method"),
        (["--method", "trivial-gradient:steps"], "got --method trivial-gradient:steps"),
        (["--method", "trivial-gradient:speed=2"], "expected settings of a run"),
        (["--method", "trivial-gradient", "--column", "3"], "got --column 3"),
        (["--method", "trivial-gradient", "--out", "a.npz"], "a.npz"),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(cli, theirs, monkeypatch, arguments, says):
    monkeypatch.chdir(theirs)
    done = cli("compare", theirs / "film.mp4", "--out", "sheet.png", *arguments)
    assert (done.code, says in done.err, done.err.count("\n")) == (2, True, 1), done.err
    assert not (theirs / "sheet.png.work").exists()
