"""Which frames are chosen, from timestamps alone."""

from fractions import Fraction

import pytest

from depthcrafter_cli.errors import UsageError
from depthcrafter_cli.media.selection import ReadOptions, select


def chosen(options, times, rate=24, last=None):
    until = [*times[1:], times[-1] + (last or Fraction(1, rate))]
    shown = [(time, end - time, k) for k, (time, end) in enumerate(zip(times, until, strict=True))]
    selected = select(shown, options, Fraction(1, rate))
    return [(time, index) for time, _duration, index in selected]


CONSTANT = [Fraction(k, 24) for k in range(12)]


def test_everything_by_default():
    assert chosen(ReadOptions(), CONSTANT) == list(zip(CONSTANT, range(12), strict=True))


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
