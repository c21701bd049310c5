"""What a video file says about time, and what is made of it."""

import re
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction

import av

_TAG = re.compile(r"(\d+):(\d+):(\d+(?:\.\d+)?)")
_SLACK = Fraction(1)  # second: less than this out of order, or past the end, is no damage


def rate_of(stream: av.VideoStream) -> Fraction:
    """Frames per second."""
    # Unset rates come as None or as 0; a raw stream without any is taken at FFmpeg's own 25.
    return Fraction(stream.average_rate or stream.guessed_rate or 25)


def seconds_of(picture: av.VideoFrame | None) -> Fraction | None:
    """A picture's presentation time by the file's clock, None without a stamp."""
    if picture is None or picture.pts is None:
        return None
    return picture.pts * Fraction(picture.time_base)


def expected_seconds(
    container: av.container.InputContainer, stream: av.VideoStream
) -> Fraction | None:
    """How long the container says that the video is, None where it does not."""
    whole = Fraction(container.duration, av.time_base) if (container.duration or 0) > 0 else None
    if (stream.duration or 0) > 0:
        own = stream.duration * Fraction(stream.time_base)
        return min(own, whole) if whole else own  # an edit list may show less than is stored
    if tagged := _TAG.match(stream.metadata.get("DURATION", "")):  # Matroska, per track
        hours, minutes, seconds = (Fraction(part) for part in tagged.groups())
        return hours * 3600 + minutes * 60 + seconds
    return whole if len(container.streams) == 1 else None


def timed(
    pictures: Iterable[av.VideoFrame],
    zero: Fraction,
    frame_duration: Fraction,
    end: Fraction | None,
    jumped: Callable[[], None],
) -> Iterator[tuple[Fraction, av.VideoFrame]]:
    """Times counted from ``zero``, strictly increasing even where the file's are not.

    A stamp past the ``end`` that the container tells is damage, and one that goes back begins
    another count, as where recordings were joined: such a picture follows the one before it, and
    ``jumped`` is called. Otherwise one wrong stamp would misplace all that come after it.
    """
    previous: Fraction | None = None
    for picture in pictures:
        following = Fraction(0) if previous is None else previous + frame_duration
        stamp = seconds_of(picture)
        time = following if stamp is None else stamp - zero
        if stamp is not None and end is not None and time > end + _SLACK:
            jumped()
            time = following
        elif stamp is not None and previous is not None and time < previous - _SLACK:
            jumped()
            zero, time, end = stamp - following, following, None  # the end was of the first count
        if previous is not None and time <= previous:
            time = previous + Fraction(picture.time_base or frame_duration)
        previous = time
        yield time, picture
