"""Folders of images, numbered patterns and single pictures as videos."""

import struct
import zlib
from fractions import Fraction

import numpy as np
import pytest
from clips import SMALL, index_of, picture
from PIL import Image

from depthcrafter_cli.errors import InputError
from depthcrafter_cli.media.reader import count_frames, probe, read_frames
from depthcrafter_cli.media.selection import ReadOptions
from depthcrafter_cli.types import Size


@pytest.fixture
def folder(tmp_path):
    for index in range(12):
        Image.fromarray(picture(index)).save(tmp_path / f"shot_{index}.png")
    (tmp_path / "notes.txt").write_text("not an image")
    return tmp_path


def test_a_folder_is_read_in_the_order_of_its_numbers(folder):
    info = probe(folder)
    assert (info.size, info.rate, info.frame_count) == (SMALL, 24, 12)
    frames = list(read_frames(folder, SMALL))
    for index, frame in enumerate(frames):  # shot_2 before shot_10, and nothing lost on the way
        np.testing.assert_array_equal(frame.rgb, picture(index))
        assert frame.time == Fraction(index, 24)


def test_a_pattern_takes_only_its_own_files(folder):
    Image.fromarray(picture(30)).save(folder / "other_1.png")
    assert count_frames(folder / "shot_%d.png") == 12
    assert count_frames(folder) == 13


def test_options_apply_as_to_a_video(folder):
    options = ReadOptions(sequence_rate=Fraction(10), start=Fraction(3, 10), fps=Fraction(5))
    assert probe(folder, options).rate == 10
    frames = list(read_frames(folder, SMALL, options))
    assert [index_of(frame.rgb) for frame in frames] == [3, 5, 7, 9, 11]
    assert [frame.time for frame in frames] == [Fraction(k, 5) for k in range(5)]


def test_one_picture_is_a_video_of_one_frame(folder):
    (frame,) = read_frames(folder / "shot_7.png", Size(64, 64))
    assert frame.rgb.shape == (64, 64, 3) and index_of(frame.rgb) == 7


def test_sixteen_bit_and_palette_images_become_rgb(tmp_path):
    levels = np.full((48, 64), 40000, dtype=np.uint16)
    Image.fromarray(levels).save(tmp_path / "0.png")
    Image.fromarray(picture(5)).quantize(64).save(tmp_path / "1.png")
    deep, palette = (frame.rgb for frame in read_frames(tmp_path, SMALL))
    assert (deep == round(40000 / 257)).all()
    assert index_of(palette) == 5


# By EXIF 2.3, section 4.6.4: where the stored first row and first column are shown.
SHOWN = {
    1: lambda stored: stored,
    2: np.fliplr,
    3: lambda stored: np.rot90(stored, 2),
    4: np.flipud,
    5: lambda stored: stored.transpose(1, 0, 2),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.rot90(stored.transpose(1, 0, 2), 2),
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", SHOWN)
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
def test_every_exif_orientation_is_applied(tmp_path, suffix, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    quality = {".jpg": {"quality": 98}, ".webp": {"lossless": True}}.get(suffix, {})
    stored = picture(3, Size(37, 64))
    Image.fromarray(stored).save(tmp_path / f"turned{suffix}", exif=exif, **quality)
    expected = SHOWN[orientation](stored)
    size = Size(*expected.shape[:2])
    assert probe(tmp_path).size == size
    (frame,) = read_frames(tmp_path, size)
    assert np.abs(frame.rgb.astype(int) - expected).max() <= (2 if suffix == ".jpg" else 0)


def test_images_are_compared_as_they_are_shown(tmp_path):
    for number, (size, turn) in enumerate([((96, 64), 1), ((64, 96), 6)]):
        exif = Image.Exif()
        exif[0x0112] = turn
        Image.new("RGB", size).save(tmp_path / f"{number}.jpg", exif=exif)
    assert probe(tmp_path).size == Size(64, 96)
    assert len(list(read_frames(tmp_path, SMALL))) == 2
    Image.new("RGB", (64, 96)).save(tmp_path / "2.jpg")
    with pytest.raises(InputError, match="one size"):
        probe(tmp_path)


@pytest.mark.parametrize(
    "values", [np.linspace(0, 1, 4096, dtype=np.float32), np.arange(4096, dtype=np.int32) * 1000]
)
def test_numbers_that_no_picture_has_are_refused(tmp_path, values):
    Image.fromarray(values.reshape(64, 64)).save(tmp_path / "a.tif")
    with pytest.raises(InputError, match="8 or 16 bits"):
        probe(tmp_path / "a.tif")


def test_images_of_two_sizes_are_refused(folder):
    Image.fromarray(picture(0, Size(20, 30))).save(folder / "shot_12.png")
    with pytest.raises(InputError, match=r"shot_12.png is 30x20, expected 64x48"):
        probe(folder)


@pytest.mark.parametrize("damage", [lambda data: data[:100], lambda data: data[:60] + bytes(50)])
def test_a_broken_image_ends_the_result_with_a_warning(folder, damage):
    broken = folder / "shot_8.png"
    broken.write_bytes(damage(broken.read_bytes()))
    sentences = []
    assert len(list(read_frames(folder, SMALL, warn=sentences.append))) == 8
    assert len(sentences) == 1 and "shot_8.png" in sentences[0]


def test_an_image_of_absurd_size_is_refused_from_its_header(tmp_path):
    path = tmp_path / "a.png"
    Image.new("L", (8, 8)).save(path)
    data = bytearray(path.read_bytes())
    data[16:24] = struct.pack(">II", 13000, 13000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    path.write_bytes(data)
    with pytest.raises(InputError, match="million pixels"):
        probe(path)


def test_files_that_other_programs_hide_in_a_folder_are_no_frames(folder):
    (folder / "._shot_0.png").write_bytes(b"what macOS leaves on foreign disks")
    assert count_frames(folder) == 12
