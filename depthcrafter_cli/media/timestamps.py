"""What a video file says about time, and what is made of it."""

import re
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from itertools import chain, islice, pairwise

import av

_TAG = re.compile(r"(\d+):(\d+):(\d+(?:\.\d+)?)")
_SLACK = Fraction(1)  # second: less than this out of order, or past the end, is no damage
_REORDERED = 16  # pictures at most that H.264 and H.265 show in another order than they are stored


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


def picture_count(stream: av.VideoStream, seconds: Fraction | None) -> int | None:
    """How many pictures the container says that there are in ``seconds``, None if it does not."""
    if seconds is None:
        return stream.frames or None
    rate = rate_of(stream)
    expected = round(seconds * rate)
    # A fragmented MP4 may count those of its first fragment alone.
    return stream.frames if expected - rate <= stream.frames > 0 else expected


def timed(
    pictures: Iterable[av.VideoFrame],
    zero: Fraction,
    frame_duration: Fraction,
    end: Fraction | None,
    jumped: Callable[[], None],
) -> Iterator[tuple[Fraction, av.VideoFrame]]:
    """Times counted from ``zero``, strictly increasing even where the file's are not.

    A stamp past the ``end`` that the container tells is damage, unless those of the last pictures
    all are: MP4 tells when the last one is decoded, which may be long before it is shown. One that
    goes back begins another count, as where recordings were joined. Such a picture follows the one
    before it, and ``jumped`` is called; otherwise one wrong stamp would misplace all after it.
    """
    previous: Fraction | None = None
    coming = iter(pictures)
    while (picture := next(coming, None)) is not None:
        following = Fraction(0) if previous is None else previous + frame_duration
        stamp = seconds_of(picture)
        time = following if stamp is None else stamp - zero
        if stamp is not None and end is not None and time > end + _SLACK:
            last = list(islice(coming, _REORDERED))
            coming = chain(last, coming)
            if _are_the_last([picture, *last]):
                end = None
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


def _are_the_last(pictures: list[av.VideoFrame]) -> bool:
    """Whether these, after which none may come, are few, and in the order of their stamps."""
    stamps = [picture.pts for picture in pictures if picture.pts is not None]
    in_order = all(one < other for one, other in pairwise(stamps))
    return 2 <= len(stamps) == len(pictures) <= _REORDERED and in_order
