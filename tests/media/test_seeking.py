"""Which frames of a file are read: those from ``--start`` on, of the video that players show."""

from fractions import Fraction

import numpy as np
import pytest
from clips import SMALL, ffmpeg, make_clip
from PIL import Image

from depthcrafter_cli.errors import UsageError
from depthcrafter_cli.media.reader import count_frames, probe, read_frames
from depthcrafter_cli.media.selection import ReadOptions
from depthcrafter_cli.types import Size

FRAMES, RATE, GOP = 130, 25, 24
X265 = f"open-gop=1:bframes=4:b-adapt=0:keyint={GOP}:min-keyint={GOP}:scenecut=0:log-level=none"


def open_gop(path, codec):
    """Pictures shown before a keyframe, but stored after it, refer to what precedes it."""
    if codec == "libx265":
        return make_clip(path, frames=FRAMES, rate=RATE, codec=codec, options={"x265-params": X265})
    options = {"g": str(GOP), "bf": "3", "x264-params": "open-gop=1:b-adapt=0:scenecut=0"}
    return make_clip(path, frames=FRAMES, rate=RATE, codec=codec, options=options)


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [(".mp4", "libx264"), (".mov", "libx264"), (".mkv", "libx264"), (".mp4", "libx265")],
)
def test_every_start_in_an_open_gop_gives_exactly_the_frames_from_there(tmp_path, suffix, codec):
    path = open_gop(tmp_path / f"open{suffix}", codec)
    whole = [frame.rgb for frame in read_frames(path, SMALL)]
    assert len(whole) == FRAMES
    wrong = []
    for first in range(2 * RATE, FRAMES):
        options = ReadOptions(start=Fraction(first, RATE) - Fraction(1, 100), max_frames=2)
        part = [frame.rgb for frame in read_frames(path, SMALL, options)]
        expected = whole[first : first + 2]
        if len(part) != len(expected) or not np.array_equal(part, expected):
            wrong.append(first)
    assert wrong == []


def test_a_start_in_an_interlaced_video_merges_the_same_fields(tmp_path):
    columns = np.arange(SMALL.width)
    for index in range(80):
        fields = [((columns - 3 * (2 * index + k)) % 32 < 16) * 200 + 20 for k in (0, 1)]
        woven = np.stack([fields[row % 2] for row in range(SMALL.height)]).astype(np.uint8)
        Image.fromarray(woven).save(tmp_path / f"{index}.png")
    path = tmp_path / "fields.mkv"
    codec = ("-vf", "setfield=tff", "-c:v", "mpeg2video", "-q:v", "2", "-flags", "+ildct+ilme")
    ffmpeg("-framerate", RATE, "-i", tmp_path / "%d.png", *codec, "-g", "12", "-bf", "0", path)
    whole = [frame.rgb for frame in read_frames(path, SMALL)]
    for first in range(55, 80):
        options = ReadOptions(start=Fraction(first, RATE), max_frames=1)
        (frame,) = read_frames(path, SMALL, options)
        np.testing.assert_array_equal(frame.rgb, whole[first])


def two_videos(path, *, default=None):
    """A small and a large video in one file, of 4 and of 8 frames."""
    small = make_clip(path.with_name(f"small{path.suffix}"), frames=4)
    large = make_clip(path.with_name(f"large{path.suffix}"), frames=8, size=Size(96, 128))
    flags = (
        () if default is None else ("-disposition:v", "0", f"-disposition:v:{default}", "default")
    )
    ffmpeg("-i", small, "-i", large, "-map", "0", "-map", "1", "-c", "copy", *flags, path)
    return path


@pytest.mark.parametrize(
    ("suffix", "default", "shown"),
    [(".mp4", None, 1), (".mov", None, 1), (".mkv", 0, 0), (".mkv", 1, 1)],
)
def test_of_several_videos_the_default_or_the_largest_is_read_and_it_is_said(
    tmp_path, suffix, default, shown
):
    path, told = two_videos(tmp_path / f"two{suffix}", default=default), []
    assert probe(path).size == (SMALL, Size(96, 128))[shown]
    assert len(list(read_frames(path, SMALL, warn=told.append))) == (4, 8)[shown]
    assert len(told) == 1 and f"`stream={1 - shown}`." in told[0]
    for number in (0, 1):
        told.clear()
        options = ReadOptions(stream=number)
        assert probe(path, options).size == (SMALL, Size(96, 128))[number]
        assert count_frames(path, options) == (4, 8)[number]
        assert len(list(read_frames(path, SMALL, options, warn=told.append))) == (4, 8)[number]
        assert told == []
    with pytest.raises(UsageError, match="choose 0, 1"):
        probe(path, ReadOptions(stream=2))


@pytest.mark.parametrize("flag", ["attached_pic", "default"])
def test_a_cover_is_never_taken_for_the_video(tmp_path, flag):
    video, cover = make_clip(tmp_path / "video.mp4", frames=6), tmp_path / "cover.png"
    Image.new("RGB", (512, 512)).save(cover)
    path, told = tmp_path / "both.mp4", []
    inputs = ("-i", cover, "-i", video, "-map", "0", "-map", "1", "-c", "copy")
    ffmpeg(*inputs, "-disposition:v:0", flag, path)
    assert probe(path).size == SMALL
    assert len(list(read_frames(path, SMALL, warn=told.append))) == 6
    assert told == []
    if flag == "attached_pic":
        with pytest.raises(UsageError, match="choose 0"):
            probe(path, ReadOptions(stream=1))  # it is stored after the video


@pytest.mark.slow
def test_the_stream_is_an_option(cli, tmp_path, tiny_folder):
    path = two_videos(tmp_path / "two.mp4")
    options = [
        "--weights",
        tiny_folder,
        "--steps",
        1,
        "--out",
        tmp_path / "a.npz",
        "--size",
        "64x64",
    ]
    done = cli("run", path, *options)
    assert done.code == 0 and "--stream 0" in " ".join(done.err.split())
    with np.load(tmp_path / "a.npz") as made:
        assert len(made["depth"]) == 8
    done = cli("run", path, *options, "--stream", 0, "--overwrite")
    assert done.code == 0 and "--stream" not in done.err
    with np.load(tmp_path / "a.npz") as made:
        assert len(made["depth"]) == 4
    assert cli("run", path, *options, "--stream", 7, "--overwrite").code == 2
