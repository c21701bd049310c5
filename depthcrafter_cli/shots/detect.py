"""Where a film is cut, found in one pass over small pictures; numpy only.

Three rules, each measured in ``benchmarks/cuts.py``:

- **Cut**: of the four frames before and the four from there on, none resembles one of the other
  side. So a flash, after which the old picture comes back, is no cut; nor is a whip pan, in which
  neighbours differ as much all along.
- **Dissolve**: the frame in the middle is the mean of the frames at both ends, and so are the
  quarters, which no camera move does. It belongs to the shot it leads to.
- **Fade**: a run of frames without structure, with other pictures before it than after it. The
  next shot begins with the first frame that has some.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from depthcrafter_cli.types import RgbImage, Size

SIDE = 64
"""Pixels of the longer side of the pictures that are compared."""

_CELL = 4  # pixels that are averaged: noise and small motion vanish
_SIDE_FRAMES = 4  # compared on either side of a cut: a flash is shorter
_REACH = 12  # frames before and after one that its rules look at; half of the longest dissolve
_STEP = 0.085  # mean difference of neighbours at a cut, of a range of 1 ...
_DARK_STEP = 0.6  # ... or so many times the contrast, where that is less
_APART = 0.7  # times that: at least so far is everything before from everything after
_OUTSTANDING = 2.2  # times the median of the differences around
_UNLIKE = 0.12  # 1 - correlation of brightness ...
_UNLIKE_LIT, _FLASH = 0.6, 0.15  # ... where a flash, so much brighter, hides what moves
_BLACK = 0.03  # brightness
_FLAT = 0.015  # standard deviation of a frame without structure
_DISSOLVE_ENDS, _DISSOLVE_UNLIKE, _DISSOLVE_ERROR = 0.09, 0.3, 0.17
_MIXED = 0.06  # share of the way from one shot to the other
_APART_MIDDLES = 4  # frames between the middles of two dissolves
_FADE_ENDS, _FADE_FRAMES = 0.05, 8


def picture_size(video: Size, longer: int = SIDE) -> Size:
    """A video's size with the ``longer`` side as given; by default that at which it is compared."""
    scale = longer / max(video.height, video.width)
    height, width = (max(_CELL, round(side * scale)) for side in (video.height, video.width))
    return Size(height, width)


def find_cuts(pictures: Iterable[RgbImage]) -> list[int]:
    """The frames before which a film is cut, rising, from all of its small pictures in order.

    ``pictures`` are uint8 [h, w, 3] of :func:`picture_size`; some dozens are held at a time.
    """
    detector = _Detector()
    for picture in pictures:
        detector.add(_Look.of(picture))
    return detector.finish()


@dataclass(frozen=True)
class _Look:
    """What is kept of a frame: cells [n, 3] and their brightness [n], from 0 to 1."""

    cells: npt.NDArray[np.float32]
    brightness: npt.NDArray[np.float32]
    contrast: float
    """Standard deviation of the brightness."""

    @staticmethod
    def of(picture: RgbImage) -> _Look:
        height, width = (side // _CELL for side in picture.shape[:2])
        whole = picture[: height * _CELL, : width * _CELL].astype(np.float32)
        cells = whole.reshape(height, _CELL, width, _CELL, 3).mean((1, 3)).reshape(-1, 3) / 255
        brightness = cells.mean(1)
        return _Look(cells, brightness, float(brightness.std()))

    @property
    def flat(self) -> bool:
        """Whether it shows nothing: black, white, or one colour."""
        return self.contrast < _FLAT

    def distance(self, other: _Look) -> float:
        """Mean absolute difference, from 0 to 1."""
        return float(np.abs(self.cells - other.cells).mean())

    def unlikeness(self, other: _Look) -> float:
        """1 - correlation of brightness: 0 for the same picture brighter, 1 for unrelated ones.

        What is black in both, such as the bars of a letterbox, doesn't count.
        """
        if self.flat or other.flat:
            return 0.0 if self.flat and other.flat else 1.0
        lit = np.maximum(self.brightness, other.brightness) > _BLACK
        one, two = self.brightness[lit], other.brightness[lit]
        one, two = one - one.mean(), two - two.mean()
        scale = float(np.sqrt((one @ one) * (two @ two)))
        return 1 - float(one @ two) / scale if scale else 0.0


class _Detector:
    """The last frames' looks, and what was found in those that have passed."""

    def __init__(self) -> None:
        self._looks: dict[int, _Look] = {}
        self._steps: dict[int, float] = {}  # distance from the frame before
        self._count = 0
        self._cuts: list[int] = []
        self._dissolving: list[tuple[int, int, int]] = []  # middle, half its length, first frame
        self._flat_since: int | None = None
        self._fades: list[int] = []

    def add(self, look: _Look) -> None:
        now = self._count
        self._looks[now] = look
        self._steps[now] = look.distance(self._looks[now - 1]) if now else 0.0
        self._count += 1
        if now >= _REACH:
            self._judge(now - _REACH)
        self._looks.pop(now - 2 * _REACH - 1, None)
        self._steps.pop(now - 2 * _REACH - 1, None)

    def finish(self) -> list[int]:
        """All cuts; of those close together, the hard one, or the first, is kept."""
        for at in range(max(0, self._count - _REACH), self._count):
            self._judge(at)
        soft = sorted([*self._dissolves(), *self._fades])
        kept = list(self._cuts)
        for frame in soft:
            if all(abs(frame - other) > _FADE_FRAMES for other in kept):
                kept.append(frame)
        return sorted(kept)

    def _judge(self, at: int) -> None:
        if at and self._is_cut(at):
            self._cuts.append(at)
        if (found := self._dissolve_around(at)) is not None:
            self._dissolving.append((at, *found))
        self._note_flat(at)

    def _is_cut(self, at: int) -> bool:
        """Whether nothing before ``at`` resembles anything from there on."""
        step = self._steps[at]
        contrast = max(self._looks[at - 1].contrast, self._looks[at].contrast)
        least = min(_STEP, _DARK_STEP * contrast)
        if step < least or (self._cuts and at - self._cuts[-1] < 2):
            return False
        before = range(max(0, at - _SIDE_FRAMES), at)
        after = range(at, min(self._count, at + _SIDE_FRAMES))
        sides = [[self._steps[i] for i in side[1:]] for side in (before, after)]
        # What moves all along on one side, as in a whip pan, is no cut where it begins or ends.
        moving = max((min(side) for side in sides if len(side) > 1), default=0.0)
        usual = float(np.median(sides[0] + sides[1])) if any(sides) else 0.0
        if step < _OUTSTANDING * max(usual, moving):
            return False
        pairs = [(self._looks[i], self._looks[j]) for i in before for j in after]
        unlike = _UNLIKE_LIT if self._is_flash(at, before, after) else _UNLIKE
        return min(one.distance(other) for one, other in pairs) >= _APART * least and (
            min(one.unlikeness(other) for one, other in pairs) > unlike
        )

    def _is_flash(self, at: int, before: range, after: range) -> bool:
        """Whether light comes or goes at ``at`` that isn't there some frames away."""
        level = {i: float(self._looks[i].brightness.mean()) for i in (*before, *after)}
        rise = level[at] - level[at - 1]
        dark, light = (before, after) if rise > 0 else (after, before)
        least = min(level[i] for i in light)
        return abs(rise) > _FLASH and least < max(level[i] for i in dark) + abs(rise) / 2

    def _dissolve_around(self, at: int) -> tuple[int, int] | None:
        """Half the length of the longest dissolve with its middle at a frame, and its begin."""
        found = None
        for half in range(4, _REACH + 1, 2):
            first, last = self._looks.get(at - half), self._looks.get(at + half)
            if first is None or last is None or first.flat or last.flat:
                break
            ends = first.distance(last)
            if ends < _DISSOLVE_ENDS or first.unlikeness(last) < _DISSOLVE_UNLIKE:
                continue
            error = max(
                self._mixture_error(first, last, at + half * quarter // 2, (2 + quarter) / 4)
                for quarter in (-1, 0, 1)
            )
            if error / ends < _DISSOLVE_ERROR:
                found = half, self._first_mixed(first, at, half, ends)
        return found

    def _first_mixed(self, first: _Look, at: int, half: int, ends: float) -> int:
        """The first frame of a dissolve that is no longer the shot before it."""
        inside = range(at - half + 1, at)
        mixed = (i for i in inside if first.distance(self._looks[i]) > _MIXED * ends)
        return next(mixed, at)

    def _mixture_error(self, first: _Look, last: _Look, at: int, share: float) -> float:
        """How far a frame is from the mixture of two others, ``share`` of it the last."""
        mixture = (1 - share) * first.cells + share * last.cells
        return float(np.abs(self._looks[at].cells - mixture).mean())

    def _dissolves(self) -> Iterator[int]:
        """The first frame of each dissolve: of neighbouring finds, of the longest."""
        longest: tuple[int, int, int] | None = None
        last = 0
        for found in self._dissolving:
            middle, half, _first = found
            if longest is not None and middle - last > _APART_MIDDLES:
                yield longest[2]
                longest = None
            if longest is None or half > longest[1]:
                longest = found
            last = middle
        if longest is not None:
            yield longest[2]

    def _note_flat(self, at: int) -> None:
        """Follow runs of flat frames, and see at the end of one whether it parts two shots."""
        if self._looks[at].flat:
            self._flat_since = at if self._flat_since is None else self._flat_since
            return
        start, self._flat_since = self._flat_since, None
        if not start:  # nothing flat just before, or a film that begins so
            return
        before = self._looks.get(max(0, start - _FADE_FRAMES)) or next(iter(self._looks.values()))
        after = self._looks[min(self._count - 1, at - 1 + _FADE_FRAMES)]
        if before.distance(after) > _FADE_ENDS and before.unlikeness(after) > _UNLIKE:
            self._fades.append(at)
