"""Sequences as film scanners and renderers write them: DPX, TGA, JPEG 2000 and OpenEXR."""

import sys
from pathlib import Path

import numpy as np
import OpenEXR
import pytest
from clips import SMALL, ffmpeg, index_of, picture

from depthcrafter_cli.errors import InputError
from depthcrafter_cli.media.reader import probe, read_frames
from depthcrafter_cli.media.selection import ReadOptions
from depthcrafter_cli.types import Size

CLIP = Path(__file__).parents[1] / "data" / "parity" / "video" / "clip_a.mp4"


def linear(rgb):
    """What a display shows as these levels, as light: the inverse of sRGB's curve."""
    levels = rgb.astype(np.float64) / 255
    return np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)


def write_exr(path, pixels, *, storage=OpenEXR.scanlineimage, **header):
    settings = {"type": storage, "compression": OpenEXR.ZIP_COMPRESSION, **header}
    if storage == OpenEXR.tiledimage:
        settings["tiles"] = OpenEXR.TileDescription()
    channels = pixels if isinstance(pixels, dict) else {"RGB": pixels}
    with OpenEXR.File(settings, channels) as image:
        image.write(str(path))
    return path


def error(path, options=None, size=SMALL):
    frames = list(read_frames(path, size, options or ReadOptions()))
    return max(np.abs(frame.rgb.astype(int) - picture(frame.index, size)).max() for frame in frames)


@pytest.mark.parametrize("suffix", ["dpx", "tga", "jp2"])
def test_a_sequence_of_plates_is_read_as_ffmpeg_reads_them(tmp_path, suffix):
    from PIL import Image

    for index in range(4):
        Image.fromarray(picture(index, SMALL)).save(tmp_path / f"{index}.png")
    ffmpeg("-i", tmp_path / "%d.png", "-start_number", "1001", tmp_path / f"p.%04d.{suffix}")
    for index in range(4):
        (tmp_path / f"{index}.png").unlink()
    for path in (tmp_path / f"p.%04d.{suffix}", tmp_path / f"p.####.{suffix}", tmp_path):
        info = probe(path)
        assert (info.size, info.frame_count) == (SMALL, 4)
        frames = list(read_frames(path, SMALL))
        assert [index_of(frame.rgb) for frame in frames] == [0, 1, 2, 3]


@pytest.mark.parametrize("transfer", [1, 2, 3])
def test_film_that_is_scanned_is_read_as_it_is_stored_and_it_is_told(tmp_path, transfer):
    plate, told = tmp_path / "p.1001.dpx", []
    ffmpeg("-i", CLIP, "-frames:v", "1", "-pix_fmt", "gbrp10be", plate)
    data = bytearray(plate.read_bytes())
    data[801] = transfer  # SMPTE 268M: printing density, linear, logarithmic
    plate.write_bytes(data)
    assert len(list(read_frames(tmp_path, SMALL, warn=told.append))) == 1
    assert ["logarithmic" in each for each in told] == [True] * (transfer != 2)


@pytest.mark.parametrize("half", [True, False], ids=["half", "float"])
@pytest.mark.parametrize(
    "storage", [OpenEXR.scanlineimage, OpenEXR.tiledimage], ids=["lines", "tiles"]
)
def test_linear_light_is_shown_by_the_curve_of_srgb(tmp_path, storage, half):
    kind = np.float16 if half else np.float32
    for index in range(3):
        write_exr(
            tmp_path / f"e.{index:04}.exr",
            linear(picture(index, SMALL)).astype(kind),
            storage=storage,
        )
    assert error(tmp_path / "e.%04d.exr") <= 1
    darker = tmp_path / "darker"
    darker.mkdir()
    for index in range(3):
        write_exr(
            darker / f"e.{index:04}.exr", (linear(picture(index, SMALL)) / 4).astype(np.float32)
        )
    assert error(darker, ReadOptions(exposure=2.0)) <= 1
    assert error(darker) > 20


def test_only_what_is_shown_of_an_image_is_read_black_where_nothing_is_stored(tmp_path):
    """The data window of a renderer may be smaller or larger than the picture."""
    corners = {
        "displayWindow": (np.array([0, 0], np.int32), np.array([29, 19], np.int32)),
        "dataWindow": (np.array([20, -4], np.int32), np.array([39, 5], np.int32)),
    }
    path = write_exr(tmp_path / "a.exr", np.ones((10, 20, 3), np.float16), **corners)
    (frame,) = read_frames(path, Size(20, 30))
    expected = np.zeros((20, 30, 3))
    expected[:6, 20:] = 255
    assert probe(path).size == Size(20, 30)
    assert np.array_equal(frame.rgb, expected)


def test_colours_are_found_among_parts_and_layers(tmp_path):
    light = linear(picture(2, SMALL)).astype(np.float32)
    flat = np.zeros(light.shape[:2], np.float32)
    line = {"type": OpenEXR.scanlineimage, "compression": OpenEXR.ZIP_COMPRESSION}
    parts = [
        OpenEXR.Part({**line}, {"Z": flat}, "depth"),
        OpenEXR.Part({**line}, {"RGB": light}, "rgba"),
    ]
    (tmp_path / "parts").mkdir()
    with OpenEXR.File(parts) as image:
        image.write(str(tmp_path / "parts" / "a.exr"))
    blender = {
        **{f"ViewLayer.Combined.{name}": light[..., at].copy() for at, name in enumerate("RGB")},
        **{f"ViewLayer.Albedo.{name}": flat for name in "RGB"},
        "ViewLayer.Depth.Z": flat,
    }
    write_exr(tmp_path / "b.exr", blender)
    write_exr(tmp_path / "gray.exr", {"Y": np.full(flat.shape, 0.5, np.float32)})
    for path in (tmp_path / "parts" / "a.exr", tmp_path / "b.exr"):
        (frame,) = read_frames(path, SMALL)
        assert np.abs(frame.rgb.astype(int) - picture(2, SMALL)).max() <= 1
    (frame,) = read_frames(tmp_path / "gray.exr", SMALL)
    assert set(np.unique(frame.rgb)) == {188}  # 1.055 * 0.5 ** (1 / 2.4) - 0.055


def test_whole_numbers_are_taken_for_no_light(tmp_path):
    """They name objects."""
    ids = np.arange(48 * 64, dtype=np.uint32).reshape(48, 64)
    light = linear(picture(2, SMALL)).astype(np.float32)
    colours = {name: light[..., at].copy() for at, name in enumerate("RGB")}
    write_exr(tmp_path / "a.exr", {"Y": ids, **{f"beauty.{k}": v for k, v in colours.items()}})
    (frame,) = read_frames(tmp_path / "a.exr", SMALL)
    assert index_of(frame.rgb) == 2
    write_exr(tmp_path / "b.exr", dict.fromkeys("RGB", ids))
    with pytest.raises(InputError, match=r"whole numbers in its channel R \(UINT"):
        probe(tmp_path / "b.exr")


def test_light_beyond_white_and_what_is_no_number_do_no_harm(tmp_path):
    light = np.zeros((64, 64, 3), np.float32)
    light[:16], light[16:32], light[32:48] = np.inf, np.nan, -5
    (frame,) = read_frames(write_exr(tmp_path / "a.exr", light), Size(64, 64))
    assert frame.rgb[:16].min() == 255 and frame.rgb[16:].max() == 0


@pytest.mark.parametrize("left", [0, 4, 200, 900])
def test_a_broken_image_is_one_sentence(tmp_path, left):
    path = write_exr(tmp_path / "a.exr", linear(picture(0, SMALL)).astype(np.float32))
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(InputError, match="cannot be read as an image"):
        list(read_frames(path, SMALL))


def test_an_image_without_colours_says_what_is_expected(tmp_path):
    path = write_exr(tmp_path / "a.exr", {"Z": np.ones((8, 8), np.float32)})
    with pytest.raises(InputError, match="R, G and B, or Y"):
        probe(path)


def test_without_the_package_it_is_named_with_its_command(tmp_path, monkeypatch):
    path = write_exr(tmp_path / "a.exr", linear(picture(0, SMALL)).astype(np.float32))
    monkeypatch.setitem(sys.modules, "OpenEXR", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"depthcrafter\[exr\]"):
        probe(path)


def test_what_a_run_writes_as_exr_can_be_read_again(tmp_path, cli):
    """Colours are asked for, and a depth pass has none: it says so rather than read depth."""
    done = cli("run", CLIP, "--out",
               tmp_path / "d.%04d.exr", "--max-frames", 2, "--quiet", "--weights",
               CLIP.parents[1] / "tiny_model")  # fmt: skip
    assert done.code == 0, done.err
    with pytest.raises(InputError, match="holds no colours"):
        probe(tmp_path / "d.%04d.exr")
