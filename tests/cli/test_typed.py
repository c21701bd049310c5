"""What people type and list: paths, rates, sizes and lists as they come from their tools."""

import json
import os
import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from clips import picture
from PIL import Image

from depthcrafter_cli import disk
from depthcrafter_cli.cli.options import output_path
from depthcrafter_cli.depth.colorize import own_matplotlib
from depthcrafter_cli.errors import InputError, UsageError
from depthcrafter_cli.media.resize import model_size, within
from depthcrafter_cli.options import options_of
from depthcrafter_cli.text import expanded, numbered, read_rate, video_path
from depthcrafter_cli.types import Size
from depthcrafter_cli.workflows.request import RunRequest

HOME = "USERPROFILE" if disk.WINDOWS else "HOME"


@pytest.fixture
def small(tiny_folder) -> list[object]:
    """Options for a run of a second: the tiny model, one step, one frame."""
    return ["--weights", tiny_folder, "--steps", "1", "--max-res", "64", "--max-frames", "1"]


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("23.976", Fraction(24000, 1001)),
        ("23.98", Fraction(24000, 1001)),
        ("29.97", Fraction(30000, 1001)),
        ("59.94", Fraction(60000, 1001)),
        ("119.88", Fraction(120000, 1001)),
        ("24", Fraction(24)),
        ("12.5", Fraction(25, 2)),
        ("23.99", Fraction(2399, 100)),
        ("11.988", Fraction(2997, 250)),
        ("24000/1001", Fraction(24000, 1001)),
        ("23976/1000", Fraction(2997, 125)),
    ],
)
def test_rates_of_ntsc_are_meant_exactly(text, rate):
    assert read_rate(text) == rate


def test_amounts_of_memory_with_and_without_a_unit():
    limit = options_of(RunRequest)["max_vram"]
    for text in ("8", "8GB", "8 gb", "8G", "8.0", "8000MB", "8000m", "8GiB"):
        assert limit.value_of(text) == 8
    assert limit.value_of("auto") is None
    for text in ("0", "-8", "8TB", "GB", "inf", "1e3", ""):
        with pytest.raises(UsageError, match="8000MB"):
            limit.value_of(text)


@pytest.mark.parametrize("source", [Size(240, 320), Size(1080, 1920), Size(333, 77), Size(64, 65)])
def test_the_longest_side_is_never_exceeded(source):
    for longest in range(64, 300, 7):
        try:
            size = model_size(source, within(longest))
        except InputError:
            continue
        assert max(size.height, size.width) <= longest


def test_a_changed_shape_and_limit_are_said(cli, clip, tiny_folder, tmp_path):
    wide = cli("run", clip, "--out", tmp_path / "d.mp4", "--weights", tiny_folder, "--steps", 1,
               "--max-res", 100, "--max-frames", 1, "--side-by-side")  # fmt: skip
    assert wide.code == 0
    assert "--max-res 100 allows sides up to 64" in wide.err
    assert "d.mp4 will be 128x64" in wide.err


def test_hashes_and_homes_in_paths(tmp_path, monkeypatch):
    monkeypatch.setenv(HOME, str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert expanded("~/a.mp4") == tmp_path / "a.mp4"
    assert numbered(Path("x.####.png")) == Path("x.%04d.png")
    assert video_path("~/shot.######.tif") == tmp_path / "shot.%06d.tif"
    assert output_path("sh010.v001/").name == "depth_%05d.png"
    assert output_path("frames/") == Path("frames") and output_path("a.mp4") == Path("a.mp4")
    with pytest.raises(UsageError, match="nobody-here"):
        expanded("~nobody-here/a.mp4")
    for odd in ("~nobody-here", "a##b.mp4"):  # names that are there are meant
        (tmp_path / odd).touch()
        assert video_path(odd) == Path(odd)


@pytest.mark.parametrize("address", ["https://youtu.be/x", "rtsp://cam/1", "HTTP://a/b.mp4"])
def test_an_address_is_named_as_one(cli, tmp_path, address):
    done = cli("run", address, "--out", tmp_path / "d.mp4")
    assert done.code == 3 and f"the address {address}" in done.err and "download" in done.err
    listing = tmp_path / "list.txt"
    listing.write_text(f"{address}\n")
    assert "the address" in cli("batch", listing, "--out", tmp_path / "out").err


@pytest.mark.parametrize("name", ["folder", "folder/a.%04d.cr3", "folder/a.####.cr3"])
def test_a_kind_of_image_that_is_not_read_is_named(cli, tmp_path, name):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.0001.cr3").touch()
    done = cli("run", tmp_path / name, "--out", tmp_path / "d.mp4")
    assert done.code == 3 and "such as a.0001.cr3, expected images of the kinds PNG" in done.err


def test_sequences_and_folders_as_compositors_name_them(cli, small, tmp_path):
    for number in (1, 2):
        Image.fromarray(picture(number, Size(64, 64))).save(tmp_path / f"p.{number:04d}.png")
    source, deep = tmp_path / "p.####.png", tmp_path / "new" / "deep"
    outputs = [f"{deep}/sh010_depth.v001/", deep / "x.####.png", deep / "d.npz"]
    asked = [part for out in outputs for part in ("--out", out)]
    done = cli("run", source, *asked, *small, "--sequence-rate", "23.976", "--keep-work")
    assert done.code == 0, done.err
    assert (deep / "sh010_depth.v001" / "depth_00001.png").is_file()
    assert (deep / "x.0001.png").is_file() and np.load(deep / "d.npz")["depth"].shape[0] == 1
    (work,) = deep.rglob("*.work")
    made = cli("finish", work, "--out", tmp_path / "other" / "f.####.png")
    assert made.code == 0 and (tmp_path / "other" / "f.0001.png").is_file(), made.err


@pytest.mark.parametrize("encoding", ["utf-8-sig", "cp1252", "utf-16"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_lists_as_excel_writes_them(cli, clip, small, tmp_path, encoding, delimiter):
    shutil.copy(clip, tmp_path / "Bär.mp4")
    rows = [["video", "name", "side-by-side"], ["Bär.mp4", "grün/a", "yes"]]
    text = "".join(delimiter.join(row) + "\r\n" for row in rows)
    listing = tmp_path / "list.csv"
    listing.write_bytes(text.encode(encoding))
    done = cli("batch", listing, "--out", tmp_path / "out", *small, "--dry-run", "--json")
    summary = json.loads(done.out.splitlines()[-1])
    assert done.code == 0, done
    assert summary["videos"][0]["outputs"] == [str(tmp_path / "out" / "grün" / "a.mp4")]


def test_paths_of_a_list_begin_at_home(cli, clip, small, tmp_path, monkeypatch):
    monkeypatch.setenv(HOME, str(tmp_path))
    listing = tmp_path / "list.csv"
    listing.write_text("source\n~/clip.mp4\n")
    assert cli("batch", "~/list.csv", "--out", "~/out", *small, "--dry-run").code == 0
    listing.write_text("source\n~nobody-here/clip.mp4\n")
    refused = cli("batch", listing, "--out", tmp_path / "out", *small)
    # On Windows any name is taken for a user's.
    assert refused.code == (3 if disk.WINDOWS else 2) and "list.csv, line 2" in refused.err


def test_the_colormaps_are_those_of_matplotlib_itself():
    import matplotlib

    assert own_matplotlib() is matplotlib


@pytest.mark.parametrize("option", ["--out", "--work-dir", "--log"])
def test_an_option_is_no_path_that_was_forgotten(cli, clip, options, tmp_path, monkeypatch, option):
    monkeypatch.chdir(tmp_path)
    refused = cli("run", clip, "--out", "d.npz", *options, option, "--overwrite")
    assert refused.code == 2 and f"{option} --overwrite" in refused.err, refused.err
    assert len(refused.err.splitlines()) == 1 and os.listdir() == [clip.name]  # noqa: PTH208


@pytest.mark.parametrize("empty", ["source", "output"])
def test_an_empty_path_is_not_the_folder_one_is_in(
    cli, clip, options, tmp_path, monkeypatch, empty
):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (64, 64)).save("a.png")
    source, out = ("", "d.npz") if empty == "source" else (clip, "")
    refused = cli("run", source, "--out", out, *options)
    assert refused.code == 2 and "empty path" in refused.err, refused.err
    assert sorted(os.listdir()) == ["a.png", clip.name]  # noqa: PTH208
