"""Every output format: what is written comes back, and nothing half-written stays."""

import errno
import gc
import json
import os
import subprocess
import sys
import zipfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import OpenEXR
import pytest
import tifffile
from clips import picture, shown_by_ffmpeg
from limits import file_size_limit
from PIL import Image

from depthcrafter_cli.depth.colorize import colorize
from depthcrafter_cli.depth.normalize import normalize
from depthcrafter_cli.errors import OutputError
from depthcrafter_cli.media.depth_files import ColourTable, open_depth
from depthcrafter_cli.media.published import Published
from depthcrafter_cli.media.reader import read_frames
from depthcrafter_cli.media.sinks import (
    DepthFrame,
    Look,
    SinkSettings,
    check_outputs,
    png16,
    sink_for,
)
from depthcrafter_cli.types import Size, ValueRange
from depthcrafter_cli.workflows.request import RunRequest

SIZE = Size(48, 64)
RANGE = ValueRange(0.1, 0.8)
CONSTANT = [Fraction(k * 1001, 24000) for k in range(7)]
VARIABLE = [Fraction(k, 12288) for k in (0, 400, 512, 1900, 6000, 6001, 7000)]
OUTPUTS = [
    "depth.mp4", "depth.mov", "depth.npz", "depth.npy", "folder", "depth_%04d.png", "new/d_%d.png",
    "depth.%04d.tif", "exr/depth.%04d.exr",
]  # fmt: skip


def raw_disparity(index, size=SIZE):
    rows = np.linspace(0, 0.6, size.height, dtype=np.float32)[:, None]
    columns = np.linspace(0, 0.3, size.width, dtype=np.float32)[None]
    return rows + columns + np.float32(0.01 * index)


def settings(times, size=SIZE, **changes):
    unit = Fraction(1, max(time.denominator for time in times))
    look = {name: changes.pop(name) for name in vars(Look()) if name in changes}
    values = {
        "look": Look(**look),
        "rate": Fraction(24),
        "time_base": unit,
        "value_range": RANGE,
        **changes,
    }
    return SinkSettings(size=size, frame_count=len(times), **values)


def depth_frame(index, time, size=SIZE):
    raw = raw_disparity(index, size)
    return DepthFrame(index, time, raw, normalize(raw, RANGE), picture(index, size))


def write(out, times, size=SIZE, **changes):
    with sink_for(out, settings(times, size, **changes)) as sink:
        for index, time in enumerate(times):
            sink.write(depth_frame(index, time, size))
    return out


@pytest.mark.parametrize(
    "times", [CONSTANT, VARIABLE, [Fraction(0)]], ids=["constant", "vfr", "one"]
)
@pytest.mark.parametrize("name", ["depth.mp4", "depth.mov"])
def test_video_has_the_frames_times_and_colours(tmp_path, name, times):
    out = write(tmp_path / name, times, colormap="gray")
    frames = list(read_frames(out, SIZE))
    assert [frame.time for frame in frames] == times
    for frame in frames:
        expected = colorize(normalize(raw_disparity(frame.index), RANGE), "gray")
        assert np.abs(frame.rgb.astype(int) - expected).mean() < 1.5


def test_video_is_tagged_and_says_what_its_values_are(tmp_path):
    out = write(tmp_path / "depth.mp4", CONSTANT, rate=Fraction(24000, 1001))
    with av.open(str(out)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
        assert (context.colorspace, context.color_primaries, context.color_trc) == (1, 1, 1)
        assert context.color_range == 1
        assert stream.average_rate == Fraction(24000, 1001)
        assert "raw 0.1 to 0.8" in container.metadata["comment"]


def test_colours_survive_the_way_through_bt709(tmp_path):
    out = write(tmp_path / "depth.mp4", CONSTANT, colormap="turbo", crf=1)
    shown = shown_by_ffmpeg(out, SIZE).astype(int)
    expected = colorize(normalize(raw_disparity(0), RANGE), "turbo")
    assert np.abs(shown - expected).mean() < 4  # BT.601 instead would be off by more than 8


@pytest.mark.parametrize("size", [Size(47, 64), Size(48, 63), Size(47, 63)])
def test_odd_sides_become_even_by_repeating_an_edge(tmp_path, size):
    out = write(tmp_path / "depth.mp4", CONSTANT, size, colormap="gray")
    even = Size(size.height + size.height % 2, size.width + size.width % 2)
    frame = next(iter(read_frames(out, even)))
    with av.open(str(out)) as container:
        context = container.streams.video[0].codec_context
        assert (context.height, context.width) == (even.height, even.width)
    expected = colorize(normalize(raw_disparity(0, size), RANGE), "gray")
    assert np.abs(frame.rgb[: size.height, : size.width].astype(int) - expected).mean() < 1.5


def test_side_by_side_puts_the_source_left(tmp_path):
    out = tmp_path / "both.mp4"
    assert sink_for(out, settings(CONSTANT, side_by_side=True)).needs_rgb
    assert not sink_for(out, settings(CONSTANT)).needs_rgb
    write(out, CONSTANT, side_by_side=True, colormap="gray")
    for frame in read_frames(out, Size(48, 128)):
        depth = colorize(normalize(raw_disparity(frame.index), RANGE), "gray")
        expected = np.concatenate([picture(frame.index), depth], axis=1).astype(int)
        assert np.abs(frame.rgb - expected).mean() < 1.5


@pytest.mark.parametrize(
    ("name", "files", "deflate"),
    [
        ("folder", "folder/depth_%05d.png", "isal.isal_zlib"),
        ("folder/d_%d.png", "folder/d_%d.png", "isal.isal_zlib"),
        ("depth_%04d.png", "depth_%04d.png", "zlib"),
    ],
)
def test_png_keeps_sixteen_bits_and_times(tmp_path, name, files, deflate, monkeypatch):
    """Also where isal has no wheels."""
    monkeypatch.setattr(png16, "_DEFLATE", pytest.importorskip(deflate))
    write(tmp_path / name, VARIABLE)
    for index, time in enumerate(VARIABLE):
        path = tmp_path / (files % index)
        assert path.read_bytes()[24] == 16  # bits a sample, in the header
        with Image.open(path) as image:
            levels = np.asarray(image)
            assert Fraction(image.text["time"]) == time
            assert (image.text["disparity_low"], image.text["disparity_high"]) == ("0.1", "0.8")
        expected = normalize(raw_disparity(index), RANGE)
        assert np.abs(levels / 65535 - expected).max() <= 0.5 / 65535 + 1e-7
    folder = (tmp_path / files).parent
    assert len(list(folder.iterdir())) == len(VARIABLE)


def test_npz_keeps_raw_disparity_exactly(tmp_path):
    out = write(tmp_path / "depth.npz", VARIABLE, metadata={"seed": 42})
    with np.load(out, allow_pickle=False) as archive:
        assert sorted(archive.files) == ["depth", "metadata_json", "range", "times"]
        depth = archive["depth"]
        assert depth.dtype == np.float32
        for index, frame in enumerate(depth):
            np.testing.assert_array_equal(frame, raw_disparity(index))
        np.testing.assert_array_equal(archive["times"], [float(time) for time in VARIABLE])
        assert archive["range"].tolist() == [0.1, 0.8]
        assert json.loads(str(archive["metadata_json"])) == {"seed": 42}
    assert zipfile.ZipFile(out).testzip() is None


@pytest.mark.slow
def test_npy_is_one_array_that_maps_into_memory(tmp_path):
    mapped = np.load(write(tmp_path / "depth.npy", VARIABLE), mmap_mode="r")
    assert mapped.dtype == np.float32
    assert np.array_equal(mapped, np.stack([raw_disparity(k) for k in range(len(VARIABLE))]))


@pytest.mark.parametrize("suffix", [".tif", ".tiff", ".TIF"])
def test_tiff_keeps_sixteen_bits_and_times_for_an_independent_reader(tmp_path, suffix):
    write(tmp_path / f"d.%04d{suffix}", VARIABLE)
    for index, time in enumerate(VARIABLE):
        with tifffile.TiffFile(tmp_path / f"d.{index:04}{suffix}") as file:
            levels, tags = file.asarray(), json.loads(file.pages[0].description)
        assert levels.dtype == np.uint16
        expected = normalize(raw_disparity(index), RANGE)
        assert np.abs(levels / 65535 - expected).max() <= 0.5 / 65535 + 1e-7
        assert Fraction(tags["time"]) == time
        assert (tags["disparity_low"], tags["disparity_high"]) == (0.1, 0.8)


def test_exr_keeps_raw_disparity_exactly_in_z_with_its_range_rate_and_time(tmp_path):
    write(tmp_path / "d.%04d.exr", CONSTANT, rate=Fraction(24000, 1001))
    for index, time in enumerate(CONSTANT):
        with OpenEXR.File(str(tmp_path / f"d.{index:04}.exr")) as image:
            header, channels = image.header(), image.channels()
            assert list(channels) == ["Z"]
            assert np.array_equal(channels["Z"].pixels, raw_disparity(index))
            assert header["framesPerSecond"] == Fraction(24000, 1001)
            assert header["time"] == pytest.approx(float(time))
            assert header["disparity_low"] == pytest.approx(0.1)
            assert header["disparity_high"] == pytest.approx(0.8)


def test_exr_is_half_normalised_or_in_a_layer_where_that_is_asked(tmp_path):
    look = {"exr_half": True, "exr_channel": "depth.Z", "exr_normalized": True}
    write(tmp_path / "d.%04d.exr", CONSTANT[:2], **look)
    for index in range(2):
        with OpenEXR.File(str(tmp_path / f"d.{index:04}.exr")) as image:
            header, (channel,) = image.header(), image.channels().values()
            expected = normalize(raw_disparity(index), RANGE).astype(np.float16)
            assert channel.name == "depth.Z" and channel.pixels.dtype == np.float16
            assert np.array_equal(channel.pixels, expected)
            assert "normalised" in header["comments"] and header["frame"] == index


def test_zarr_keeps_raw_disparity_exactly_a_chunk_a_frame(tmp_path):
    zarr = pytest.importorskip("zarr", minversion="3")
    out = write(tmp_path / "d.zarr.zip", CONSTANT)
    read = zarr.open_group(zarr.storage.ZipStore(out, mode="r"), mode="r")
    assert read["depth"].chunks == (1, SIZE.height, SIZE.width)
    expected = np.stack([raw_disparity(index) for index in range(len(CONSTANT))])
    assert np.array_equal(read["depth"][:], expected)
    assert np.allclose(read["times"][:], list(map(float, CONSTANT)))
    assert read["depth"].attrs["range"] == [0.1, 0.8]
    with zipfile.ZipFile(out) as archive:
        assert archive.testzip() is None and len(set(archive.namelist())) == len(archive.namelist())


def test_exr_without_its_package_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "OpenEXR", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(OutputError, match=r"depthcrafter\[exr\]"):
        check_outputs([tmp_path / "d.%04d.exr"])


@pytest.mark.slow
def test_npz_may_exceed_four_gigabytes(tmp_path):
    size, count = Size(8192, 8192), 17  # 4.6 GB
    raw = np.full((size.height, size.width), 0.5, dtype=np.float32)
    big = SinkSettings(size, count, Fraction(24), Fraction(1, 24), RANGE)
    with sink_for(tmp_path / "big.npz", big) as sink:
        for index in range(count):
            sink.write(DepthFrame(index, Fraction(index, 24), raw, raw))
    with zipfile.ZipFile(tmp_path / "big.npz") as archive, archive.open("depth.npy") as member:
        assert np.lib.format.read_magic(member) == (1, 0)
        shape, _order, _kind = np.lib.format.read_array_header_1_0(member)
        assert shape == (count, size.height, size.width)
        member.seek(16 * 4 * size.height * size.width, 1)
        assert np.frombuffer(member.read(4 * 1000), dtype="<f4").tolist() == [0.5] * 1000
        assert archive.getinfo("times.npy").header_offset > 2**32


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("name", OUTPUTS)
def test_an_interrupted_output_leaves_nothing(tmp_path, name, failure):
    with pytest.raises(failure), sink_for(tmp_path / name, settings(CONSTANT)) as sink:
        for index in range(3):
            sink.write(depth_frame(index, CONSTANT[index]))
        assert not any(path.is_file() and path == tmp_path / name for path in tmp_path.iterdir())
        assert list(tmp_path.iterdir())  # it does grow on the disk, under another name
        raise failure
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", OUTPUTS)
def test_a_short_output_is_never_published(tmp_path, name):
    making = sink_for(tmp_path / name, settings(CONSTANT))
    with pytest.raises(ValueError, match="3 of 7 frames"), making as sink:
        for index in range(3):
            sink.write(depth_frame(index, CONSTANT[index]))
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def ignored(monkeypatch):
    """Errors that Python can only print, as those of objects let go of in the wrong order."""
    gc.collect()  # what other tests left is theirs
    errors: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", errors.append)
    return errors


@pytest.mark.parametrize("limit", [0, 4000])
@pytest.mark.parametrize("name", OUTPUTS)
def test_no_room_is_one_sentence_and_leaves_nothing(tmp_path, name, limit, ignored):
    size = Size(128, 128)  # every format needs more than the limit for it
    rng = np.random.default_rng(0)
    times = [Fraction(k, 24) for k in range(12)]
    making = sink_for(tmp_path / name, settings(times, size))
    full = file_size_limit(limit)
    with pytest.raises(OutputError, match="expected room") as caught, full, making as sink:
        for index, time in enumerate(times):
            noise = rng.random((128, 128), dtype=np.float32)
            sink.write(DepthFrame(index, time, noise, noise))
    assert name in str(caught.value) and "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    del caught, making
    gc.collect()
    assert not ignored


@pytest.mark.parametrize("name", ["depth.mp4", "depth.mov", "depth.npz"])
def test_a_disk_that_is_full_at_any_moment_is_one_sentence_and_nothing_else(
    tmp_path, name, ignored, capfd
):
    whole = write(tmp_path / name, CONSTANT).stat().st_size
    (tmp_path / "new").mkdir()
    for limit in (0, 1, 40, whole // 2, whole - 300, whole - 40, whole - 1):
        full = file_size_limit(limit)
        with pytest.raises(OutputError, match="expected room"), full:
            write(tmp_path / "new" / name, CONSTANT)
    gc.collect()
    assert not ignored and "Traceback" not in capfd.readouterr().err
    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.parametrize("name", ["depth.mp4", "depth.npz", "new/depth_%d.png", "depth_%d.png"])
@pytest.mark.parametrize("frames", [1, 7])
def test_a_disk_that_becomes_read_only_does_not_hide_the_first_error(
    tmp_path, name, frames, monkeypatch
):
    def refuse(*_arguments, **_more):
        raise OSError(errno.EROFS, "Read-only file system")

    making = sink_for(tmp_path / name, settings(CONSTANT))
    expected = pytest.raises(OutputError, match="Read-only" if frames == 7 else "the first error")
    with expected, making as sink:
        for index in range(frames):
            sink.write(depth_frame(index, CONSTANT[index]))
        for call in ("unlink", "rmdir", "rename", "replace", "fsync"):
            monkeypatch.setattr(os, call, refuse)
        if frames < 7:
            raise OutputError("the first error")


@pytest.mark.parametrize("name", ["depth.mp4", "depth.npz"])
def test_a_failed_overwrite_keeps_the_old_result(tmp_path, name):
    old = write(tmp_path / name, CONSTANT).read_bytes()
    making = sink_for(tmp_path / name, settings(CONSTANT, published=Published(overwrite=True)))
    with pytest.raises(KeyboardInterrupt), making as sink:
        sink.write(depth_frame(0, Fraction(0)))
        raise KeyboardInterrupt
    assert (tmp_path / name).read_bytes() == old
    write(tmp_path / name, VARIABLE, published=Published(overwrite=True))
    assert (tmp_path / name).read_bytes() != old


def test_overwriting_a_folder_replaces_the_set_and_nothing_else(tmp_path):
    write(tmp_path / "folder", CONSTANT)
    (tmp_path / "folder" / "notes.txt").write_text("mine")
    write(tmp_path / "folder", CONSTANT[:3], published=Published(overwrite=True))
    names = sorted(path.name for path in (tmp_path / "folder").iterdir())
    assert names == ["depth_00000.png", "depth_00001.png", "depth_00002.png", "notes.txt"]


def test_a_file_that_appears_meanwhile_is_not_overwritten(tmp_path):
    out = tmp_path / "depth.npz"
    with (
        pytest.raises(OutputError, match="was not made by this run"),
        sink_for(out, settings([Fraction(0)])) as sink,
    ):
        sink.write(depth_frame(0, Fraction(0)))
        out.write_text("another program's")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["another program's"]


def test_a_picture_that_appears_meanwhile_is_not_overwritten(tmp_path):
    mine = tmp_path / "depth_00000.png"
    with (
        pytest.raises(OutputError, match=r"depth_00000\.png is there"),
        sink_for(tmp_path, settings([Fraction(0)])) as sink,
    ):
        sink.write(depth_frame(0, Fraction(0)))
        mine.write_text("another program's")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["another program's"]


def test_the_same_frames_give_the_same_video_whatever_memory_held_before(tmp_path):
    script = (
        "import sys; from pathlib import Path; from fractions import Fraction\n"
        "sys.path.append('media')\n"
        "from test_sinks import write\n"
        "write(Path(sys.argv[1]), [Fraction(k, 24) for k in range(13)])"
    )
    made = []
    for filler in ("1", "77"):
        out = tmp_path / f"{filler}.mp4"
        environment = {**os.environ, "MALLOC_PERTURB_": filler}  # glibc fills what it hands out
        command = [sys.executable, "-c", script, str(out)]
        subprocess.run(command, check=True, env=environment, cwd=Path(__file__).parents[1])
        made.append(out.read_bytes())
    assert made[0] == made[1]


def test_a_percent_sign_in_a_name_is_only_a_percent_sign(tmp_path):
    write(tmp_path / "100% sure 5%_%03d.png", CONSTANT[:2])
    assert sorted(file.name for file in tmp_path.glob("*.png")) == [
        "100% sure 5%_000.png", "100% sure 5%_001.png"
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["50%d.mp4", "a####.mov", "%04d.npz"])
def test_only_what_is_a_file_a_frame_has_numbers_in_its_name(tmp_path, name):
    out = tmp_path / name
    request = RunRequest(Path("in.mp4"), (out,))
    assert request.outputs == (out,)
    assert request.record_path == tmp_path / f"{name}.json"
    assert request.work_folder == tmp_path / f"{name}.work"
    write(out, CONSTANT[:2])
    assert open_depth(out, ColourTable()).frames == 2
    images = RunRequest(Path("in.mp4"), (tmp_path / "a" / "d.####.png",))
    assert images.outputs[0].name == "d.%04d.png"
    assert images.record_path == tmp_path / "a.d.png.json"
    assert images.work_folder == tmp_path / "a" / "d..png.work"


def test_a_pause_that_no_mp4_can_hold_is_said_with_what_can(tmp_path):
    out = tmp_path / "d.mp4"
    times = [Fraction(0), Fraction(1, 10**6), Fraction(3600), Fraction(3601), Fraction(3602)]
    with pytest.raises(OutputError, match=r"pause.*depthcrafter finish"):
        write(out, times)
    assert list(tmp_path.iterdir()) == []
    write(tmp_path / "d.npz", times)
