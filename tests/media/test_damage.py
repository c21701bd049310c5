"""Files that lie about time, colour and length: what is made of them, and that it is said."""

import struct
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import imageio_ffmpeg
import pytest
from clips import SMALL, ffmpeg, index_of, make_clip
from processes import ENVIRONMENT

from depthcrafter_cli.errors import InputError
from depthcrafter_cli.media.reader import probe, read_frames
from depthcrafter_cli.media.timestamps import timed
from depthcrafter_cli.types import Size

ROOT = Path(__file__).parents[2]


def test_recordings_joined_to_one_file_keep_their_rate_and_it_is_said(tmp_path):
    part = make_clip(tmp_path / "part.ts", frames=36, rate=12)
    last = make_clip(tmp_path / "last.ts", frames=36, rate=12, audio=True)
    joined = tmp_path / "joined.ts"
    joined.write_bytes(part.read_bytes() * 2 + last.read_bytes())
    told = []
    frames = list(read_frames(joined, SMALL, warn=told.append))
    assert [index_of(frame.rgb) for frame in frames] == [*range(36)] * 3
    assert [frame.time for frame in frames] == [Fraction(index, 12) for index in range(108)]
    assert len(told) == 1 and "clock jumps 2 times" in told[0]


def stamped(seconds):
    for second in seconds:
        frame = av.VideoFrame(16, 16)
        frame.time_base, frame.pts = Fraction(1, 1000), int(second * 1000)
        yield frame


@pytest.mark.parametrize(
    ("stamps", "times", "jumps"),
    [
        ([0, 1, 2, 3], [0, 1, 2, 3], 0),
        ([0, 1, 95443, 3, 4], [0, 1, 2, 3, 4], 1),  # a bit of one stamp is wrong
        ([0, 1, 2, 0, 1, 2], [0, 1, 2, 3, 4, 5], 1),  # the count begins again
        ([0, 7, 8], [0, 7, 8], 0),  # a picture that stands still
        ([0, 1, 12, 13], [0, 1, 12, 13], 0),  # the last ones, after the end of decoding
        ([0, 1, 12, 13, 4], [0, 1, 2, 3, 4], 2),
        ([0, 1, 2, 0.5, 1.5, 2.5], [0, 1, 2, 3, 4, 5], 1),  # joined with a little overlap
        ([0, 1, 2, 1.9, 3, 4], [0, 1, 2, 2.001, 3, 4], 0),  # a single one a little early
        ([0, 1, 2, -95443, 4, 5], [0, 1, 2, 3, 4, 5], 1),
    ],
)
def test_one_wrong_stamp_does_not_misplace_what_comes_after_it(stamps, times, jumps):
    told = []
    placed = timed(stamped(stamps), Fraction(0), Fraction(1), Fraction(9), lambda: told.append(1))
    assert [float(time) for time, _picture in placed] == times
    assert len(told) == jumps


@pytest.mark.parametrize("size", [Size(32, 32), Size(48, 32)])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_colours_that_do_not_exist_are_taken_as_unsaid(tmp_path, place, size):
    """Primaries and transfer 0 are reserved; FFmpeg converts from no matrix 11."""
    plain, named = make_clip(tmp_path / "plain.avi", codec="mpeg4"), tmp_path / "named.mov"
    colours = "setparams=color_primaries=bt709:color_trc=bt709:colorspace=bt709"
    ffmpeg("-i", plain, "-vf", colours, "-c:v", "mpeg4", "-q:v", 1, named)
    tag = struct.Struct(">4s3H")
    lie = [1, 1, 1]
    lie[place] = 11 if place == 2 else 0
    data = named.read_bytes()
    assert data.count(tag.pack(b"nclc", 1, 1, 1)) == 1
    named.write_bytes(data.replace(tag.pack(b"nclc", 1, 1, 1), tag.pack(b"nclc", *lie)))
    told: list[str] = []
    frames = list(read_frames(named, size, warn=told.append))
    assert [index_of(frame.rgb) for frame in frames] == list(range(10))
    if place == 2:
        assert len(told) == 1 and "matrix 11 of ITU-T" in told[0]


def test_a_stream_of_a_kind_that_ffmpeg_does_not_know_is_no_video(tmp_path):
    path = make_clip(tmp_path / "clip.avi", codec="mpeg4")
    path.write_bytes(path.read_bytes().replace(b"strf", b"strx"))
    with pytest.raises(InputError, match="no video stream"):
        probe(path)


def test_pixels_of_an_absurd_shape_are_refused(tmp_path):
    shape = {"size": Size(600, 800), "aspect": Fraction(500)}
    path = make_clip(tmp_path / "wide.mp4", frames=1, **shape)
    with pytest.raises(InputError, match="million pixels"):
        probe(path)


def test_a_length_that_is_no_time_is_no_length(tmp_path):
    path = make_clip(tmp_path / "clip.mkv", frames=48)
    data = path.read_bytes()
    assert b"00:00:02." in data
    path.write_bytes(data.replace(b"00:00:02.", b"00:0\x7f:02."))
    assert probe(path).rate == 24
    assert len(list(read_frames(path, SMALL))) == 48


@pytest.mark.slow
def test_damaged_files_neither_crash_nor_hang_nor_leave_half_an_output():
    """The benchmark with fewer mutations, of which some go through whole runs."""
    script = [ROOT / "benchmarks" / "fuzz.py", "--mutations", "200", "--runs", "5"]
    done = subprocess.run(
        [sys.executable, *script], capture_output=True, text=True, env=ENVIRONMENT
    )
    assert done.returncode == 0, done.stdout + done.stderr


def pictures_by_ffmpeg(path) -> int:
    """How many the program decodes, with a thread alone."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "quiet", "-threads", "1", "-i", str(path)]
    raw = ("-fps_mode", "passthrough", "-f", "framehash", "-")
    done = subprocess.run([*command, *raw], capture_output=True, text=True)
    return sum(not line.startswith("#") for line in done.stdout.splitlines())


@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
@pytest.mark.parametrize(
    ("suffix", "codec"), [(".mp4", "libx264"), (".mov", "mpeg4"), (".mkv", "libx264")]
)
def test_the_last_pictures_of_a_cut_off_file_are_not_lost_in_threads(
    tmp_path, suffix, codec, share
):
    layout = {} if suffix == ".mkv" else {"movflags": "+faststart"}
    path = tmp_path / f"cut{suffix}"
    make_clip(path, frames=60, size=Size(128, 192), codec=codec, container_options=layout)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    told = []
    frames = list(read_frames(path, SMALL, warn=told.append))
    assert len(frames) == pictures_by_ffmpeg(path) and len(told) == 1
    assert [frame.time for frame in frames] == sorted({frame.time for frame in frames})


def test_packets_that_the_container_calls_corrupt_are_told(tmp_path):
    path, told = make_clip(tmp_path / "lost.ts", frames=60), []
    data = path.read_bytes()
    middle = len(data) // 188 // 2 * 188
    path.write_bytes(data[:middle] + data[middle + 2 * 188 :])
    assert len(list(read_frames(path, SMALL, warn=told.append))) == pictures_by_ffmpeg(path)
    assert len(told) == 1 and "corrupt" in told[0]
