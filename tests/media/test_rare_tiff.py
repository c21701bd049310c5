"""TIFF that Pillow cannot read: linear light however it is stored, and big-endian BigTIFF."""

import importlib.util
import struct

import numpy as np
import pytest
import tifffile
from clips import SMALL, picture

from depthcrafter_cli.errors import InputError
from depthcrafter_cli.media.reader import probe, read_frames
from depthcrafter_cli.media.selection import ReadOptions
from depthcrafter_cli.types import Size

STORED = {
    "plain": {},
    "planes": {"planarconfig": "separate"},
    "tiles": {"tile": (16, 32)},
    "tiles of planes": {"tile": (16, 32), "planarconfig": "separate"},
    "strips": {"rowsperstrip": 5, "compression": "zlib"},
    "lzw": {"compression": "lzw"},
    "lzw, floating-point predictor": {"compression": "lzw", "predictor": 3},
    "deflate, floating-point predictor": {"compression": "zlib", "predictor": 3},
    "the same in tiles": {"compression": "zlib", "predictor": 3, "tile": (16, 32)},
    "the same in planes": {"compression": "zlib", "predictor": 3, "planarconfig": "separate"},
    "packbits": {"compression": "packbits"},
}


def linear(rgb):
    """The light that sRGB's levels stand for, IEC 61966-2-1."""
    levels = rgb / 255
    return np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)


def write(path, light, *, big=False, order="<", **stored):
    """Light [H, W, channels] or [H, W]."""
    if stored.get("planarconfig") == "separate":
        light = np.moveaxis(light, -1, 0)
    kind = light.dtype.newbyteorder(order)
    stored = {"photometric": "rgb" if light.ndim == 3 else "minisblack", **stored}
    with tifffile.TiffWriter(path, bigtiff=big, byteorder=order) as file:
        file.write(np.ascontiguousarray(light.astype(kind)), **stored)
    return path


def shown(path, **options):
    (frame,) = read_frames(path, probe(path).size, ReadOptions(**options))
    return frame.rgb


@pytest.mark.parametrize("kind", ["f2", "f4", "f8"])
@pytest.mark.parametrize("stored", STORED)
def test_linear_light_is_read_however_it_is_stored(tmp_path, stored, kind):
    light = linear(picture(3)).astype(kind)
    path = write(tmp_path / "a.tif", light, **STORED[stored])
    assert probe(path).size == SMALL
    assert np.abs(shown(path).astype(int) - picture(3)).max() <= 1
    if "planarconfig" not in STORED[stored]:
        gray = write(tmp_path / "gray.tif", light[..., 0], **STORED[stored])
        expected = np.repeat(picture(3)[..., :1], 3, axis=-1)
        assert np.abs(shown(gray).astype(int) - expected).max() <= 1


def test_a_sequence_is_read_and_may_be_brightened(tmp_path):
    for index in range(4):
        write(tmp_path / f"d.{index:04}.tiff", linear(picture(index)).astype(np.float32) / 4)
    frames = list(read_frames(tmp_path, SMALL, ReadOptions(exposure=2)))
    for index, frame in enumerate(frames):
        assert np.abs(frame.rgb.astype(int) - picture(index)).max() <= 1
    assert len(frames) == 4


def test_what_is_no_colour_and_what_is_no_number_does_not_show(tmp_path):
    light = linear(picture(3)).astype(np.float32)
    with_alpha = np.concatenate([light, np.full_like(light[..., :1], 0.5)], axis=-1)
    assert (
        shown(write(tmp_path / "a.tif", with_alpha)) == shown(write(tmp_path / "b.tif", light))
    ).all()
    light[0, 0], light[0, 1], light[0, 2] = np.nan, np.inf, -3
    first = shown(write(tmp_path / "c.tif", light))[0, :3]
    assert first.tolist() == [[0] * 3, [255] * 3, [0] * 3]


@pytest.mark.parametrize("form", [{"big": True}, {"order": ">"}, {"big": True, "order": ">"}])
def test_both_orders_of_bytes_and_bigtiff_are_read(tmp_path, form):
    path = write(tmp_path / "a.tif", linear(picture(3)).astype(np.float32), **form)
    assert np.abs(shown(path).astype(int) - picture(3)).max() <= 1


def test_0_may_be_white(tmp_path):
    light = linear(picture(3)[..., 0]).astype(np.float32)
    path = write(tmp_path / "a.tif", 1 - light, photometric="miniswhite")
    assert np.abs(shown(path)[..., 0].astype(int) - picture(3)[..., 0]).max() <= 1


@pytest.mark.parametrize(
    ("orientation", "turned"),
    [
        (2, np.fliplr),
        (3, lambda stored: np.rot90(stored, 2)),
        (4, np.flipud),
        (5, lambda stored: stored.transpose(1, 0, 2)),
        (6, lambda stored: np.rot90(stored, -1)),
        (7, lambda stored: np.rot90(stored.transpose(1, 0, 2), 2)),
        (8, np.rot90),
    ],
)
def test_it_is_turned_as_it_says(tmp_path, orientation, turned):
    tag = [(274, "H", 1, orientation, True)]
    path = write(tmp_path / "a.tif", linear(picture(3)).astype(np.float32), extratags=tag)
    expected = turned(picture(3))
    assert probe(path).size == Size(*expected.shape[:2])
    assert np.abs(shown(path).astype(int) - expected).max() <= 1


def test_of_several_pages_the_first_is_read_and_it_is_said(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for index in (3, 4):
            file.write(linear(picture(index)).astype(np.float32), photometric="rgb")
    told = []
    (frame,) = read_frames(tmp_path / "a.tif", SMALL, warn=told.append)
    assert np.abs(frame.rgb.astype(int) - picture(3)).max() <= 1
    assert len(told) == 1 and "holds 2 pictures" in told[0]


def test_a_broken_one_ends_the_result_with_a_warning(tmp_path):
    for index in range(3):
        light = linear(picture(index)).astype(np.float32)
        write(tmp_path / f"{index}.tif", light, compression="zlib")
    broken = tmp_path / "2.tif"
    whole = broken.read_bytes()
    broken.write_bytes(whole[:400] + bytes(len(whole) - 400))
    told = []
    assert len(list(read_frames(tmp_path, SMALL, warn=told.append))) == 2
    assert len(told) == 1 and "2.tif cannot be read as an image" in told[0]
    with pytest.raises(InputError, match="cannot be read as an image"):
        probe(broken)


def test_a_page_beyond_all_files_is_an_error_of_the_input(tmp_path):
    head = struct.pack("<2sHHHQ", b"II", 43, 8, 0, (1 << 64) - 1)
    (tmp_path / "a.tif").write_bytes(head)
    with pytest.raises(InputError, match="cannot be read as an image"):
        probe(tmp_path / "a.tif")


def test_other_colours_and_a_missing_package_are_told(tmp_path, monkeypatch):
    light = linear(picture(3)).astype(np.float32)
    lab = write(tmp_path / "lab.tif", light, photometric="cielab")
    with pytest.raises(InputError, match=r"holds CIELAB as float32, expected RGB"):
        probe(lab)
    own = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: name != "imagecodecs" and own(name)
    )
    with pytest.raises(InputError, match=r'pip install "depthcrafter\[tiff\]"'):
        probe(write(tmp_path / "a.tif", light, compression="zlib"))
    assert np.abs(shown(write(tmp_path / "a.tif", light)).astype(int) - picture(3)).max() <= 1


@pytest.mark.parametrize("stored", STORED)
def test_levels_of_a_big_endian_bigtiff_are_read(tmp_path, stored):
    for kind, most in (("u1", 255), ("u2", 65535)):
        levels = (picture(3) / 255 * most).round().astype(kind)
        stored_so = {key: value for key, value in STORED[stored].items() if key != "predictor"}
        path = write(tmp_path / "a.tif", levels, big=True, order=">", **stored_so)
        assert probe(path).size == SMALL
        assert np.array_equal(shown(path, exposure=1), picture(3))
    odd = write(tmp_path / "odd.tif", picture(3).astype("i4"), big=True, order=">")
    with pytest.raises(InputError, match="type int32, expected 8 or 16 bits"):
        shown(odd)
