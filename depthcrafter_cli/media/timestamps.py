"""What a video file says about time, and what is made of it."""

import math
import re
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from itertools import chain, islice, pairwise

import av

_TAG = re.compile(r"(\d+):(\d+):(\d+(?:\.\d+)?)")
FINEST = 1_000_000  # units a second: finer clocks are rounded
BARE = Fraction(1, 1_200_000)  # FFmpeg's unit of time for streams without a container
FASTEST = 480  # frames a second: a rate guessed above it is the unit of a clock
_SLACK = Fraction(1)  # second: less than this out of order, or past the end, is no damage
_ROUNDED = Fraction(1, 100)  # of a picture: as closely do lengths tell how many there are
REORDERED = 16  # pictures at most that H.264 and H.265 show in another order than they are stored


def common_unit(unit: Fraction, time: Fraction) -> Fraction:
    """The longest unit, of at least a microsecond, of which ``unit`` and ``time`` are multiples."""
    return Fraction(1, min(math.lcm(unit.denominator, time.denominator), FINEST))


def rate_of(stream: av.VideoStream) -> Fraction:
    """Return the average number of frames per second."""
    average, guessed = stream.average_rate, stream.guessed_rate
    if stream.time_base == BARE:
        average = None  # it is always 25, and what the pictures say themselves is guessed
    if guessed and guessed > FASTEST:
        guessed = None
    # Unset rates come as None or as 0; where nothing tells one, FFmpeg's own is taken.
    rate = Fraction(average or guessed or 25)
    # H.264 in AVI may count fields or ticks. No average is above the rate of the closest pictures.
    if guessed and rate >= 2 * guessed:
        rate = Fraction(guessed)
    return exact_rate(rate, Fraction(1, 10_000))


def peak_rate_of(stream: av.VideoStream) -> Fraction:
    """Frames per second where they follow most closely; above the average if the rate varies."""
    return max(rate_of(stream), Fraction(stream.guessed_rate or 0))


def exact_rate(rate: Fraction, tolerance: Fraction) -> Fraction:
    """The whole rate, or the one by 1000/1001 of NTSC, that a rate within ``tolerance`` means.

    Containers that count milliseconds cannot say it exactly.
    """
    whole, ntsc = Fraction(round(rate)), Fraction(1000, 1001) * round(rate * Fraction(1001, 1000))
    nearest = min(whole, ntsc, key=lambda exact: abs(exact - rate))
    return nearest if abs(nearest - rate) <= rate * tolerance else rate


def on_grid(
    pictures: Iterable[tuple[Fraction, av.VideoFrame]], stream: av.VideoStream
) -> Iterator[tuple[Fraction, av.VideoFrame]]:
    """Pictures at a constant rate at exact times, which a clock of milliseconds only approaches.

    From the first on that is further from the rate's k-th picture than the clock's unit, all keep
    the times they have.
    """
    tick = Fraction(stream.time_base)
    rate = exact_rate(Fraction(stream.guessed_rate or rate_of(stream)), Fraction(1, 5000))
    approached = 1 / rate % tick != 0
    previous = -tick
    for time, picture in pictures:
        exact = round(time * rate) / rate
        approached = approached and abs(exact - time) <= tick and exact > previous
        previous = exact if approached else max(time, previous + tick / 2)
        yield previous, picture


def with_durations(
    pictures: Iterable[tuple[Fraction, av.VideoFrame]], last: Callable[[Fraction], Fraction]
) -> Iterator[tuple[Fraction, Fraction, av.VideoFrame]]:
    """(time, seconds until the next picture, picture); ``last`` tells those of the last one."""
    held: tuple[Fraction, av.VideoFrame] | None = None
    for time, picture in pictures:
        if held is not None:
            yield held[0], time - held[0], held[1]
        held = time, picture
    if held is not None:
        yield held[0], last(held[0]), held[1]


def seconds_of(picture: av.VideoFrame | None) -> Fraction | None:
    """A picture's presentation time by the file's clock, None without a stamp."""
    if picture is None or picture.pts is None:
        return None
    seconds: Fraction = picture.pts * Fraction(picture.time_base)
    return seconds


def expected_seconds(
    container: av.container.InputContainer, stream: av.VideoStream
) -> Fraction | None:
    """How long the container says that the video is, None where it does not."""
    whole = Fraction(container.duration, av.time_base) if (container.duration or 0) > 0 else None
    if whole is not None and container.format.name == "nut":
        whole += 1 / rate_of(stream)  # NUT tells when the last picture begins
    if (stream.duration or 0) > 0:
        own: Fraction = stream.duration * Fraction(stream.time_base)
        return min(own, whole) if whole else own  # an edit list may show less than is stored
    if tagged := _TAG.match(stream.metadata.get("DURATION", "")):  # Matroska, per track
        hours, minutes, seconds = (Fraction(part) for part in tagged.groups())
        own = hours * 3600 + minutes * 60 + seconds
        return min(own, whole) if whole else own  # a part cut out may keep the tag of the whole
    return whole if len(container.streams) == 1 else None


def length_of(
    container: av.container.InputContainer, stream: av.VideoStream, zero: Fraction | None
) -> Fraction | None:
    """As :func:`expected_seconds`, counted from the first picture, at ``zero``."""
    end = expected_seconds(container, stream)
    # FFmpeg writes into a Matroska file when it ends, which for a part of a recording is later.
    if end and zero and 0 < zero < end and container.format.name.startswith("matroska"):
        return end - zero
    return end


def picture_count(stream: av.VideoStream, seconds: Fraction | None) -> int | None:
    """How many pictures the container says that there are in ``seconds``, None if it does not."""
    if seconds is None:
        return stream.frames or None
    rate = rate_of(stream)
    expected = round(seconds * rate)
    if stream.frames > expected > 0:
        # What was cut without encoding it anew keeps pictures that its edit list does not show, the
        # one in the middle of which that begins among them.
        return math.floor(seconds * rate + _ROUNDED)
    # A fragmented MP4 may count those of its first fragment alone.
    is_likely = 0 < expected - rate <= stream.frames
    return stream.frames if is_likely or expected == stream.frames else expected


def timed(
    pictures: Iterable[av.VideoFrame],
    zero: Fraction,
    frame_duration: Fraction,
    end: Fraction | None,
    jumped: Callable[[], None],
) -> Iterator[tuple[Fraction, av.VideoFrame]]:
    """Times counted from ``zero``, strictly increasing even where the file's are not.

    A stamp past the ``end`` that the container tells is damage, unless those of the last pictures
    all are: MP4 tells when the last one is decoded, which may be long before it is shown. Where
    two in a row go back, another count begins, as where recordings were joined. Such a picture
    follows the one before it, and ``jumped`` is called; otherwise one wrong stamp would misplace
    all after it. A single one that goes back a little keeps as much of its place as there is.
    """
    previous: Fraction | None = None
    coming = iter(pictures)
    while (picture := next(coming, None)) is not None:
        following = Fraction(0) if previous is None else previous + frame_duration
        stamp = seconds_of(picture)
        time = following if stamp is None else stamp - zero
        if stamp is not None and end is not None and time > end + _SLACK:
            last = list(islice(coming, REORDERED))
            coming = chain(last, coming)
            if _are_the_last([picture, *last]):
                end = None
        if stamp is not None and end is not None and time > end + _SLACK:
            jumped()
            time = following
        elif stamp is not None and previous is not None and time < previous:
            after = next(coming, None)
            coming = coming if after is None else chain([after], coming)
            if (again := seconds_of(after)) is not None and again - zero < previous:
                jumped()
                # The end was of the first count.
                zero, time, end = stamp - following, following, None
            elif time < previous - _SLACK:
                jumped()
                time = following
        if previous is not None and time <= previous:
            time = previous + Fraction(picture.time_base or frame_duration)
        previous = time
        yield time, picture


def _are_the_last(pictures: list[av.VideoFrame]) -> bool:
    """Whether these, after which none may come, are few, and in the order of their stamps."""
    stamps = [picture.pts for picture in pictures if picture.pts is not None]
    in_order = all(one < other for one, other in pairwise(stamps))
    return 2 <= len(stamps) == len(pictures) <= REORDERED and in_order
