"""When pictures are shown and for how long, from what is read to what is written."""

import re
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from clips import SMALL, ffmpeg, index_of, make_clip, picture
from PIL import Image

from depthcrafter_cli.errors import UsageError
from depthcrafter_cli.media.look import Look
from depthcrafter_cli.media.reader import count_frames, probe, read_frames
from depthcrafter_cli.media.selection import ReadOptions
from depthcrafter_cli.media.sinks import DepthFrame, SinkSettings, sink_for
from depthcrafter_cli.types import Size, ValueRange

STEP, HELD = Fraction(1, 25), Fraction(3)
HELD_CLIPS = ("held.gif", "held.mp4", "held.mkv", "default.mkv")


def held_clip(path: Path, size: Size = SMALL) -> Path:
    """Five pictures, of which the last is shown for 3 seconds and the others for 40 ms."""
    if path.suffix == ".gif":
        pages = [Image.fromarray(picture(index, size)) for index in range(5)]
        pages[0].save(path, save_all=True, append_images=pages[1:], duration=[40] * 4 + [3000])
        return path
    short = make_clip(path.with_name("short.mp4"), frames=5, rate=25, size=size)
    with av.open(str(short)) as source, av.open(str(path), "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        packets = [packet for packet in source.demux(video=0) if packet.size]
        latest = max(packets, key=lambda packet: packet.pts)
        for packet in packets:
            packet.stream = stream
            if packet is latest:
                packet.duration = int(HELD / packet.time_base)
            container.mux(packet)
    if path.name == "default.mkv":  # where the end of the file alone tells
        data, told = path.read_bytes(), b"\x9b\x82\x0b\xb8"  # BlockDuration, 3000
        path.write_bytes(data.replace(told, b"\xec\x82\x00\x00"))  # Void
    return path


@pytest.mark.parametrize("name", HELD_CLIPS)
def test_the_last_picture_keeps_its_own_duration(tmp_path, name):
    told = []
    frames = list(read_frames(held_clip(tmp_path / name), SMALL, warn=told.append))
    assert [frame.time for frame in frames] == [k * STEP for k in range(5)]
    assert [frame.duration for frame in frames] == [STEP] * 4 + [HELD]
    assert told == []


@pytest.mark.parametrize("share", [0.5, 0.95])
def test_a_cut_off_matroska_file_holds_no_picture_and_it_is_told(tmp_path, share):
    path, told = make_clip(tmp_path / "cut.mkv", frames=120), []
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    frames = list(read_frames(path, SMALL, warn=told.append))
    assert frames[-1].duration == Fraction(1, 24)
    assert len(told) == 1 and f"of 5.0 s ({len(frames)} frames)" in told[0]


def test_a_matroska_file_that_lacks_its_index_alone_is_no_damage(tmp_path):
    path, told = make_clip(tmp_path / "clip.mkv", frames=16), []
    data = path.read_bytes()
    path.write_bytes(data[: data.rindex(b"\x1c\x53\xbb\x6b")])
    assert len(list(read_frames(path, SMALL, warn=told.append))) == 16
    assert told == []


@pytest.mark.parametrize("name", ["a.ts", "a.mkv", "a.avi", "a.ogv"])
def test_a_variable_rate_is_the_average(tmp_path, name):
    """Some files tell the unit of their clock instead; disks and times are reckoned by it."""
    path, clip = tmp_path / name, tmp_path / "clip.ts"
    times = [Fraction(k * k, 500) for k in range(12)]
    make_clip(clip, times=times, options={"bf": "0"})
    if name == "a.ts":
        clip.rename(path)
    else:
        codec = "libtheora" if name == "a.ogv" else "mpeg4"
        rate = "-fps_mode", "passthrough", "-enc_time_base", "1/500"
        ffmpeg("-i", clip, *rate, "-c:v", codec, path)
    assert float(probe(path).rate) == pytest.approx(11 / float(times[-1]), rel=0.25)
    assert probe(path).frame_count == 12


@pytest.mark.parametrize("name", HELD_CLIPS[:2])
def test_a_result_is_as_long_as_its_source(cli, tmp_path, tiny_folder, name):
    source, out = held_clip(tmp_path / name, Size(64, 64)), tmp_path / "depth.mp4"
    options = ["--weights", tiny_folder, "--steps", 1, "--keep-work"]
    assert cli("run", source, "--out", out, *options).code == 0
    again = tmp_path / "again.mov"
    assert cli("finish", tmp_path / "depth.mp4.work", "--out", again).code == 0
    for made in (out, again):
        with av.open(str(made)) as container:
            assert abs(container.duration / av.time_base - 3.16) < 0.002
        assert [frame.duration for frame in read_frames(made, SMALL)] == [STEP] * 4 + [HELD]


def telecined(path: Path, *source: str) -> None:
    """Film of 23.976 pictures a second that says to be shown as 29.97, by repeating fields."""
    film = path.with_suffix(".m2v")
    ffmpeg(*source, "-c:v", "mpeg2video", "-bf", "2", "-flags", "+ildct", film)
    data, pictures = bytearray(film.read_bytes()), 0
    for match in re.finditer(rb"\x00\x00\x01(\xb3|\xb5[\x80-\x8f])", bytes(data)):
        at = match.end()
        if match[1] == b"\xb3":
            data[at + 3] = data[at + 3] & 0xF0 | 4  # the rate 29.97
        else:  # top field first, and the first one repeated
            top, repeats = ((1, 1), (0, 0), (0, 1), (1, 0))[pictures % 4]
            data[at + 2] = data[at + 2] & 0x7D | top << 7 | repeats << 1
            data[at + 3] |= 0x80  # a progressive picture, of which alone fields are repeated
            pictures += 1
    film.write_bytes(data)
    ffmpeg("-i", film, "-c", "copy", "-f", "vob", path)


@pytest.mark.parametrize("seconds", [3, 20])
@pytest.mark.parametrize("name", ["a.nut", "a.vob", "a.mpg", "telecined.vob", "cut.mp4"])
def test_as_many_frames_are_announced_as_are_read(tmp_path, name, seconds):
    path, rate = tmp_path / name, "24000/1001" if name == "telecined.vob" else 24
    source = "-f", "lavfi", "-i", f"testsrc2=s=64x48:r={rate}:d={seconds}"
    if name == "telecined.vob":
        telecined(path, *source)
        assert probe(path).rate == Fraction(rate)
    elif name == "cut.mp4":
        whole = tmp_path / "whole.mp4"
        coded = "-x264-params", "open-gop=1:keyint=24:bframes=3:scenecut=0"
        ffmpeg(*source, "-c:v", "libx264", *coded, whole)
        ffmpeg("-ss", "1.3", "-i", whole, "-c", "copy", path)
    elif name == "a.nut":
        ffmpeg(*source, path)
    else:
        ffmpeg(*source, "-f", "lavfi", "-i", f"sine=d={seconds}", "-c:v", "mpeg2video", path)
    assert probe(path).frame_count == count_frames(path)


GROUPS = "open-gop=1:keyint=12:bframes=3:scenecut=0"
CODED = {
    "libx264": ("-x264-params", GROUPS),
    "libx265": ("-x265-params", f"log-level=none:{GROUPS}"),
    "mpeg2video": ("-g", "12", "-bf", "2"),
}


@pytest.mark.parametrize("codec", CODED)
@pytest.mark.parametrize("name", ["late.mp4", "early.mp4", "part.mkv", "begins-midway.ts"])
def test_as_many_frames_of_a_part_are_announced_as_are_read(tmp_path, name, codec):
    """It was cut without decoding, before or after a group of pictures begins, or inside."""
    path = tmp_path / name
    whole, seek = tmp_path / f"whole{path.suffix}", ("-ss", "0.7")
    source = "-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d=2"
    ffmpeg(*source, "-c:v", codec, *CODED[codec], whole)
    if name == "begins-midway.ts":
        data = whole.read_bytes()
        path.write_bytes(data[len(data) // 188 // 3 * 188 :])
    elif name == "late.mp4":
        ffmpeg("-i", whole, *seek, "-c", "copy", path)
    else:
        ffmpeg(*seek, "-i", whole, "-c", "copy", path)
    assert probe(path).rate == 25
    assert probe(path).frame_count == count_frames(path) < 50


def written(path, times, end, rate, time_base, look=None):
    settings = SinkSettings(
        look=look or Look(),
        size=SMALL, frame_count=len(times), rate=rate, time_base=time_base,
        value_range=ValueRange(0, 1), end=end,
    )  # fmt: skip
    generator = np.random.default_rng(0)
    with sink_for(path, settings) as sink:
        for index, time in enumerate(times):
            noise = generator.random((SMALL.height, SMALL.width), dtype=np.float32)
            sink.write(DepthFrame(index, time, noise, noise))
    return path


@pytest.mark.parametrize("name", ["gray.mkv", "depth.mov", "depth.mp4"])
def test_an_encoder_without_delay_tells_the_last_duration_too(tmp_path, name):
    """FFV1, which is the usual one of Matroska, gives each picture at once."""
    times = [k * STEP for k in range(5)]
    path = written(tmp_path / name, times, 4 * STEP + HELD, 1 / STEP, STEP / 4)
    assert [frame.duration for frame in read_frames(path, SMALL)] == [STEP] * 4 + [HELD]
    with av.open(str(path)) as container:
        assert abs(container.duration / av.time_base - 4 * STEP - HELD) < 0.002


@pytest.mark.parametrize("codec", ["ffv1", "h264", "hevc-10"])
@pytest.mark.parametrize("is_variable", [True, False])
def test_matroska_tells_a_rate_only_where_there_is_one(tmp_path, codec, is_variable):
    """Programs that write a constant rate would leave pictures out by it."""
    gap, step = Fraction(1, 100), Fraction(1, 25)
    times = [k * k * gap if is_variable else k * step for k in range(12)]
    end = times[-1] + 2 * step
    rate, look = (12 / end, Look(codec=codec)) if is_variable else (1 / step, Look(codec=codec))
    path = written(tmp_path / "depth.mkv", times, end, rate, gap, look)
    assert (b"\x23\xe3\x83" in path.read_bytes()[:2000]) is not is_variable
    frames = list(read_frames(path, SMALL))
    assert [frame.time for frame in frames] == times
    assert frames[-1].duration == 2 * step
    with av.open(str(path)) as container:
        assert container.duration == end * av.time_base


@pytest.mark.parametrize("part", [["--end", "0.1"], ["--max-frames", "3"]], ids=" ".join)
def test_a_part_of_a_clip_is_no_longer_than_its_pictures(cli, tmp_path, tiny_folder, part):
    source, out = held_clip(tmp_path / "held.gif", Size(64, 64)), tmp_path / "d.mp4"
    done = cli("run", source, "--out", out, "--weights", tiny_folder, "--steps", 1, *part)
    assert done.code == 0, done.err
    data = out.read_bytes()
    header = data.index(b"mvhd") + 16  # by which players go: ISO 14496-12, section 8.2.2
    scale, length = struct.unpack_from(">II", data, header)
    assert Fraction(length, scale) == 3 * STEP


def test_a_constant_rate_is_written_as_if_the_end_were_not_told(tmp_path):
    rate = Fraction(24000, 1001)
    times = [k / rate for k in range(40)]
    told = written(tmp_path / "told.mp4", times, 40 / rate, rate, 1 / rate)
    untold = written(tmp_path / "untold.mp4", times, None, rate, 1 / rate)
    assert told.read_bytes() == untold.read_bytes()


@pytest.mark.parametrize("count", [1, 2, 3, 40])
@pytest.mark.parametrize("end", [Fraction(0), HELD])
def test_a_written_video_ends_when_its_last_picture_does(tmp_path, count, end):
    times = [k * STEP for k in range(count)]
    end = times[-1] + (end or STEP)
    path = written(tmp_path / "a.mp4", times, end, Fraction(25), STEP)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.duration * stream.time_base == end
    assert [frame.duration for frame in read_frames(path, SMALL)] == [STEP] * (count - 1) + [
        end - times[-1]
    ]


@pytest.mark.parametrize("rate", [24, Fraction(24000, 1001), Fraction(60000, 1001)])
@pytest.mark.parametrize("suffix", [".mkv", ".ts", ".flv", ".mov"])
def test_a_coarse_clock_is_read_as_the_constant_rate_it_approaches(tmp_path, suffix, rate):
    exact = make_clip(tmp_path / "exact.mp4", frames=70, rate=rate, codec="libx264")
    path = tmp_path / f"coarse{suffix}"
    ffmpeg("-i", exact, "-c", "copy", "-video_track_timescale", "600", path)
    frames = list(read_frames(path, SMALL))
    assert [frame.time for frame in frames] == [k / Fraction(rate) for k in range(70)]
    part = list(read_frames(path, SMALL, ReadOptions(start=60 / Fraction(rate))))
    assert [index_of(frame.rgb) for frame in part] == [k % 40 for k in range(60, 70)]


def test_a_variable_rate_is_left_as_it_is(tmp_path):
    seconds = [0, 0.04, 0.081, 0.12, 0.3, 0.34, 0.381, 0.9, 1.5]
    times = [Fraction(round(12000 * second), 12000) for second in seconds]
    exact = make_clip(tmp_path / "exact.mp4", times=times)
    path = tmp_path / "coarse.mkv"
    ffmpeg("-i", exact, "-c", "copy", path)
    found = [float(frame.time) for frame in read_frames(path, SMALL)]
    np.testing.assert_allclose(found, seconds, atol=1e-6)


def test_a_variable_rate_is_made_constant_up_to_that_of_its_closest_pictures(tmp_path):
    path = held_clip(tmp_path / "held.mp4")
    assert probe(path).rate < 2 and probe(path).peak_rate == 25
    frames = list(read_frames(path, SMALL, ReadOptions(fps=Fraction(25))))
    assert [frame.time for frame in frames] == [k * STEP for k in range(79)]
    assert [index_of(frame.rgb) for frame in frames] == [0, 1, 2, 3] + [4] * 75
    with pytest.raises(UsageError, match="at most its own 25"):
        read_frames(path, SMALL, ReadOptions(fps=Fraction(26)))


def test_a_clock_that_goes_back_less_than_a_second_is_told_and_set_right(tmp_path):
    first = make_clip(tmp_path / "first.ts", frames=36, rate=12)
    early, joined = tmp_path / "early.ts", tmp_path / "joined.ts"
    ffmpeg("-i", first, "-c", "copy", "-output_ts_offset", "1.3", early)
    joined.write_bytes(first.read_bytes() + early.read_bytes())
    with av.open(str(joined)) as container:
        stamps = [float(frame.time) for frame in container.decode(video=0)]
    assert 0 < stamps[35] - stamps[36] < 1
    told = []
    frames = list(read_frames(joined, SMALL, warn=told.append))
    assert [index_of(frame.rgb) for frame in frames] == [*range(36)] * 2
    assert [frame.time for frame in frames] == [Fraction(k, 12) for k in range(72)]
    assert len(told) == 1 and "clock jumps 1 time" in told[0]
