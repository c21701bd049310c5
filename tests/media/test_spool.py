"""The spool: exact, ordered, on disk, there again after a kill."""

import os
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
from limits import file_size_limit

from depthcrafter_cli import disk
from depthcrafter_cli.errors import OutputError
from depthcrafter_cli.media.spool import DisparitySpool, SpooledFilm


def disparity(frames, seed=0, shape=(12, 16)):
    return np.random.default_rng(seed).random((frames, *shape), dtype=np.float32)


def test_frames_come_back_exactly_in_order(tmp_path):
    values, times = disparity(11), [Fraction(k * 1001, 30000) for k in range(11)]
    with DisparitySpool(tmp_path / "spool") as spool:
        spool.append(values[:8], times[:8])
        spool.append(values[8:], times[8:])
        for _ in range(2):  # may be read more than once
            frames = list(spool.frames())
            np.testing.assert_array_equal(np.stack([frame for frame, _ in frames]), values)
            assert [time for _, time in frames] == times
        assert len(spool) == 11
        assert (spool.minimum, spool.maximum) == (float(values.min()), float(values.max()))


def test_writing_and_reading_may_alternate(tmp_path):
    values = disparity(4)
    with DisparitySpool(tmp_path / "spool") as spool:
        spool.append(values[:2], [Fraction(0), Fraction(1)])
        assert len(list(spool.frames())) == 2
        spool.append(values[2:], [Fraction(2), Fraction(3)])
        np.testing.assert_array_equal(np.stack([frame for frame, _ in spool.frames()]), values)


@pytest.mark.parametrize(
    ("times", "unit"),
    [
        ([Fraction(0), Fraction(1, 24), Fraction(2, 24)], Fraction(1, 24)),
        ([Fraction(0), Fraction(1001, 30000)], Fraction(1, 30000)),
        ([Fraction(0), Fraction(1, 24), Fraction(1, 25)], Fraction(1, 600)),
        (
            [Fraction(0), Fraction(1, 999_983), Fraction(1, 999_979)],
            Fraction(1, 1_000_000),
        ),  # no common unit worth having
    ],
)
def test_time_base_is_the_common_unit(tmp_path, times, unit):
    with DisparitySpool(tmp_path / "spool") as spool:
        spool.append(disparity(len(times)), times)
        assert spool.time_base == unit


def test_percentiles_equal_those_of_the_whole_array(tmp_path):
    values = disparity(20, shape=(64, 64)) ** 3
    with DisparitySpool(tmp_path / "spool") as spool:
        spool.append(values, [Fraction(k) for k in range(20)])
        for low, high in ((2, 98), (0, 100), (25, 50)):
            expected = np.percentile(values, [low, high])
            np.testing.assert_allclose(
                SpooledFilm([spool]).percentiles(low, high), expected, atol=5e-4
            )


def test_a_constant_clip_has_its_value_as_every_percentile(tmp_path):
    with DisparitySpool(tmp_path / "spool") as spool:
        spool.append(np.full((2, 4, 4), 0.25, dtype=np.float32), [Fraction(0), Fraction(1)])
        assert SpooledFilm([spool]).percentiles(2, 98) == (0.25, 0.25)


def test_memory_does_not_grow_with_the_clip(tmp_path):
    peaks = []
    for count in (5, 50):
        with DisparitySpool(tmp_path / "spool") as spool:
            tracemalloc.start()
            for index in range(count):
                spool.append(disparity(1, index, (240, 320)), [Fraction(index, 24)])
        SpooledFilm([spool]).percentiles(2, 98)
        with spool:
            spool.clear()
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert peaks[1] < 1.05 * peaks[0]


def test_what_was_appended_is_there_when_opened_again(tmp_path):
    values, times = disparity(7), [Fraction(k, 25) for k in range(7)]
    with DisparitySpool(tmp_path / "spool") as spool:
        spool.append(values[:4], times[:4])
    with DisparitySpool(tmp_path / "spool") as spool:
        assert (len(spool), spool.maximum) == (4, float(values[:4].max()))
        spool.append(values[4:], times[4:])
    with DisparitySpool(tmp_path / "spool") as spool:
        assert [time for _, time in spool.frames()] == times
        assert spool.time_base == Fraction(1, 25)
        np.testing.assert_array_equal(np.stack([frame for frame, _ in spool.frames()]), values)


@pytest.mark.parametrize("damage", ["torn", "garbled", "header"])
def test_a_batch_that_a_kill_tore_is_dropped_and_written_again(tmp_path, damage):
    path, values = tmp_path / "spool", disparity(6)
    with DisparitySpool(path) as spool:
        spool.append(values[:3], [Fraction(k) for k in range(3)])
        whole = path.stat().st_size
        spool.append(values[3:], [Fraction(k) for k in range(3, 6)])
    data = bytearray(path.read_bytes())
    if damage == "garbled":
        data[-5] ^= 255
    else:
        del data[whole + (10 if damage == "header" else 200) :]
    path.write_bytes(data)
    with DisparitySpool(path) as spool:
        assert len(spool) == 3 and path.stat().st_size == whole
        spool.append(values[3:], [Fraction(k) for k in range(3, 6)])
        np.testing.assert_array_equal(np.stack([frame for frame, _ in spool.frames()]), values)


@pytest.fixture
def three(tmp_path):
    """A spool of three batches of two frames, where each begins, and its frames."""
    path, starts = tmp_path / "spool", []
    with DisparitySpool(path, key=7) as spool:
        for index in range(3):
            starts.append(path.stat().st_size)
            spool.append(disparity(2, index), [Fraction(2 * index), Fraction(2 * index + 1)])
        frames = [frame.copy() for frame, _ in spool.frames()]
    return path, [*starts, path.stat().st_size], frames


def read(path, key=7):
    """What a spool gives, and the smallest and largest value it tells."""
    with DisparitySpool(path, key=key) as spool:
        return [frame.copy() for frame, _ in spool.frames()], (spool.minimum, spool.maximum)


def test_any_flipped_bit_of_a_header_drops_what_follows(three):
    path, starts, frames = three
    whole = path.read_bytes()
    for record in range(3):
        for place in range(52):
            data = bytearray(whole)
            data[starts[record] + place] ^= 1 << place % 8
            path.write_bytes(data)
            given, (low, high) = read(path)
            assert len(given) == 2 * record, (record, place)
            np.testing.assert_array_equal(given, frames[: 2 * record] or np.empty((0,)))
            if given:
                assert (low, high) == (float(np.min(given)), float(np.max(given)))
            assert path.stat().st_size == starts[record]


def test_a_damaged_batch_is_noticed_when_read_and_dropped_for_the_next_time(three):
    path, starts, frames = three
    data = bytearray(path.read_bytes())
    data[starts[1] + 300] ^= 1
    path.write_bytes(data)
    with DisparitySpool(path, key=7, read_only=True) as spool:
        with pytest.raises(OutputError, match="damaged"):
            list(spool.frames())
        assert path.stat().st_size == starts[-1]
    with pytest.raises(OutputError, match="resume"):
        read(path)
    np.testing.assert_array_equal(read(path)[0], frames[:2])


@pytest.mark.parametrize(
    ("order", "kept"), [((0, 2), 2), ((1, 2), 0), ((0, 0, 1, 2), 2), ((1, 0, 2), 0), ((0, 2, 1), 2)]
)
def test_batches_that_were_moved_removed_or_doubled_are_not_taken(three, order, kept):
    path, starts, frames = three
    whole = path.read_bytes()
    path.write_bytes(b"".join(whole[starts[k] : starts[k + 1]] for k in order))
    given = read(path)[0]
    assert len(given) == kept
    np.testing.assert_array_equal(given, frames[:kept] or np.empty((0,)))


def test_the_spool_of_another_run_is_not_taken(three):
    path, _starts, frames = three
    assert len(read(path)[0]) == len(frames) == 6
    assert read(path, key=8)[0] == []


@pytest.mark.skipif(disk.WINDOWS, reason="Windows opens no folder to stand for such a disk")
def test_a_disk_that_fails_while_reading_is_one_sentence(three):
    path, _starts, _frames = three
    folder = os.open(path.parent, os.O_RDONLY)
    with DisparitySpool(path, key=7, read_only=True) as spool:
        os.dup2(folder, spool._file.fileno())  # which the system does not read as a file
        with pytest.raises(OutputError, match=r"cannot be read \(Is a directory\)"):
            list(spool.frames())
    os.close(folder)


def test_no_room_is_one_sentence(tmp_path):
    making, full = DisparitySpool(tmp_path / "spool"), file_size_limit(20_000)
    with pytest.raises(OutputError, match="limited"), making as spool, full:
        spool.append(disparity(100), [Fraction(k) for k in range(100)])
    with DisparitySpool(tmp_path / "spool") as spool:
        assert len(spool) == 0


def test_a_missing_folder_is_one_sentence(tmp_path):
    with (
        pytest.raises(OutputError, match="cannot be written"),
        DisparitySpool(tmp_path / "no" / "spool"),
    ):
        pass


def test_values_that_are_no_numbers_are_refused(tmp_path):
    values = disparity(2)
    values[1, 0, 0] = np.nan
    with (
        DisparitySpool(tmp_path / "spool") as spool,
        pytest.raises(ValueError, match="not finite"),
    ):
        spool.append(values, [Fraction(0), Fraction(1)])


def test_percentiles_of_a_nearly_flat_clip(tmp_path):
    values = np.float32(0.75) + disparity(3) * np.float32(5e-4)
    with DisparitySpool(tmp_path / "spool") as spool:
        spool.append(values, [Fraction(k) for k in range(3)])
        found = SpooledFilm([spool]).percentiles(2, 98)
    assert found == pytest.approx(np.percentile(values.astype(np.float64), [2, 98]), abs=1e-6)
