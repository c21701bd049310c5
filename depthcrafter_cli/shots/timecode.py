"""SMPTE timecode (ST 12-1) and frame numbers."""

import re
from dataclasses import dataclass
from fractions import Fraction

_TIMECODE = re.compile(r"(\d{1,2}):([0-5]\d):([0-5]\d)([:;.,])(\d{2,3})")


@dataclass(frozen=True)
class Timecode:
    """A timecode that a user typed, such as 01:00:00:10. Raises ValueError for other text."""

    text: str

    def __post_init__(self) -> None:
        _parts(self.text)

    def __str__(self) -> str:
        return self.text


def frames_of(timecode: str, rate: Fraction, *, drop: bool = False) -> int:
    """How many frames after 00:00:00:00 a timecode stands.

    Frames are counted at the nominal rate: 24 for 23.976, so that an hour of timecode lasts 3.6 s
    longer. ``drop``, or a semicolon before the frames, leaves out the first two numbers of each
    minute (four at 59.94) that isn't a multiple of ten.

    Raises ValueError.
    """
    hours, minutes, seconds, separator, frames = _parts(timecode)
    nominal = round(rate)
    if frames >= nominal:
        raise ValueError(f"the timecode {timecode} has frame {frames} at {nominal} a second")
    count = ((hours * 60 + minutes) * 60 + seconds) * nominal + frames
    if drop or separator == ";":
        passed = hours * 60 + minutes
        count -= _dropped(nominal) * (passed - passed // 10)
    return count


def seconds_of(timecode: str, rate: Fraction) -> Fraction:
    """A timecode whose hours, minutes and seconds are real ones. Raises ValueError."""
    hours, minutes, seconds, _, frames = _parts(timecode)
    return (hours * 60 + minutes) * 60 + seconds + frames / rate


def later(timecode: str, frames: Fraction, rate: Fraction) -> str:
    """The timecode so many frames later, of the same kind; empty for what is no timecode."""
    try:
        first = frames_of(timecode, rate)
    except ValueError:
        return ""
    return timecode_of(first + round(frames), rate, drop=";" in timecode)


def timecode_of(frame: int, rate: Fraction, *, drop: bool = False) -> str:
    """The timecode of a frame; with ``drop`` that which leaves out numbers."""
    nominal = round(rate)
    if drop:
        left_out = _dropped(nominal)
        tens, rest = divmod(frame, nominal * 600 - 9 * left_out)
        minutes = max(0, rest - left_out) // (nominal * 60 - left_out)
        whole = timecode_of(frame + left_out * (9 * tens + minutes), rate)
        return f"{whole[:-3]};{whole[-2:]}"
    seconds, frames = divmod(frame, nominal)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}:{frames:02}"


def _parts(timecode: str) -> tuple[int, int, int, str, int]:
    match = _TIMECODE.fullmatch(timecode.strip())
    if match is None:
        raise ValueError(f"{timecode!r} is no timecode such as 01:00:00:12")
    hours, minutes, seconds, separator, frames = match.groups()
    return int(hours), int(minutes), int(seconds), separator, int(frames)


def _dropped(nominal: int) -> int:
    """Numbers left out a minute: only multiples of 30 have a drop-frame form."""
    if nominal % 30:
        raise ValueError(f"drop-frame timecode at {nominal} frames a second does not exist")
    return nominal // 15
