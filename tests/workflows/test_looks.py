"""Options of how results look: which decide on which output, and what is told of the others."""

import json
import zipfile
from fractions import Fraction
from pathlib import Path

import pytest
from clips import make_clip
from PIL import Image

from depthcrafter_cli import workflows
from depthcrafter_cli.media.formats import FORMATS, NUMBERED
from depthcrafter_cli.media.look import Look
from depthcrafter_cli.media.sinks.registry import options_read
from depthcrafter_cli.options import options_of
from depthcrafter_cli.types import Size

OUTPUTS = [
    "d.mp4", "d.mov", "d.mkv", "d.npz", "d.npy", "d.zarr.zip", "d.gif", "d.webp", "d.jpg", "d.m4a",
    "folder", "png/d_%d.png", "tif/d_%d.tif", "tiff/d_%d.tiff", "exr/d_%d.exr", "rgb/d_%d.jpg",
    "ply/d_%d.ply",
]  # fmt: skip
OTHER_LOOK = {
    "size": "96x64", "square": True, "normalization": "fixed 0 3", "range_of": "film",
    "start_number": "7", "upsample": "edges", "audio": "none", "colormap": "magma",
    "side_by_side": True, "overlay": True, "crf": 40, "codec": "h264-444", "pix_fmt": "yuv444p",
    "encoder_option": "g=1", "invert": True, "exr_half": True, "exr_channel": "Y",
    "exr_normalized": True, "fov": 50, "ply_frames": "1",
}  # fmt: skip


@pytest.fixture(scope="module")
def kept(tmp_path_factory, tiny_folder):
    """The folder of a run of two shots with sound, whose pixels are stored half as wide."""
    folder = tmp_path_factory.mktemp("kept")
    size = Size(192, 192)
    film = make_clip(folder / "film.mp4", frames=4, size=size, aspect=Fraction(2), audio=True)
    (folder / "cuts.txt").write_text("2\n")
    asked = workflows.RunRequest(
        film, (folder / "d.npy",), weights=str(tiny_folder), max_res=128, keep_work=True,
        settings={"steps": 1, "window": 6, "overlap": 2}, cuts=str(folder / "cuts.txt"),
    )  # fmt: skip
    workflows.run(asked)
    return folder / "d.npy.work"


@pytest.fixture(scope="module")
def metric(tmp_path_factory):
    """What makes metres of the two shots."""
    path = tmp_path_factory.mktemp("metric") / "fit.json"
    shots = [{"a": 1.0, "b": 0.5, "first_frame": first} for first in (0, 2)]
    path.write_text(json.dumps({"shots": shots}))
    return path


def written(kept, out, **look):
    """What an output holds, by the names of its files; of an archive without its dates.

    Of TIFFs these are pixels and tags: libtiff in old versions of Pillow leaves bytes between them
    that differ each time.
    """
    workflows.finish(kept, [out], record=False, **look)
    if out.suffix == ".zip":
        return {each.filename: each.CRC for each in zipfile.ZipFile(out).infolist()}
    files = [out] if out.is_file() else (out if out.is_dir() else out.parent).iterdir()
    if out.suffix in (".tif", ".tiff"):
        return {file.name: pixels_and_tags(file) for file in files}
    return {file.name: file.read_bytes() for file in files}


def pixels_and_tags(path):
    with Image.open(path) as picture:
        return picture.tobytes(), dict(picture.tag_v2)


@pytest.mark.parametrize("name", OUTPUTS)
def test_what_an_output_is_said_not_to_read_changes_nothing_in_it(kept, metric, tmp_path, name):
    if name.endswith(".zip"):
        pytest.importorskip("zarr", minversion="3")
    needed = {"metric": metric, "fov": 60} if name.endswith(".ply") else {}
    read = options_read([tmp_path / name], Look())
    others = {each: value for each, value in {**OTHER_LOOK, "metric": metric}.items()
              if each not in read}  # fmt: skip
    before = written(kept, tmp_path / "before" / name, **needed)
    assert before and written(kept, tmp_path / "after" / name, **{**needed, **others}) == before


def test_all_outputs_and_all_options_are_tried():
    suffixes = {Path(name).suffix for name in OUTPUTS}
    assert suffixes == {*FORMATS} and {*NUMBERED} == {".jpg"}
    known = options_of(workflows.RunRequest).values()
    assert {*OTHER_LOOK, "metric"} == {o.name for o in known if o.part in ("look", "metric")}


def test_an_option_that_no_output_reads_is_told(cli, clip, tmp_path):
    quick = ("--method", "trivial-gradient", "--exr-half", "--crf", "20")
    out, work = tmp_path / "d.npz", tmp_path / "d.npz.work"
    done = cli("run", clip, "--out", out, *quick, "--keep-work")
    for option in ("--exr-half", "--crf"):
        told = f"warning: {option} changes nothing in d.npz: no output reads it."
        assert done.code == 0 and told in done.err
    done = cli("finish", work, "--out", tmp_path / "e.mp4", *quick[2:], "--colormap", "inferno")
    assert done.err.count("changes nothing") == 1 and "--exr-half changes" in done.err
    both = ("--out", tmp_path / "f.mp4", "--out", tmp_path / "exr" / "f_%d.exr")
    done = cli("finish", work, *both, *quick[2:])
    assert done.code == 0 and "changes nothing" not in done.err
    done = cli("finish", work, "--out", tmp_path / "g.npz", "--preview", "--colormap", "magma")
    assert done.code == 0 and "changes nothing" not in done.err
    matte = ("--colormap", "gray", "--codec", "ffv1")
    done = cli("finish", work, "--out", tmp_path / "h.mkv", *matte)
    assert "--colormap changes nothing in h.mkv" in done.err and "--codec changes" not in done.err


def test_a_batch_tells_it_once(cli, clip, tmp_path):
    listed = tmp_path / "list.csv"
    listed.write_text("video,name,crf\nclip.mp4,a,20\nclip.mp4,b,30\nclip.mp4,c,\n")
    asked = ("--out", tmp_path / "out", "--format", "npz", "--method", "trivial-gradient")
    done = cli("batch", listed, *asked, "--dry-run")
    assert done.code == 0 and done.err.count("--crf changes nothing in a.npz") == 1, done.err
    done = cli("batch", listed, *asked, "--format", "mp4", "--dry-run")
    assert done.code == 0 and "changes nothing" not in done.err
