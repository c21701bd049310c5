"""What is wrong with depth, as far as that shows without any truth.

All is measured in shares of a shot's range (2nd to 98th percentile), frame by frame, on some of
the pixels. A finding is a sentence; depth that is as it should be has none.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from depthcrafter_cli.evaluation.alignment import Array
from depthcrafter_cli.evaluation.flow import flow_back, warped
from depthcrafter_cli.evaluation.frames import FrameCounter, FrameNumbers, range_of, sound
from depthcrafter_cli.types import Disparity, RgbImage, ValueRange

JUMP, JUMP_TIMES = 0.02, 4.0  # of the range, and as many times the change around
SHIFT, SHIFT_TIMES = 0.04, 3.0  # the same of what changes from before a join to after it
FLICKER = 0.01  # of the range, of what stands still
UNSTEADY = 0.05  # of the range, of what moves with the picture: true depth of wild scenes has 0.03
CLIPPED = 0.03  # of the pixels: the range of a percentile leaves out 0.02
OTHER_SCALE = 3.0  # times the range of the other shots
_AROUND = 6  # frames on each side that a change is compared with
_STILL_LEVELS, _STILL_SHARE = 3, 0.02  # of 255 that a still pixel may change, and least share
_SAME_PICTURE = 2.0  # times the change around: beyond, the picture jumps too


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: its ``kind``, the frame it begins at, its size, and a sentence."""

    kind: str
    frame: int
    size: float
    says: str


@dataclass(frozen=True)
class Measures:
    """What was measured of one shot, in shares of its range; None where it could not be.

    ``change`` is the mean from frame to frame, ``flicker`` that of what stands still, ``unsteady``
    that of what moves with the picture. ``near`` and ``far`` are shares of pixels at the ends.
    """

    start: int
    frames: int
    low: float
    high: float
    change: float | None
    flicker: float | None
    unsteady: float | None
    near: float
    far: float


@dataclass
class _Series:
    """Numbers of one frame each, None where there is none."""

    picture_change: list[float | None] = field(default_factory=list)
    still: list[float | None] = field(default_factory=list)
    moved: list[float | None] = field(default_factory=list)
    shift: list[float | None] = field(default_factory=list)
    ends: list[tuple[float, float]] = field(default_factory=list)
    broken: list[int] = field(default_factory=list)


class Checker:
    """Takes depth frame by frame, with its pictures if there are any, and tells what is wrong.

    ``shots`` are the first frames of each, ``joins`` those of windows, which share ``overlap``
    frames with the window before. ``ranges`` are the numbers that are shown as 0 and 1, of each
    shot, or none. ``flow`` says that optical flow is to be followed.
    """

    def __init__(
        self,
        shots: Sequence[int],
        joins: Sequence[int] = (),
        overlap: int = 0,
        ranges: Sequence[ValueRange] = (),
        *,
        flow: bool = False,
    ) -> None:
        self._shots, self._joins, self._overlap = shots, joins, overlap
        self._ranges, self._flow = ranges, flow
        self._counter = FrameCounter(shots)
        self._series = _Series()
        self._depths: deque[Disparity] = deque(maxlen=max(3, overlap + 2))
        self._pictures: deque[RgbImage] = deque(maxlen=3)
        self._count = 0

    def add(self, depth: Disparity, picture: RgbImage | None = None) -> None:
        """Take the next frame: depth float32 [H, W], and its picture uint8 [H, W, 3]."""
        found = self._series
        given, depth = depth, sound(depth)
        if depth is not given:
            found.broken.append(self._count)
        if self._count in self._shots:
            self._depths.clear()
            self._pictures.clear()
        self._counter.add(depth)
        self._depths.append(depth)
        found.ends.append(self._at_ends(depth))
        reaches_back = self._overlap and len(self._depths) >= self._overlap + 2
        found.shift.append(self._shift(depth) if reaches_back else None)
        for series in (found.picture_change, found.moved, found.still):
            series.append(None)
        if picture is not None:
            self._pictures.append(picture)
            self._compare_pictures()
        elif len(self._depths) > 2:  # most pixels stand still, or change at a steady pace
            found.still[-2] = float(np.median(np.abs(self._bend())))
        self._count += 1

    def _shift(self, depth: Disparity) -> float:
        """The change of most pixels since before the overlap."""
        return float(np.median(np.abs(depth - self._depths[-(self._overlap + 2)])))

    def _compare_pictures(self) -> None:
        if len(self._pictures) < 2:
            return
        found, pictures = self._series, self._pictures
        before, now = pictures[-2], pictures[-1]
        found.picture_change[-1] = _mean(now.astype(np.float32), before.astype(np.float32))
        if self._flow:
            way, trusted = flow_back(now, before)
            if trusted.any():
                apart = np.abs(warped(self._depths[-2], way) - self._depths[-1])
                found.moved[-1] = float(apart[trusted].mean())
        if len(pictures) == 3 and len(self._depths) > 2:
            still = _still(pictures[0], pictures[1]) & _still(pictures[1], pictures[2])
            if still.mean() > _STILL_SHARE:
                found.still[-2] = float(np.abs(self._bend())[still].mean())

    def _bend(self) -> Array:
        """How far the frame before is from the middle of its neighbours."""
        one, middle, other = self._depths[-3], self._depths[-2], self._depths[-1]
        return middle - (one + other) / 2

    def _at_ends(self, depth: Disparity) -> tuple[float, float]:
        """The shares of pixels beyond the far end of the shot's range, and at or beyond the near.

        Many may be at the far end by right: the sky.
        """
        if not self._ranges:
            return 0.0, float(np.mean(depth == depth.max()))
        values = self._ranges[bisect_right(self._shots, self._count) - 1]
        least = 1e-6 * abs(values.high - values.low)
        far, near = depth < values.low - least, depth >= values.high - least
        return float(far.mean()), float(near.mean())

    @property
    def numbers(self) -> Sequence[FrameNumbers]:
        """Those of each frame so far."""
        return self._counter.numbers

    def measures(self) -> list[Measures]:
        """What was measured, by shot."""
        result = []
        for start, stop in pairwise([*self._shots, self._count]):
            numbers = self._counter.numbers[start:stop]
            values = range_of(numbers)
            span = (values.high - values.low) or 1.0
            part = slice(start, stop)
            ends = np.array(self._series.ends[part])
            changes = [each.change for each in numbers]
            result.append(
                Measures(
                    start, stop - start, values.low, values.high, _share(changes, span, np.mean),
                    _share(self._series.still[part], span), _share(self._series.moved[part], span),
                    float(ends[:, 1].mean()), float(ends[:, 0].mean()),
                )
            )  # fmt: skip
        return result

    def findings(self) -> list[Finding]:
        """All that is wrong, in the order of the frames."""
        measures = self.measures()
        found = [*self._broken(), *_other_scales(measures)]
        for shot in measures:
            if shot.high == shot.low:
                where = f"from frame {shot.start} on" if len(measures) > 1 else "in all frames"
                says = f"Depth is the same everywhere {where}."
                found.append(Finding("constant", shot.start, 0.0, says))
                continue
            jumps = self._jumps(shot)
            found += [*jumps, *self._shifts(shot, [jump.frame for jump in jumps])]
            found += _flickers(shot, len(measures) > 1)
            found += _clipped(shot, len(measures) > 1)
        return sorted(found, key=lambda each: each.frame)

    def _broken(self) -> list[Finding]:
        frames = self._series.broken
        if not frames:
            return []
        several = f"{len(frames)} frames, from {frames[0]} on, hold"
        which = several if len(frames) > 1 else f"Frame {frames[0]} holds"
        says = f"{which} values that are not finite, or beyond 1e30."
        return [Finding("not finite", frames[0], float(len(frames)), says)]

    def _jumps(self, shot: Measures) -> list[Finding]:
        """Frames from which on depth is another one at once."""
        found = []
        changes = [each.change for each in self._counter.numbers]
        span = shot.high - shot.low
        for frame in range(shot.start + 1, shot.start + shot.frames):
            size, around = (changes[frame] or 0.0) / span, _around(changes, frame, shot) / span
            if size < JUMP or size < JUMP_TIMES * around:
                continue
            picture = self._series.picture_change
            moved = _around(picture, frame, shot)
            cut = moved > 0 and (picture[frame] or 0.0) > _SAME_PICTURE * moved
            join = any(join <= frame <= join + self._overlap for join in self._joins)
            why = "where windows join" if join else "where no window is known to begin"
            if cut:
                why = "and so does the picture: if that is a cut, name it by `cuts`"
            says = f"Depth jumps by {size:.1%} of its range at frame {frame}, {why}."
            found.append(Finding("seam" if join and not cut else "jump", frame, size, says))
        return found

    def _shifts(self, shot: Measures, jumps: Sequence[int]) -> list[Finding]:
        """Joins without a jump over which depth changes more than elsewhere in as many frames."""
        found, lag, span = [], self._overlap + 1, shot.high - shot.low
        stop = shot.start + shot.frames
        after = {join + self._overlap for join in self._joins if shot.start < join < stop - lag}
        shifts = self._series.shift
        elsewhere = [
            shifts[frame] for frame in range(shot.start, stop)
            if not any(abs(frame - join) <= lag for join in after)
        ]  # fmt: skip
        usual = _share(elsewhere, span) or 0.0
        for frame in sorted(after):
            if any(abs(frame - jump) <= lag for jump in jumps):
                continue
            size = (shifts[frame] or 0.0) / span
            if elsewhere and size > max(SHIFT, SHIFT_TIMES * usual):
                first = frame - self._overlap
                says = (
                    f"Depth shifts by {size:.1%} of its range from frame {first} to {frame}, where "
                    f"windows join: elsewhere it is {usual:.1%} in as many frames."
                )
                found.append(Finding("seam", first, size, says))
        return found


def _flickers(shot: Measures, several: bool) -> list[Finding]:
    where = _where(shot, several)
    if shot.flicker is not None and shot.flicker > FLICKER:
        says = (
            f"Depth flickers{where}: what stands still changes by {shot.flicker:.1%} of the range."
        )
        return [Finding("flicker", shot.start, shot.flicker, says)]
    if shot.unsteady is not None and shot.unsteady > UNSTEADY:
        says = (
            f"Depth does not follow the picture{where}: along its motion it changes by "
            f"{shot.unsteady:.1%} of the range a frame."
        )
        return [Finding("unsteady", shot.start, shot.unsteady, says)]
    return []


def _clipped(shot: Measures, several: bool) -> list[Finding]:
    found = []
    for share, end in ((shot.near, "nearest"), (shot.far, "farthest")):
        if share > CLIPPED:
            says = (
                f"Depth is clipped{_where(shot, several)}: {share:.1%} of the pixels are at the "
                f"{end} end of the range, where all look the same."
            )
            found.append(Finding("clipped", shot.start, share, says))
    return found


def _other_scales(measures: Sequence[Measures]) -> list[Finding]:
    """Shots whose range is much larger or smaller than that of the others."""
    spans = np.array([shot.high - shot.low for shot in measures])
    found = []
    for index, shot in enumerate(measures):
        others = np.delete(spans, index)
        usual = float(np.median(others)) if others.size else 0.0
        if not usual or not spans[index]:
            continue
        times = float(spans[index] / usual)
        if not 1 / OTHER_SCALE <= times <= OTHER_SCALE:
            says = (
                f"Shot {index}, frames {shot.start} to {shot.start + shot.frames - 1}, has another "
                f"scale: its range is {spans[index]:.3g}, that of the others about {usual:.3g}."
            )
            found.append(Finding("scale", shot.start, times, says))
    return found


def _where(shot: Measures, several: bool) -> str:
    last = shot.start + shot.frames - 1
    return f" in frames {shot.start} to {last}" if several else ""


def _around(series: Sequence[float | None], frame: int, shot: Measures) -> float:
    """The median of the numbers near a frame, in its shot, without its own."""
    stop = min(shot.start + shot.frames, frame + _AROUND + 1)
    near = [series[at] for at in range(max(shot.start, frame - _AROUND), stop) if at != frame]
    known = [value for value in near if value is not None]
    return float(np.median(known)) if known else 0.0


def _share(
    series: Sequence[float | None],
    span: float,
    middle: Callable[[Sequence[float]], Any] = np.median,
) -> float | None:
    """The middle of what is known, as a share of the range."""
    known = [value for value in series if value is not None]
    return float(middle(known)) / span if known else None


def _mean(one: Array, other: Array) -> float:
    return float(np.abs(one - other).mean())


def _still(one: RgbImage, other: RgbImage) -> Array:
    apart = np.abs(one.astype(np.int16) - other.astype(np.int16)).max(-1)
    still: Array = apart <= _STILL_LEVELS
    return still
