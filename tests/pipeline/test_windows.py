"""Windows: which frames are denoised together, checked against the published loop's rule."""

import pytest

from depthcrafter_cli.pipeline.windows import Layout, count_windows, split


def by_the_published_rule(total: int, window: int, overlap: int) -> list[tuple[int, int]]:
    """Window k starts at k * stride while that is below total - overlap."""
    if total <= window:
        return [(0, total)]
    stride = window - overlap
    starts = range(0, total - overlap, stride)
    return [(start, min(start + window, total)) for start in starts]


@pytest.mark.parametrize(
    ("window", "overlap"), [(110, 25), (10, 4), (8, 3), (5, 4), (6, 5), (4, 1), (7, 0), (1, 0)]
)
def test_streamed_windows_are_the_published_ones_at_every_length(window: int, overlap: int):
    for total in range(1, 4 * window + 3):
        segments = list(split(iter(range(total)), Layout(window, overlap)))
        expected = by_the_published_rule(total, window, overlap)
        assert [(s.window.start, s.window.stop) for s in segments] == expected
        assert count_windows(total, window, overlap) == len(expected)
        assert [s.last for s in segments] == [False] * (len(segments) - 1) + [True]
        for filled in segments:
            assert filled.items == tuple(range(filled.window.start, filled.window.stop))
            assert filled.window.overlap == (overlap if filled.window.index else 0)


@pytest.mark.parametrize(
    ("window", "overlap"), [(110, 25), (10, 4), (5, 4), (6, 5), (4, 1), (7, 0), (1, 0)]
)
def test_windows_of_a_known_length_are_full_evenly_spread_and_as_many(window: int, overlap: int):
    for total in range(1, 4 * window + 3):
        layout = Layout(window, overlap, total)
        segments = list(split(iter(range(total)), layout))
        assert len(segments) == count_windows(total, window, overlap)
        assert all(len(s.items) == min(window, total) for s in segments)
        steps = [s.final for s in segments[:-1]]
        assert not steps or max(steps) - min(steps) <= 1
        assert all(window - step >= overlap for step in steps)
        assert [i for s in segments for i in s.items[: s.final]] == list(range(total))
        for index, filled in enumerate(segments):  # a pass goes on where it stopped
            rest = range(filled.window.start, total)
            assert list(split(iter(rest), layout, index)) == segments[index:]


@pytest.mark.parametrize("frames", [1, 9, 21, 22, 40])
def test_a_stream_of_another_length_than_was_told_is_cut_all_the_same(frames: int):
    segments = list(split(iter(range(frames)), Layout(10, 4, total=22)))
    assert [i for s in segments for i in s.items[: s.final]] == list(range(frames))
    assert all(len(s.items) <= 10 for s in segments)


def test_an_empty_stream_has_no_windows():
    assert list(split(iter(()), Layout(8, 3))) == []
    assert count_windows(0, 8, 3) == 0


def test_no_more_than_one_item_is_read_ahead_of_a_window():
    read = []
    segments = split((read.append(i) or i for i in range(100)), Layout(10, 4))
    next(segments)
    assert len(read) == 11
    next(segments)
    assert len(read) == 17
