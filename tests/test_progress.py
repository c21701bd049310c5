"""Rates and the time left, against runs whose course is known."""

import pytest

from depthcrafter_cli.progress import Meter, Progress, Reading, StageWork, spaced


class Clock:
    """A clock that goes on as told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


COSTS = {"condition": 0.5, "denoise": 4.0, "decode": 1.0, "write": 0.1}  # seconds a unit


def course(frames: int, windows: int, steps: int, begun: int = 0):
    """The events of a run of equal windows, each with the seconds it took."""
    each = frames // windows
    yield 3.0, Progress("load", 0, 1, "model")
    yield 5.0, Progress("load", 1, 1, "model")
    yield 0.0, Progress("condition", begun * each, frames)
    for window in range(begun, windows):
        for frame in range(each):
            yield COSTS["condition"], Progress("condition", window * each + frame + 1, frames)
        yield 0.0, Progress("denoise", window * steps, windows * steps, "steps")
        for step in range(steps):
            done = window * steps + step + 1
            yield COSTS["denoise"], Progress("denoise", done, windows * steps, "steps")
        yield 0.0, Progress("decode", window * each, frames)
        yield COSTS["decode"] * each, Progress("decode", (window + 1) * each, frames)
    yield 0.0, Progress("write", 0, frames)
    for frame in range(frames):
        yield COSTS["write"], Progress("write", frame + 1, frames)


def expected(frames: int, windows: int, steps: int, wrong: float = 1.0) -> dict[str, StageWork]:
    """The arithmetic's word; a machine may be ``wrong`` times as fast at decoding."""
    return {
        "condition": StageWork(frames, 0.5e9),
        "denoise": StageWork(windows * steps, 4e9),
        "decode": StageWork(frames, 1e9 * wrong),
        "write": StageWork(frames, seconds=0.1),
    }


def readings(work: dict[str, StageWork], **run: int) -> list[tuple[float, Reading]]:
    """(seconds that were truly left, what was told) at each event."""
    events = list(course(**run))
    clock = Clock()
    meter, told = Meter(work, clock), []
    left = sum(seconds for seconds, _ in events)
    for seconds, event in events:
        clock.now += seconds
        left -= seconds
        told.append((left, meter.read(event)))
    return told


def test_the_time_left_is_told_once_it_is_known_and_is_right_from_then_on():
    told = readings(expected(40, 4, 5), frames=40, windows=4, steps=5)
    first = next(index for index, (_, reading) in enumerate(told) if reading.eta is not None)
    assert told[first][1].event == Progress("denoise", 1, 20, "steps")
    for left, reading in told[first:]:
        assert reading.eta == pytest.approx(left, abs=0.2)


def test_arithmetic_that_is_wrong_about_a_stage_is_put_right_by_its_first_measurement():
    told = readings(expected(40, 4, 5, wrong=3.0), frames=40, windows=4, steps=5)
    after = [(left, reading) for left, reading in told if reading.event.done > 10]
    assert all(reading.eta == pytest.approx(left, abs=0.2) for left, reading in after)


@pytest.mark.parametrize("wrong", [0.1, 1.0, 10.0])
def test_the_share_that_is_done_never_falls_and_ends_at_one(wrong):
    told = readings(expected(40, 4, 5, wrong=wrong), frames=40, windows=4, steps=5)
    shares = [reading.share for _, reading in told]
    assert shares == sorted(shares) and shares[0] == 0 and shares[-1] == pytest.approx(1)


def test_a_resumed_run_starts_from_where_it_was_and_measures_only_what_it_does_itself():
    told = readings(expected(40, 4, 5), frames=40, windows=4, steps=5, begun=2)
    whole = 40 * 0.5 + 20 * 4 + 40 * 1 + 40 * 0.1
    assert told[-1][1].share == pytest.approx(1)
    known = [(left, reading) for left, reading in told if reading.eta is not None]
    assert known[0][0] < whole / 2
    late = [pair for pair in known if pair[1].event.stage in ("decode", "write")]
    assert all(reading.eta == pytest.approx(left, abs=0.2) for left, reading in late)


def test_without_a_length_neither_share_nor_time_left_is_made_up():
    meter = Meter({}, Clock())
    for done in range(5):
        reading = meter.read(Progress("condition", done, None))
        assert (reading.eta, reading.share) == (None, None)


def test_a_stage_alone_has_the_time_left_of_itself():
    clock = Clock()
    meter = Meter(clock=clock)
    assert meter.read(Progress("download", 500, 1000, "bytes")).eta is None  # continued
    clock.now += 5
    reading = meter.read(Progress("download", 600, 1000, "bytes"))
    assert (reading.rate, reading.eta) == (20, 20)


def test_the_first_and_the_last_event_of_a_stage_always_pass():
    heard: list[Progress] = []
    tell = spaced(heard.append, seconds=60)
    for stage in ("condition", "write"):
        for done in range(100):
            tell(Progress(stage, done, 99))
    assert [(event.stage, event.done) for event in heard] == [
        ("condition", 0), ("condition", 99), ("write", 0), ("write", 99)
    ]  # fmt: skip
