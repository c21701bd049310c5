"""What the numbers of depth are over time, frame by frame, without any truth."""

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np

from depthcrafter_cli.types import Disparity, ValueRange

_MOST_PIXELS = 1 << 16  # of a frame: more would hardly move a percentile
_LARGEST = 1e30  # beyond, sums and differences of float32 may be infinite
_LOW, _HIGH = 2.0, 98.0  # percentiles: what lies beyond is a few pixels


def every(pixels: int) -> int:
    """Every how many-th row and column is looked at, of a frame of so many pixels."""
    return max(1, round(math.sqrt(pixels / _MOST_PIXELS)))


def sound(frame: Disparity) -> Disparity:
    """The frame itself, or one with 0 where values are not finite or too large to count with."""
    whole = np.abs(frame) < _LARGEST
    return frame if whole.all() else np.where(whole, frame, np.float32(0))


@dataclass(frozen=True)
class FrameNumbers:
    """Of one frame: the range of nearly all values, their middle, and how much they changed.

    ``change`` is the mean absolute difference from the frame before, in the frames' unit; None for
    the first frame of a shot.
    """

    low: float
    median: float
    high: float
    change: float | None


class FrameCounter:
    """Takes the frames of depth one after the other; ``shots`` are the first frames of shots."""

    def __init__(self, shots: Collection[int]) -> None:
        self._shots = set(shots)
        self._before: Disparity | None = None
        self.numbers: list[FrameNumbers] = []

    def add(self, frame: Disparity) -> None:
        """Take the next frame, float32 [H, W]."""
        step = every(frame.size)
        part = sound(frame[::step, ::step])
        low, median, high = np.percentile(part, (_LOW, 50, _HIGH))
        change = None
        if self._before is not None and len(self.numbers) not in self._shots:
            change = float(np.abs(part - self._before).mean())
        self.numbers.append(FrameNumbers(float(low), float(median), float(high), change))
        self._before = part


def range_of(numbers: Iterable[FrameNumbers]) -> ValueRange:
    """The range of nearly all values of some frames."""
    lows, highs = zip(*((each.low, each.high) for each in numbers), strict=True)
    return ValueRange(min(lows), max(highs))


def frame_numbers(frames: Iterable[Disparity], shots: Collection[int]) -> list[FrameNumbers]:
    """Return the numbers of each frame, float32 [H, W] all of one size."""
    counter = FrameCounter(shots)
    for frame in frames:
        counter.add(frame)
    return counter.numbers
