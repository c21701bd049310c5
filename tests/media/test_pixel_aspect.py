"""Pixels that are not square: results lie on the plate, and say how wide its pixels are."""

import json
from fractions import Fraction

import av
import numpy as np
import OpenEXR
import pytest
from clips import ffmpeg, make_clip
from PIL import Image

from depthcrafter_cli import infer
from depthcrafter_cli.media.reader import probe, read_frames
from depthcrafter_cli.types import Anamorphic, Size

STORED, SHOWN = Size(64, 64), Size(64, 128)
QUICK = ("--method", "trivial-gradient", "--overwrite")


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """Stored as 64x64, shown as 128x64."""
    path = tmp_path_factory.mktemp("wide") / "wide.mp4"
    return make_clip(path, frames=3, size=STORED, aspect=Fraction(2))


def shape_of(path):
    """Size and pixel aspect, None where it is not told."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        aspect = stream.sample_aspect_ratio
        return Size(stream.height, stream.width), Fraction(aspect) if aspect else None


def test_a_video_tells_how_it_is_stored_and_how_it_is_shown(wide, tmp_path):
    assert probe(wide).size == SHOWN
    assert probe(wide).anamorphic == Anamorphic(STORED, Fraction(2))
    turned = tmp_path / "turned.mp4"
    ffmpeg("-display_rotation", 90, "-i", wide, "-c", "copy", turned)
    assert probe(turned).size == Size(128, 64)
    assert probe(turned).anamorphic == Anamorphic(STORED, Fraction(1, 2))
    assert probe(make_clip(tmp_path / "square.mp4")).anamorphic is None


@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "h264"), (".mkv", "ffv1")])
def test_a_result_has_the_size_and_the_pixels_of_its_plate(cli, tmp_path, wide, suffix, codec):
    out, square = tmp_path / f"d{suffix}", tmp_path / f"s{suffix}"
    told = [*QUICK, "--codec", codec]
    done = cli("run", wide, "--out", out, "--keep-work", *told)
    assert done.code == 0, done.err
    assert "64x64, pixels 2:1" in done.err
    assert shape_of(out) == (STORED, Fraction(2))
    made = json.loads((tmp_path / f"{out.name}.json").read_text())
    assert (made["source_size"], made["output_size"], made["model_size"]) == (
        "128x64", "64x64", "128x64"
    )  # fmt: skip
    again = cli("finish", tmp_path / f"{out.name}.work", "--out", square, "--square")
    assert again.code == 0, again.err
    assert shape_of(square) in ((SHOWN, None), (SHOWN, Fraction(1)))


def test_images_for_compositors_have_the_size_of_the_plate(cli, tmp_path, wide):
    outputs = [tmp_path / name for name in ("png/d.%02d.png", "exr/d.%02d.exr", "d.npz")]
    told = [part for out in outputs for part in ("--out", out)]
    done = cli("run", wide, *told, *QUICK)
    assert done.code == 0, done.err
    with Image.open(tmp_path / "png" / "d.00.png") as image:
        assert image.size == (64, 64)
    with OpenEXR.File(str(tmp_path / "exr" / "d.00.exr")) as image:
        assert image.header()["pixelAspectRatio"] == 2
    with np.load(tmp_path / "d.npz") as made:
        assert made["depth"].shape == (3, 64, 64)
    depth, _times = infer(wide, method="trivial-gradient")
    assert depth.shape == (3, 64, 64)


@pytest.mark.parametrize(("options", "expected"), [([], (64, 64)), (["--square"], (128, 64))])
def test_pictures_beside_depth_have_its_size(cli, tmp_path, wide, options, expected):
    out = tmp_path / "iw3"
    done = cli("run", wide, "--out", out, "--for", "iw3", *QUICK, *options)
    assert done.code == 0, done.err
    for folder in ("rgb", "depth"):
        with Image.open(min((out / "wide" / folder).iterdir())) as image:
            assert image.size == expected, folder


@pytest.mark.parametrize("square", [[], ["--square"]])
def test_pictures_for_people_are_as_the_video_is_shown(cli, tmp_path, wide, square):
    out, page = tmp_path / "d.npz", tmp_path / "d.html"
    both = tmp_path / "both.webp"
    done = cli("run", wide, "--out", out, "--preview", "--keep-work", *QUICK, *square)
    assert done.code == 0, done.err
    done = cli("finish", f"{out}.work", "--out", both, "--side-by-side", *square)
    assert done.code == 0, done.err
    cells = (3 * (128 + 4) + 4, 2 * 64 + 2 * 4)
    for name, size in ("d.npz.preview.gif", (128, 64)), ("d.npz.sheet.jpg", cells):
        with Image.open(tmp_path / name) as image:
            assert image.size == size
    with Image.open(both) as image:
        assert image.size == (256, 64)
    for result in out, f"{out}.work":
        done = cli("report", result, "--out", page, "--overwrite")
        assert done.code == 0 and '"width":128,"height":64' in page.read_text(), done.err
    with np.load(out) as made:
        assert made["depth"].shape == (3, 64, 128 if square else 64)


def test_a_size_that_is_asked_for_has_square_pixels(cli, tmp_path, wide):
    for size, expected in ("model", Size(64, 128)), ("96x48", Size(48, 96)):
        out = tmp_path / "d.mp4"
        done = cli("run", wide, "--out", out, *QUICK, "--size", size)
        assert done.code == 0, done.err
        assert shape_of(out) in ((expected, None), (expected, Fraction(1)))


def test_odd_sides_are_announced_as_they_are_written(cli, tmp_path):
    source = make_clip(
        tmp_path / "odd.mp4",
        frames=2,
        size=Size(65, 71),
        aspect=Fraction(71, 70),
        pix_fmt="yuv444p",
    )
    out = tmp_path / "d.mp4"
    done = cli("run", source, "--out", out, *QUICK)
    assert done.code == 0, done.err
    assert "d.mp4 will be 72x66" in " ".join(done.err.split())
    assert shape_of(out) == (Size(66, 72), Fraction(71, 70))


@pytest.mark.parametrize("suffix", ["dpx", "exr"])
def test_plates_of_images_tell_their_pixel_aspect(tmp_path, suffix):
    path = tmp_path / f"p.0001.{suffix}"
    if suffix == "dpx":
        ffmpeg("-f", "lavfi", "-i", "color=size=64x48", "-vf", "setsar=2", "-frames:v", 1, path)
    else:
        with OpenEXR.File({"pixelAspectRatio": 2.0}, {"RGB": np.zeros((48, 64, 3), "f4")}) as image:
            image.write(str(path))
    info = probe(tmp_path / f"p.%04d.{suffix}")
    assert (info.size, info.anamorphic) == (Size(48, 128), Anamorphic(Size(48, 64), Fraction(2)))
    (frame,) = read_frames(tmp_path, info.size)
    assert frame.rgb.shape == (48, 128, 3)
