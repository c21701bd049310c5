"""Folders of images, numbered patterns and single pictures as videos."""

import json
from fractions import Fraction
from hashlib import sha256

import av
import numpy as np
import pytest
import tifffile
from clips import SMALL, index_of, make_absurd_png, picture
from PIL import Image, TiffImagePlugin, features

from depthcrafter_cli.errors import InputError
from depthcrafter_cli.media.identity import identity
from depthcrafter_cli.media.reader import count_frames, frame_numbers, probe, read_frames
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
    with pytest.raises(InputError, match=r"other_1.png\), expected one sequence.*shot_%d.png"):
        count_frames(folder)


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


@pytest.mark.parametrize("orientation", [1, 6, 8])
def test_a_film_in_a_picture_may_say_how_it_is_turned(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    film(tmp_path / "a.png", exif=exif, duration=40)
    is_told = av.library_versions["libavcodec"] >= (62, 28)  # FFmpeg 8.0 does not look at it
    upright = np.rot90(picture(0), {1: 0, 6: -1, 8: 1}[orientation] * is_told)
    info = probe(tmp_path / "a.png")
    assert info.size == Size(*upright.shape[:2]) and info.frame_count in (None, 5)
    first = next(iter(read_frames(tmp_path / "a.png", info.size)))
    assert np.abs(first.rgb.astype(int) - upright).max() <= 1


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_channels_of_a_tiff_may_be_stored_apart(tmp_path, compression):
    planes = np.moveaxis(picture(3), -1, 0).astype(np.uint16) * 257
    apart = {"photometric": "rgb", "planarconfig": "separate", "compression": compression}
    tifffile.imwrite(tmp_path / "a.tif", planes, **apart)
    (frame,) = read_frames(tmp_path / "a.tif", SMALL)
    assert np.abs(frame.rgb.astype(int) - picture(3)).max() <= 1
    with tifffile.TiffWriter(tmp_path / "pages.tif") as file:
        for _ in range(2):
            file.write(planes, **apart)
    if compression is None:
        with pytest.raises(InputError, match="channels are stored apart"):
            probe(tmp_path / "pages.tif")


@pytest.mark.parametrize("kind", ["u1", "u2"])
def test_a_tiff_may_say_that_0_is_white(tmp_path, kind):
    most = np.iinfo(kind).max
    gray = most - picture(3)[..., 0].astype(kind) * (most // 255)
    tifffile.imwrite(tmp_path / "a.tif", gray, photometric="miniswhite")
    (frame,) = read_frames(tmp_path / "a.tif", SMALL)
    assert (frame.rgb == picture(3)).all()


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


def test_numbers_that_no_picture_has_are_refused(tmp_path):
    values = np.arange(4096, dtype=np.int32) * 1000
    Image.fromarray(values.reshape(64, 64)).save(tmp_path / "a.tif")
    with pytest.raises(InputError, match="8 or 16 bits"):
        probe(tmp_path / "a.tif")


def test_a_tiff_of_a_kind_that_is_not_read_is_called_so(tmp_path):
    colours = picture(3).astype(np.uint32) << 24
    tifffile.imwrite(tmp_path / "a.tif", colours, photometric="rgb")
    with pytest.raises(InputError, match=r"of a rare kind.*expected 8 or 16 bits a channel"):
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
    path = make_absurd_png(tmp_path / "a.png")
    with pytest.raises(InputError, match="million pixels"):
        probe(path)


def test_files_that_other_programs_hide_in_a_folder_are_no_frames(folder):
    (folder / "._shot_0.png").write_bytes(b"what macOS leaves on foreign disks")
    assert count_frames(folder) == 12


def numbered(folder, numbers, name="shot.{:04d}.png"):
    folder.mkdir(exist_ok=True)
    for number in numbers:
        Image.fromarray(picture(number % 40)).save(folder / name.format(number))
    return folder


@pytest.mark.parametrize(
    ("numbers", "missing"),
    [
        ([1001, 1002, 1005, 1006], "1003-1004"),
        ([1, 2, 4, 5, 9], "3, 6-8"),
        ([1001, 1003, 1006], "1002, 1004-1005"),
        ([8, 10, 12, 16], "14"),  # every second one
        ([0, 1, 2, 3, 1000], "4-999"),
    ],
)
@pytest.mark.parametrize("pattern", ["", "shot.%04d.png", "shot.####.png", "shot.*.png"])
def test_a_gap_in_the_numbers_is_named(tmp_path, numbers, missing, pattern):
    folder = numbered(tmp_path / "in", numbers)
    for operation in (probe, count_frames, lambda path: read_frames(path, SMALL)):
        with pytest.raises(InputError, match=rf"lacks {missing} of .*`gaps=\"hold\"`"):
            operation(folder / pattern)


def test_gaps_are_held_or_closed_where_that_is_asked(tmp_path):
    folder = numbered(tmp_path / "in", [11, 12, 15])
    for gaps, shown, numbers in (
        ("hold", [11, 12, 12, 12, 15], [11, 12, 13, 14, 15]),
        ("close", [11, 12, 15], [11, 12, 15]),
    ):
        options = ReadOptions(gaps=gaps)
        frames = list(read_frames(folder, SMALL, options))
        assert [index_of(frame.rgb) for frame in frames] == shown
        assert [frame.time for frame in frames] == [Fraction(k, 24) for k in range(len(shown))]
        assert probe(folder, options).frame_count == count_frames(folder, options) == len(shown)
        assert frame_numbers(folder, options) == numbers


@pytest.mark.parametrize(
    "names",
    [
        [f"{time}.png" for time in (1403636579763555584, 1403636579813555456, 1403636579863555584)],
        [f"{time:04d}.png" for time in (0, 33, 67, 100, 133)],  # milliseconds
        [f"{time}.png" for time in ("1305031102.975304", "1305031103.011214", "1305031103.043211")],
        [f"{number}.png" for number in (5, 10, 15, 20)],
        ["b.png", "a.png", "c.png"],
        ["IMG_2001.png", "a.png", "b.png", "c.png"],
    ],
)
def test_names_that_do_not_count_frames_have_no_gaps(tmp_path, names):
    for index, name in enumerate(sorted(names)):
        Image.fromarray(picture(index)).save(tmp_path / name)
    frames = list(read_frames(tmp_path, SMALL))
    assert sorted(index_of(frame.rgb) for frame in frames) == list(range(len(names)))


@pytest.mark.parametrize("stranger", ["thumb.png", "poster_1.jpg", "shot.0001.tif", "shot.1.png"])
def test_a_stranger_in_a_sequence_is_refused_by_its_name(tmp_path, stranger):
    folder = numbered(tmp_path / "in", range(1, 4))
    Image.fromarray(picture(30)).save(folder / stranger)
    with pytest.raises(InputError, match=stranger):
        probe(folder)
    if not stranger.endswith("1.png"):
        assert count_frames(folder / "shot.%04d.png") == 3


def test_of_two_sequences_in_a_folder_one_has_to_be_named(tmp_path):
    for name, count in (("left_{}.png", 3), ("right.{}.png", 9)):
        numbered(tmp_path / "in", range(count), name)
    says = r"2 sequences, right.%01d.png \(9 images\), left_%01d.png \(3 .*[/\\]right.%01d.png or "
    with pytest.raises(InputError, match=says):
        probe(tmp_path / "in")
    assert count_frames(tmp_path / "in" / "left_%d.png") == 3


def test_pictures_of_many_kinds_are_read_by_name_and_it_is_said(tmp_path):
    names = ["IMG_1.png", "IMG_2.png", *(f"{name}.png" for name in "abc")]
    for index, name in enumerate(names):
        Image.fromarray(picture(index)).save(tmp_path / name)
    told = []
    frames = read_frames(tmp_path, SMALL, warn=told.append)
    assert [index_of(frame.rgb) for frame in frames] == [0, 1, 2, 3, 4]
    assert len(told) == 1 and "4 kinds of images, such as IMG_%01d.png" in told[0]


@pytest.mark.parametrize("place", ["%d", "*", "?", "#"])
def test_brackets_in_a_pattern_are_themselves(tmp_path, place):
    folder = numbered(tmp_path / "in [v1]", range(3), "a[b]{{1}}.{}.png")
    frames = list(read_frames(folder / f"a[b]{{1}}.{place}.png", SMALL))
    assert [index_of(frame.rgb) for frame in frames] == [0, 1, 2]


@pytest.mark.parametrize("name", ["f_%04d.cin", "f_####.dng", "f_%04d.xyz"])
def test_a_sequence_of_a_kind_that_is_not_read_is_said_to_be_one(tmp_path, name):
    (tmp_path / name.replace("%04d", "0001").replace("####", "0001")).touch()
    for path in (tmp_path / name, tmp_path):
        with pytest.raises(InputError, match=r"holds files such as f_0001.*PNG.*convert"):
            probe(path)


DURATIONS = [40, 40, 80, 40, 3000]
FILMS = ["a.webp", "a.png", "a.apng", "a.gif", "a.avif", "alpha.avif", "a.tif"]


def film(path, *, size=SMALL, **options):
    pages = [Image.fromarray(picture(index, size)) for index in range(5)]
    if path.stem == "alpha":
        for page in pages:
            page.putalpha(200)
    pages[0].save(path, save_all=True, append_images=pages[1:], **options)
    return path


@pytest.mark.parametrize("name", FILMS)
def test_a_film_in_a_picture_is_read_with_its_durations(tmp_path, name):
    if name.endswith(".avif") and not features.check("avif"):
        pytest.skip("this Pillow writes no AVIF")
    timing = {} if name == "a.tif" else {"duration": DURATIONS}
    exact = {"lossless": True} if name == "a.webp" else {}
    path = film(tmp_path / name, **timing, **exact)
    options = ReadOptions(sequence_rate=Fraction(10))
    told, info = [], probe(path, options)
    frames = list(read_frames(path, SMALL, options, warn=told.append))
    shown = [Fraction(ms, 1000) for ms in (DURATIONS if timing else [100] * 5)]
    assert [index_of(frame.rgb) for frame in frames] == [0, 1, 2, 3, 4]
    assert [frame.duration for frame in frames] == shown
    assert [frame.time for frame in frames] == [sum(shown[:k]) for k in range(5)]
    assert count_frames(path, options) == 5 and told == []
    assert info.frame_count == 5 and info.size == SMALL


def test_a_film_in_a_folder_of_images_gives_its_first_picture_and_it_is_said(tmp_path):
    for number in range(3):
        film(tmp_path / f"{number}.webp", duration=40, lossless=True)
    told = []
    assert len(list(read_frames(tmp_path, SMALL, warn=told.append))) == 3
    assert len(told) == 1 and "holds 5 pictures" in told[0]


def test_small_copies_and_second_views_are_no_pages(tmp_path):
    pages = [Image.fromarray(picture(index)) for index in range(2)]
    reduced = TiffImagePlugin.ImageFileDirectory_v2()
    reduced[254] = 1
    with TiffImagePlugin.AppendingTiffWriter(tmp_path / "a.tif", new=True) as file:
        pages[0].save(file, format="TIFF")
        file.newFrame()
        pages[1].resize((16, 12)).save(file, format="TIFF", tiffinfo=reduced)
    pages[0].save(tmp_path / "b.jpg", format="MPO", save_all=True, append_images=pages[1:])
    for name in ("a.tif", "b.jpg"):
        (frame,) = read_frames(tmp_path / name, SMALL)
        assert index_of(frame.rgb) == 0


def test_pages_of_two_sizes_are_refused(tmp_path):
    first = Image.new("RGB", (64, 64))
    first.save(tmp_path / "a.tif", save_all=True, append_images=[Image.new("RGB", (32, 64))])
    with pytest.raises(InputError, match=r"Page 2 of .* is 32x64, expected 64x64"):
        probe(tmp_path / "a.tif")


def test_a_broken_page_ends_the_result_with_a_warning(tmp_path):
    path, told = film(tmp_path / "a.tif", compression="tiff_lzw"), []
    data = bytearray(path.read_bytes())
    with Image.open(path) as image:
        image.seek(3)
        (strip, *_) = image.tag_v2[273]
    data[strip : strip + 64] = bytes(range(64))
    path.write_bytes(data)
    frames = list(read_frames(path, SMALL, warn=told.append))
    assert [index_of(frame.rgb) for frame in frames] == [0, 1, 2]
    assert len(told) == 1 and "The result ends before it" in told[0]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], [1001, 1002, 1003, 1004]),
        (["--start-number", "0"], [0, 1, 2, 3]),
        (["--start-number", "7"], [7, 8, 9, 10]),
        (["--fps", "12"], [1001, 1003]),
        (["--start-number", "source", "--start", "0.05"], [1003, 1004]),
    ],
)
def test_results_are_numbered_as_their_source_or_as_is_asked(
    cli, tmp_path, tiny_folder, options, expected
):
    folder, out = numbered(tmp_path / "in", range(1001, 1005)), tmp_path / "out"
    told = ["--weights", tiny_folder, "--steps", 1, "--max-res", 64, *options]
    done = cli(
        "run", folder / "shot.%04d.png", "--out", out / "d.####.png", *told, "--size", "64x64"
    )
    assert done.code == 0, done.err
    assert sorted(file.name for file in out.iterdir()) == [f"d.{k:04d}.png" for k in expected]
    record = json.loads((tmp_path / "out.d.png.json").read_text())
    assert record["outputs"][0]["files"] == len(expected)


def test_other_results_of_a_kept_run_are_numbered_too(cli, tmp_path, tiny_folder, clip):
    folder, work = numbered(tmp_path / "in", [7, 8]), tmp_path / "a.npz.work"
    told = ["--weights", tiny_folder, "--steps", 1, "--size", "64x64", "--keep-work"]
    assert cli("run", folder, "--out", tmp_path / "a.npz", *told).code == 0
    again = cli("finish", work, "--out", tmp_path / "out")
    assert again.code == 0, again.err
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
        "depth_00007.png", "depth_00008.png"
    ]  # fmt: skip
    Image.fromarray(picture(1)).save(folder / "shot.0009.png")
    changed = cli("finish", work, "--out", tmp_path / "b")
    assert changed.code == 3 and "not what it was" in changed.err
    assert cli("finish", work, "--out", tmp_path / "b", "--start-number", "0").code == 0
    assert cli("finish", work, "--out", tmp_path / "b.npz").code == 0
    assert cli("run", clip, "--out", tmp_path / "c", "--start-number", "first").code == 2


def test_images_are_known_again_by_records_of_before(tmp_path):
    for name in ("b.png", "A.png", "é.jpg", ".hidden.png", "note.txt"):
        (tmp_path / name).write_bytes(name.encode())
    stats = [(name, (tmp_path / name).stat()) for name in ("A.png", "b.png", "é.jpg")]
    listing = json.dumps([[name, each.st_size, each.st_mtime] for name, each in stats])
    told = identity(tmp_path)
    assert (told["files"], told["sha256_listing"]) == (3, sha256(listing.encode()).hexdigest())
    assert identity(tmp_path / "*.png")["files"] == 2
    assert identity(tmp_path / "none.png")["sha256_listing"] == sha256(b"[]").hexdigest()
