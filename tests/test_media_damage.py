"""Files that lie about time, colour and length: what is made of them, and that it is said."""

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from clips import SMALL, index_of, make_clip, picture
from processes import ENVIRONMENT

from depthcrafter_cli.errors import InputError
from depthcrafter_cli.media.reader import probe, read_frames
from depthcrafter_cli.media.scale import PictureScaler
from depthcrafter_cli.media.timestamps import timed
from depthcrafter_cli.types import Size

ROOT = Path(__file__).parents[1]


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
    ],
)
def test_one_wrong_stamp_does_not_misplace_what_comes_after_it(stamps, times, jumps):
    told = []
    placed = timed(stamped(stamps), Fraction(0), Fraction(1), Fraction(9), lambda: told.append(1))
    assert [time for time, _picture in placed] == times
    assert len(told) == jumps


def test_colours_that_do_not_exist_are_taken_as_unsaid():
    plain, named = (av.VideoFrame.from_ndarray(picture(3), format="rgb24") for _ in range(2))
    plain, named = plain.reformat(format="yuv420p"), named.reformat(format="yuv420p")
    named.color_primaries = 0  # reserved
    np.testing.assert_array_equal(PictureScaler(SMALL)(named), PictureScaler(SMALL)(plain))


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


def test_damaged_files_neither_crash_nor_hang_nor_leave_half_an_output():
    """The benchmark with fewer mutations, of which some go through whole runs."""
    script = [ROOT / "benchmarks" / "fuzz.py", "--mutations", "200", "--runs", "5"]
    done = subprocess.run(
        [sys.executable, *script], capture_output=True, text=True, env=ENVIRONMENT
    )
    assert done.returncode == 0, done.stdout + done.stderr
