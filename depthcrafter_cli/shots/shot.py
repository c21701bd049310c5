"""A shot is the frames between two cuts; depth never crosses one."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise


@dataclass(frozen=True)
class Shot:
    """The frames ``start`` to ``stop`` of a video, ``stop`` not included.

    ``index`` counts the video's shots from 0, ``time`` is when ``start`` is shown, in seconds from
    the video's first frame.
    """

    index: int
    start: int
    stop: int
    time: Fraction

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class Timeline:
    """When each frame of a video is shown.

    ``times`` are seconds from the first frame, one a frame, rising; ``rate`` is frames a second as
    the container labels them. ``first_pts`` is the first frame's time stamp as the container
    stores it, in units of ``time_base`` seconds. ``end`` is when the last frame ends, in seconds
    from the first one, None where its pictures were not read.
    """

    times: Sequence[Fraction]
    rate: Fraction
    time_base: Fraction = Fraction(1)
    first_pts: int = 0
    end: Fraction | None = None

    def frame_at(self, seconds: Fraction) -> int:
        """The frame whose time is nearest; the number of frames for a time after the last."""
        half = 1 / self.rate / 2
        if not self.times or seconds > self.times[-1] + half:
            return len(self.times)
        at = bisect_left(self.times, seconds)
        before = at > 0 and (
            at == len(self.times) or seconds - self.times[at - 1] < self.times[at] - seconds
        )
        return at - 1 if before else at


@dataclass(frozen=True)
class FilmTimes:
    """What a film's outputs must know before they begin: its shots, and when it ends, in seconds.

    ``time_base`` is the unit in seconds of which the times of all frames are multiples.
    """

    shots: tuple[Shot, ...]
    time_base: Fraction
    end: Fraction | None

    def end_of(self, shot: Shot) -> Fraction | None:
        """When a shot ends: with the next one's beginning, or with the film."""
        following = self.shots[shot.index + 1 :]
        return following[0].time if following else self.end


def shots_between(cuts: Iterable[int], timeline: Timeline) -> list[Shot]:
    """The shots of a video that is cut before each of these frames.

    Cuts at the first frame and beyond the last change nothing, nor does one that is named twice.
    """
    count = len(timeline.times)
    inner = {cut for cut in cuts if 0 < cut < count}
    borders = [0, *sorted(inner), count] if count else []
    return [
        Shot(index, start, stop, timeline.times[start])
        for index, (start, stop) in enumerate(pairwise(borders))
    ]
