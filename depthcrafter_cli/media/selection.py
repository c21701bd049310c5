"""Which frames of a video are read: a pure function of their timestamps."""

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from numbers import Real
from typing import TYPE_CHECKING, Any, TypeVar

from depthcrafter_cli.errors import UsageError
from depthcrafter_cli.options import documented, option, settle_options
from depthcrafter_cli.shots.timecode import Timecode
from depthcrafter_cli.text import RATE, TIME, clock_seconds, read_rate

if TYPE_CHECKING:
    from depthcrafter_cli.types import VideoInfo

Picture = TypeVar("Picture")
Timed = tuple[Fraction, Fraction, Picture]
"""When a picture is shown, and for how long, in seconds."""

MATRICES = ("bt601", "bt709", "bt2020")


_FRAMES = re.compile(r"(\d{1,9})(-(\d{1,9})?)?")


def _read_moment(text: str) -> Fraction | Timecode:
    """A time or a timecode. Raises ValueError, which :data:`TIME` explains."""
    seconds = clock_seconds(text)
    return Timecode(text) if seconds is None else seconds


def _is_moment(value: Any) -> bool:
    return isinstance(value, Timecode) or (isinstance(value, Real) and float(value) >= 0)


@documented
@dataclass(frozen=True)
class ReadOptions:
    """The part of a video to read, and at which rate. None means no restriction.

    ``start`` and ``end`` are seconds from the video's first frame, or timecodes: frames with
    ``start <= time < end`` are read. ``fps`` picks frames by timestamp, so that the result has
    exactly this constant rate; ``stride`` picks every n-th frame whatever its timestamp, as the
    reference does. ``max_frames`` counts frames after that choice. ``matrix`` turns YUV into RGB.

    Raises UsageError for values outside their range.
    """

    start: Fraction | Timecode | None = option(
        None,
        help="Begin here: seconds or [HH:]MM:SS, fractions allowed, or a timecode of the video's "
        "own, such as 01:00:00:10.",
        part="depth",
        unit="seconds",
        read=_read_moment,
        accepts=_is_moment,
        form=TIME,
    )
    end: Fraction | Timecode | None = option(
        None,
        help="Stop before this time.",
        part="depth",
        unit="seconds",
        read=_read_moment,
        accepts=_is_moment,
        form=TIME,
    )
    frames: str | None = option(
        None,
        help="Read these frames alone: 1005-1010 (both are read), 1005- or 1005, as the source's "
        "images are numbered, or counted from 0 where it has no numbers.",
        part="depth",
        accepts=lambda text: _FRAMES.fullmatch(text) is not None,
        form="numbers of frames: write 1005-1010, 1005- or 1005",
    )
    max_frames: int | None = option(
        None,
        help="Read at most this many frames.",
        part="depth",
        unit="frames",
        minimum=1,
    )
    fps: Fraction | None = option(
        None,
        help="Pick frames by timestamp at this rate, e.g. 12 or 24000/1001.",
        part="depth",
        unit="frames a second",
        above=0,
        read=read_rate,
        form=RATE,
    )
    stride: int | None = None
    stream: int | None = option(
        None,
        help="Number of one of the file's video streams, from 0. Default: what players show, the "
        "one flagged as default or the largest.",
        part="depth",
        minimum=0,
    )
    gaps: str = option(
        "error",
        help="Numbers that a sequence of images lacks: {default} (default), hold (the image before "
        "stays) or close (the next one follows at once).",
        part="depth",
        choices=("error", "hold", "close"),
    )
    sequence_rate: Fraction = option(
        Fraction(24),
        help="Frame rate of a folder of images. Default: {default}.",
        part="depth",
        unit="frames a second",
        above=0,
        read=read_rate,
        form=RATE,
    )
    matrix: str = option(
        "auto",
        help="Colour matrix of a video that does not name its own: {default} (default: by its "
        "primaries, else bt709 from 720 lines or 1280 columns up, else bt601), bt601, bt709 or "
        "bt2020.",
        part="depth",
        choices=("auto", *MATRICES),
    )
    tonemap: str = option(
        "auto",
        help="How the model sees HDR: {default} (default: PQ and HLG become SDR with white at 203 "
        "nits), pq or hlg (for a video that does not say so), or none (as it is stored, rather "
        "flat).",
        part="depth",
        choices=("auto", "pq", "hlg", "none"),
    )
    exposure: float = option(
        0.0,
        help="Stops to brighten pictures in linear light by (OpenEXR, Radiance HDR, TIFF of "
        "floats). Default: {default}.",
        part="depth",
        unit="stops",
        minimum=-50,
        maximum=50,
    )

    def __post_init__(self) -> None:
        settle_options(self)
        if self.start == 0:  # the whole video, as without it
            object.__setattr__(self, "start", None)
        if self.frames is not None:
            if self.start is not None or self.end is not None:
                raise UsageError(
                    "got `frames` with `start` or `end`, expected one way to choose a part: leave "
                    "the other out."
                )
            first, last = self.frame_range
            if last is not None and last < first:
                raise UsageError(
                    f"got `frames` {self.frames}, expected the smaller number first: correct it."
                )
        if self.is_settled:
            start, end = self.seconds
            if end is not None and end <= start:
                raise UsageError(
                    f"got `end` {float(end):g} s, expected later than the start at "
                    f"{float(start):g} s: correct `start` or `end`."
                )
        if self.stride is not None and self.stride < 1:
            raise UsageError(f"got `stride` {self.stride}, expected at least 1: correct it.")
        if self.stride is not None and self.fps is not None:
            raise UsageError("got both `fps` and `stride`, expected one of them: leave one out.")

    @property
    def is_settled(self) -> bool:
        """Whether it takes no look at the video to know the seconds that are to be read."""
        moments = (self.start, self.end)
        return self.frames is None and not any(isinstance(each, Timecode) for each in moments)

    @property
    def seconds(self) -> tuple[Fraction, Fraction | None]:
        """Where the part begins and ends that is to be read. The options must be settled."""
        if self.frames is not None or isinstance(self.start, Timecode):
            raise ValueError("the options are not settled")
        if isinstance(self.end, Timecode):
            raise ValueError("the options are not settled")
        return self.start or Fraction(0), self.end

    @property
    def frame_range(self) -> tuple[int, int | None]:
        """The first and the last number of ``frames``; None is the last one that there is."""
        found = _FRAMES.fullmatch(self.frames or "0-")
        assert found is not None
        first, is_range, last = found.groups()
        if last is None:
            return int(first), None if is_range else int(first)
        return int(first), int(last)


def selected_rate(info: "VideoInfo", options: ReadOptions) -> Fraction:
    """Frames per second of what is read: the true rate of the result.

    Raises UsageError for ``fps`` above the rate at which the video's frames follow most closely:
    frames are chosen and, where a variable rate stands still, repeated, not invented.
    """
    if options.fps is None:
        return info.rate / (options.stride or 1)
    if options.fps > info.peak_rate:
        raise UsageError(
            f"got `fps` {float(options.fps):g} for {info.path.name}, expected at most its own "
            f"{float(info.peak_rate):.6g}: lower `fps` or leave it out."
        )
    return options.fps


def first_selected(
    pictures: Iterable[Timed[Picture]], options: ReadOptions, frame_duration: Fraction
) -> Fraction | None:
    """The time of the first picture that :func:`select` hands out, before it becomes 0."""
    first = next(_between(pictures, *options.seconds, frame_duration), None)
    return None if first is None else first[0]


def expected_frames(info: "VideoInfo", reading: ReadOptions) -> int | None:
    """How many frames will be read, as far as the container's own count tells."""
    if info.frame_count is None:
        return reading.max_frames
    duration = Fraction(info.frame_count) / info.rate
    start, end = reading.seconds
    end = duration if end is None else min(end, duration)
    count = max(1, math.ceil((end - start) * selected_rate(info, reading)))
    return count if reading.max_frames is None else min(count, reading.max_frames)


def select(
    pictures: Iterable[Timed[Picture]], options: ReadOptions, frame_duration: Fraction
) -> Iterator[Timed[Picture]]:
    """The pictures to read, with the first one's time moved to 0.

    ``pictures`` are (time, duration, picture) in order of time, counted in seconds from the video's
    first frame; ``frame_duration`` is how long most of them are shown.
    """
    chosen = _between(pictures, *options.seconds, frame_duration)
    chosen = _from_zero(chosen)
    if options.fps is not None:
        chosen = _at_constant_rate(chosen, options.fps, frame_duration)
    return islice(chosen, 0, _stop(options), options.stride)


def _stop(options: ReadOptions) -> int | None:
    if options.max_frames is None:
        return None
    return (options.max_frames - 1) * (options.stride or 1) + 1


def _between(
    pictures: Iterable[Timed[Picture]],
    start: Fraction,
    end: Fraction | None,
    frame_duration: Fraction,
) -> Iterator[Timed[Picture]]:
    for time, duration, picture in pictures:
        if end is not None and time >= end:
            return
        if time >= start:
            left = duration if end is None else max(end - time, frame_duration)
            yield time, min(duration, left), picture


def _from_zero(pictures: Iterable[Timed[Picture]]) -> Iterator[Timed[Picture]]:
    zero: Fraction | None = None
    for time, duration, picture in pictures:
        zero = time if zero is None else zero
        yield time - zero, duration, picture


def _at_constant_rate(
    pictures: Iterable[Timed[Picture]], fps: Fraction, frame_duration: Fraction
) -> Iterator[Timed[Picture]]:
    """At each tick k / fps the picture that is on the screen, or will be within half a frame.

    Without that half frame, one whose time a container rounded (Matroska to whole milliseconds) to
    just after its tick would be missed there. Where a video of variable rate stands still for
    several ticks, its picture is repeated.
    """
    tick = 0
    for time, duration, picture in pictures:
        slack = min(duration, frame_duration, 1 / fps) / 2
        while tick / fps <= time + duration - slack:
            yield tick / fps, 1 / fps, picture
            tick += 1
