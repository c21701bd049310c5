"""Which frames of a video are read: a pure function of their timestamps."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from typing import TypeVar

from depthcrafter_cli.errors import UsageError
from depthcrafter_cli.types import VideoInfo

Picture = TypeVar("Picture")
Timed = tuple[Fraction, Fraction, Picture]
"""When a picture is shown, and for how long, in seconds."""

GAPS = ("error", "hold", "close")
MATRICES = ("bt601", "bt709", "bt2020")


@dataclass(frozen=True)
class ReadOptions:
    """The part of a video to read, and at which rate. None means no restriction.

    ``start`` and ``end`` are seconds from the video's first frame: frames with
    ``start <= time < end`` are read. ``stream`` is the number of one of the file's video
    streams, from 0, None the one that players show. ``fps`` picks frames by timestamp, so that the
    result has exactly this constant rate; ``stride`` picks every n-th frame whatever its timestamp,
    as the reference does. ``gaps`` is what comes of numbers that a sequence of images lacks, one of
    :data:`GAPS`. ``max_frames`` counts frames after that choice. ``sequence_rate`` is the
    frame rate of a folder of images, which carries none. ``matrix`` turns the YUV of a video that
    does not name its colour matrix into RGB: ``auto`` as players choose it, or one of
    :data:`MATRICES`. ``exposure`` brightens pictures in linear light (OpenEXR), in stops.

    Raises UsageError for values outside their range.
    """

    start: Fraction | None = None
    end: Fraction | None = None
    max_frames: int | None = None
    fps: Fraction | None = None
    stride: int | None = None
    stream: int | None = None
    gaps: str = "error"
    sequence_rate: Fraction = Fraction(24)
    matrix: str = "auto"
    exposure: float = 0.0

    def __post_init__(self) -> None:
        if self.start is not None and self.start < 0:
            raise UsageError(
                f"The start is {float(self.start):g} s, expected 0 or later: correct --start."
            )
        if self.end is not None and self.end <= (self.start or 0):
            raise UsageError(
                f"The end is {float(self.end):g} s, expected later than the start at "
                f"{float(self.start or 0):g} s: correct --start or --end."
            )
        if self.max_frames is not None and self.max_frames < 1:
            raise UsageError(
                f"The frame limit is {self.max_frames}, expected at least 1: correct --max-frames."
            )
        if self.stride is not None and self.stride < 1:
            raise UsageError(f"The stride is {self.stride}, expected at least 1: correct it.")
        if self.stride is not None and self.fps is not None:
            raise UsageError(
                "Got both a frame rate and a stride, expected one of them: leave one out."
            )
        if self.gaps not in GAPS:
            raise UsageError(
                f"The choice for gaps is {self.gaps!r}, expected one of {', '.join(GAPS)}: correct "
                "--gaps."
            )
        if self.matrix not in ("auto", *MATRICES):
            raise UsageError(
                f"The colour matrix is {self.matrix!r}, expected auto or one of "
                f"{', '.join(MATRICES)}: correct --matrix."
            )
        if not -50 <= self.exposure <= 50:
            raise UsageError(
                f"The exposure is {self.exposure}, expected -50 to 50 stops: correct --exposure."
            )
        if self.stream is not None and self.stream < 0:
            raise UsageError(f"The stream is {self.stream}, expected 0 or more: correct --stream.")
        for rate in (self.fps, self.sequence_rate):
            if rate is not None and rate <= 0:
                raise UsageError(
                    f"The frame rate is {float(rate):g}, expected more than 0: correct --fps."
                )


def selected_rate(info: VideoInfo, options: ReadOptions) -> Fraction:
    """Frames per second of what is read: the true rate of the result.

    Raises UsageError for ``fps`` above the rate at which the video's frames follow most closely:
    frames are chosen and, where a variable rate stands still, repeated, not invented.
    """
    if options.fps is None:
        return info.rate / (options.stride or 1)
    if options.fps > info.peak_rate:
        raise UsageError(
            f"Got --fps {float(options.fps):g} for {info.path.name}, expected at most its own "
            f"{float(info.peak_rate):.6g}: lower --fps or leave it out."
        )
    return options.fps


def select(
    pictures: Iterable[Timed[Picture]], options: ReadOptions, frame_duration: Fraction
) -> Iterator[Timed[Picture]]:
    """The pictures to read, with the first one's time moved to 0.

    ``pictures`` are (time, duration, picture) in order of time, counted in seconds from the video's
    first frame; ``frame_duration`` is how long most of them are shown.
    """
    chosen = _between(pictures, options.start or Fraction(0), options.end, frame_duration)
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
