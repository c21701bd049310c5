"""Which frames are chosen: from timestamps alone, by numbers, and by timecode."""

from fractions import Fraction

import numpy as np
import pytest
from clips import SMALL, ffmpeg, index_of, make_clip, picture
from PIL import Image

from depthcrafter_cli import infer
from depthcrafter_cli.errors import InputError, UsageError
from depthcrafter_cli.media.reader import count_frames, frame_numbers, read_frames
from depthcrafter_cli.media.selection import ReadOptions, select
from depthcrafter_cli.options import build


def chosen(options, times, rate=24, last=None):
    until = [*times[1:], times[-1] + (last or Fraction(1, rate))]
    shown = [(time, end - time, k) for k, (time, end) in enumerate(zip(times, until, strict=True))]
    selected = select(shown, options, Fraction(1, rate))
    return [(time, index) for time, _duration, index in selected]


CONSTANT = [Fraction(k, 24) for k in range(12)]


def test_everything_by_default():
    assert chosen(ReadOptions(), CONSTANT) == list(zip(CONSTANT, range(12), strict=True))


def test_a_start_of_0_is_the_whole_video_as_without_it():
    """So a run that is to go on is not refused for having another start."""
    assert ReadOptions(start=Fraction(0)) == build(ReadOptions, {"start": "0:00"}) == ReadOptions()


def test_stride_counts_frames_and_keeps_their_times():
    assert chosen(ReadOptions(stride=5), CONSTANT) == [
        (Fraction(0), 0),
        (Fraction(5, 24), 5),
        (Fraction(10, 24), 10),
    ]
    assert [k for _, k in chosen(ReadOptions(stride=5, max_frames=2), CONSTANT)] == [0, 5]
    assert [k for _, k in chosen(ReadOptions(max_frames=50), CONSTANT)] == list(range(12))


def test_start_is_included_end_is_not_and_times_begin_at_zero():
    part = chosen(ReadOptions(start=Fraction(3, 24), end=Fraction(6, 24)), CONSTANT)
    assert part == [(Fraction(0), 3), (Fraction(1, 24), 4), (Fraction(2, 24), 5)]


@pytest.mark.parametrize(
    "fps",
    [Fraction(24), Fraction(12), Fraction(10), Fraction(7), Fraction(24000, 1001), Fraction(1, 2)],
)
def test_fps_gives_exactly_that_rate_and_the_nearest_frames(fps):
    part = chosen(ReadOptions(fps=fps), CONSTANT)
    assert [time for time, _ in part] == [k / fps for k in range(len(part))]
    assert (
        Fraction(23, 48) - 1 / fps < part[-1][0] <= Fraction(23, 48)
    )  # up to half of the last frame
    for time, index in part:
        assert abs(CONSTANT[index] - time) == min(abs(other - time) for other in CONSTANT)


def test_rounded_timestamps_choose_the_same_frames_as_exact_ones():
    milliseconds = [Fraction(round(time * 1000), 1000) for time in CONSTANT]
    for fps in (Fraction(24), Fraction(12), Fraction(8)):
        exact, rounded = (chosen(ReadOptions(fps=fps), t) for t in (CONSTANT, milliseconds))
        assert exact == rounded


def test_fps_holds_the_picture_where_a_variable_rate_stands_still():
    stops = [
        Fraction(0),
        Fraction(1, 10),
        Fraction(2, 10),
        Fraction(7, 10),
        Fraction(8, 10),
        Fraction(9, 10),
    ]
    part = chosen(ReadOptions(fps=Fraction(10)), stops, rate=10)
    assert [index for _, index in part] == [0, 1, 2, 2, 2, 2, 2, 3, 4, 5]
    part = chosen(ReadOptions(fps=Fraction(10)), stops, rate=10, last=Fraction(1, 2))
    assert [index for _, index in part] == [0, 1, 2, 2, 2, 2, 2, 3, 4, 5, 5, 5, 5, 5]


@pytest.mark.parametrize(
    "values",
    [
        {"start": Fraction(-1)},
        {"start": Fraction(2), "end": Fraction(2)},
        {"max_frames": 0},
        {"stride": 0},
        {"fps": Fraction(0)},
        {"sequence_rate": Fraction(-24)},
        {"fps": Fraction(10), "stride": 2},
    ],
)
def test_contradictions_are_refused(values):
    with pytest.raises(UsageError, match="expected"):
        ReadOptions(**values)


@pytest.mark.parametrize(
    "values",
    [
        {"frames": "7-3"},
        {"frames": "a-b"},
        {"frames": "-3"},
        {"frames": "3-7", "start": Fraction(1)},
        {"end": Fraction(0)},
    ],
)
def test_frames_that_make_no_sense_are_refused(values):
    with pytest.raises(UsageError, match="expected"):
        ReadOptions(**values)


def numbers_read(path, **options):
    return [index_of(frame.rgb) for frame in read_frames(path, SMALL, build(ReadOptions, options))]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("3-5", [3, 4, 5]),
        ("0-1", [0, 1]),
        ("0", [0]),
        ("22-", [22, 23]),
        ("20-99", [20, 21, 22, 23]),
    ],
)
@pytest.mark.parametrize("rate", [24, Fraction(24000, 1001)])
def test_frames_of_a_video_are_counted_from_0(tmp_path, rate, typed, expected):
    path = make_clip(tmp_path / "clip.mkv", frames=24, rate=rate)
    assert numbers_read(path, frames=typed) == expected
    assert count_frames(path, ReadOptions(frames=typed)) == len(expected)


@pytest.mark.parametrize("name", ["open.mp4", "cut.mp4", "b.ts", "b.avi"])
def test_frames_are_counted_as_they_are_shown(tmp_path, name):
    """With pictures stored out of order, after an edit list, and without an index."""
    path = tmp_path / name
    codec = "mpeg4" if path.suffix == ".avi" else "libx264"
    plain = make_clip(tmp_path / f"plain{path.suffix}", frames=40, codec=codec, options={"bf": "2"})
    part = ("-ss", "0.4") if name == "cut.mp4" else ()
    ffmpeg(*part, "-i", plain, "-c", "copy", path)
    whole = numbers_read(path)
    assert numbers_read(path, frames="7-9") == whole[7:10]
    with pytest.raises(InputError, match=f"has {len(whole)} frames, and got number 70"):
        numbers_read(path, frames="70-")


def test_frames_of_a_variable_rate_are_counted(tmp_path):
    times = [Fraction(k * k, 100) for k in range(9)]
    path = make_clip(tmp_path / "clip.mp4", times=times)
    assert numbers_read(path, frames="3-5") == [3, 4, 5]
    assert numbers_read(path, frames="7-20") == [7, 8]
    with pytest.raises(InputError, match="has 9 frames, and got number 9"):
        numbers_read(path, frames="9-")


def test_frames_of_images_are_those_of_their_names(tmp_path):
    for number in range(1001, 1009):
        Image.fromarray(picture(number - 1001, SMALL)).save(tmp_path / f"shot.{number}.png")
    path = tmp_path / "shot.####.png"
    assert numbers_read(path, frames="1003-1005") == [2, 3, 4]
    assert frame_numbers(path, ReadOptions(frames="1003-1005")) == [1003, 1004, 1005]
    assert numbers_read(path, frames="1007-") == [6, 7]
    for wrong in ("5-7", "1003-1020"):
        with pytest.raises(InputError, match="has the frames 1001 to 1008"):
            numbers_read(path, frames=wrong)


@pytest.fixture(scope="module")
def coded(tmp_path_factory):
    """Begins at 00:59:59:20 and lasts for 20 frames."""
    folder = tmp_path_factory.mktemp("coded")
    plain = make_clip(folder / "plain.mp4", frames=20, rate=24)
    ffmpeg("-i", plain, "-c", "copy", "-timecode", "00:59:59:20", folder / "coded.mov")
    return folder / "coded.mov"


def test_a_timecode_is_that_of_the_video(coded):
    assert numbers_read(coded, start="01:00:00:10") == [14, 15, 16, 17, 18, 19]
    assert numbers_read(coded, start="00:59:59:22", end="01:00:00:00") == [2, 3]
    assert numbers_read(coded, start="00:59:59:20", end="00:59:59:21") == [0]
    assert numbers_read(coded, end="0:00:00.09") == [0, 1, 2]
    for start, says in ("00:00:00:10", "from there on"), ("01:00:00:30", "frame 30"):
        with pytest.raises(InputError, match=f"begins at the timecode 00:59:59:20.*{says}"):
            numbers_read(coded, start=start)
    with pytest.raises(UsageError, match="later than the start"):
        numbers_read(coded, end="00:59:59:20")


def test_a_timecode_that_leaves_out_numbers_is_counted_so(tmp_path):
    path = tmp_path / "drop.mov"
    plain = make_clip(tmp_path / "plain.mp4", frames=12, rate=Fraction(30000, 1001))
    ffmpeg("-i", plain, "-c", "copy", "-timecode", "00:00:59;26", path)
    for typed in ("00:01:00;02", "00:01:00:02"):
        assert numbers_read(path, start=typed)[0] == 4


def test_a_timecode_of_a_video_without_one_is_refused(tmp_path):
    path = make_clip(tmp_path / "plain.mp4")
    with pytest.raises(InputError, match="has no timecode, and got 01:00:00:10"):
        numbers_read(path, start="01:00:00:10")
    with pytest.raises(UsageError, match="expected seconds, HH:MM:SS or a timecode"):
        numbers_read(path, start="01:00:00:1x")


def test_a_part_by_numbers_or_timecode_is_an_option_and_can_be_resumed(cli, tmp_path, coded):
    out, told = tmp_path / "d.npz", ["--method", "trivial-gradient", "--keep-work"]
    for options in ["--frames", "3-5"], ["--start", "00:59:59:23", "--end", "01:00:00:02"]:
        done = cli("run", coded, "--out", out, *told, *options, "--overwrite")
        assert done.code == 0, done.err
        with np.load(out) as made:
            assert len(made["depth"]) == 3
        again = cli("run", coded, "--out", tmp_path / "e.npy", "--work-dir",
                    tmp_path / "d.npz.work", *told, *options, "--resume")  # fmt: skip
        assert again.code == 0, again.err
        assert len(np.load(tmp_path / "e.npy")) == 3
        (tmp_path / "e.npy").unlink()
        (tmp_path / "e.npy.json").unlink()
    depth, _times = infer(coded, method="trivial-gradient", frames="3-5")
    assert len(depth) == 3
