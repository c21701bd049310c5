"""Outputs are judged before any work is done."""

import re
from pathlib import Path

import pytest
from clips import picture
from PIL import Image

from depthcrafter_cli.errors import OutputError, UsageError
from depthcrafter_cli.media.sinks import Look, check_outputs


def test_free_names_of_every_kind_pass_and_leave_no_trace(tmp_path):
    names = ["a.mp4", "a.MOV", "a.npz", "folder", "numbered/a_%05d.png"]
    check_outputs([tmp_path / name for name in names], video=tmp_path / "clip.mp4")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ([], "got no `outputs`"),
        (["depth.avi"], r"'.avi', expected one of .mp4, .mov, .mkv, .npz, .npy, .png"),
        (["depth.png"], r"use .*depth_%05d.png"),
        (["%d_%d.png"], "one number pattern"),
        (["name_%05d"], r"and .png after it: use .*name_%05d.png"),
        (["a.mp4", "a.mp4"], "also another output"),
        (["a.mp4", "x/../a.mp4"], "also another output"),
        (["frames", "frames/depth_%05d.png"], "also another output"),
        (["clip.mp4"], "also the input"),
    ],
)
def test_requests_that_make_no_sense(tmp_path, names, says):
    with pytest.raises(UsageError, match=says):
        check_outputs([tmp_path / name for name in names], video=tmp_path / "clip.mp4")


def test_an_unknown_colormap_is_refused(tmp_path):
    with pytest.raises(UsageError, match="viridis"):
        check_outputs([tmp_path / "a.mp4"], look=Look(colormap="viridiss"))


def test_depth_never_goes_into_the_folder_it_is_read_from(tmp_path):
    Image.fromarray(picture(0)).save(tmp_path / "0.png")
    with pytest.raises(UsageError, match="also the input"):
        check_outputs([tmp_path / "depth_%d.png"], video=tmp_path)


@pytest.mark.parametrize("name", ["depth.mp4", "depth.npz", "d_%03d.png"])
def test_existing_results_need_overwrite(tmp_path, name):
    existing = tmp_path / name.replace("%03d", "007")
    existing.write_text("precious")
    with pytest.raises(OutputError, match=f"{existing.name} exists.*`overwrite=True`"):
        check_outputs([tmp_path / name])
    check_outputs([tmp_path / name], overwrite=True)
    assert existing.read_text() == "precious"


def test_a_folder_with_other_things_in_it_is_no_obstacle(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    check_outputs([tmp_path])
    (tmp_path / "depth_00000.png").touch()
    with pytest.raises(OutputError, match="exists"):
        check_outputs([tmp_path])


@pytest.mark.parametrize("name", ["depth.mp4", "folder", "depth_%d.png"])
def test_places_that_cannot_be_written(tmp_path, name):
    with pytest.raises(OutputError, match="There is no folder"):
        check_outputs([tmp_path / "missing" / "deeper" / name])
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(OutputError, match=re.escape(f"{file} is no folder")):
        check_outputs([file / "deeper" / name])
    around = tmp_path / "around"  # a link that leads to itself
    around.symlink_to(around)
    for outputs, state in [([around / name], None), ([around], None), ([tmp_path / name], around)]:
        with pytest.raises(OutputError, match=re.escape(f"{around} is no folder")):
            check_outputs(outputs, state=state)
    sealed = Path("/proc")  # refuses new files whoever asks, the superuser included
    if sealed.is_dir():
        with pytest.raises(OutputError, match="cannot be written"):
            check_outputs([sealed / name])
