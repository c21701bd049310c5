"""Lists of cuts: those of detectors, editors and people, read; CSV and EDL, written.

To add one that is read: write a function from its text to frames, and its line in :data:`_READERS`.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

from depthcrafter_cli.errors import InputError
from depthcrafter_cli.shots.shot import Shot, Timeline
from depthcrafter_cli.shots.timecode import frames_of, seconds_of, timecode_of
from depthcrafter_cli.structured import content_errors, parse_object
from depthcrafter_cli.text import clock_seconds, decoded, delimiter_of

_COLUMNS = ("shot", "first_frame", "last_frame", "start", "length")
_EXPECTED = (
    "expected a list of cuts: CSV of `depthcrafter shots` or PySceneDetect, EDL (CMX3600), "
    "TransNetV2's .scenes.txt, a scene cache of iw3, OpenTimelineIO, or one time or frame a line"
)


def read_cuts(path: Path, timeline: Timeline) -> list[int]:
    """The frames before which a video is cut, rising, as a list of any kind has them.

    Raises InputError for a list that cannot be read, and for one that lies beyond the video.
    """
    with content_errors(path, InputError, _EXPECTED):
        text = decoded(path.read_bytes())
        frames = sorted(set(_reader(path, text)(text, timeline)))
        if frames and frames[0] < 0:
            raise ValueError(f"it has a cut at frame {frames[0]}")
    count = len(timeline.times)
    if frames and frames[-1] > count:
        raise InputError(
            f"{path} has a cut at frame {frames[-1]}, and the video has {count} frames, expected a "
            "list made for this video: check that they belong together."
        )
    return [frame for frame in frames if 0 < frame < count]


Reader = Callable[[str, Timeline], Iterator[int]]


def _reader(path: Path, text: str) -> Reader:
    for suffix, sign, reader in _READERS:
        if path.name.lower().endswith(suffix) and re.search(sign, text, re.MULTILINE):
            return reader
    raise ValueError("it is of no known kind")


def _own_csv(text: str, _timeline: Timeline) -> Iterator[int]:
    for row in csv.DictReader(io.StringIO(text), delimiter=delimiter_of(text.splitlines()[0])):
        yield int(row["first_frame"])


def _pyscenedetect_csv(text: str, timeline: Timeline) -> Iterator[int]:
    """Its frames count from 1 and may skip those that a downscaled pass left out: seconds don't."""
    lines = text.splitlines()
    header = next(at for at, line in enumerate(lines) if "Start Time (seconds)" in line)
    for row in csv.DictReader(lines[header:], delimiter=delimiter_of(lines[header])):
        yield timeline.frame_at(Fraction(row["Start Time (seconds)"]))


_EVENT = re.compile(
    r"^\s*\d+\s+\S+\s+(?P<track>\S+)\s+(?P<kind>[CDWK])\S*\s+(?:\d+\s+)?"
    r"\S+\s+\S+\s+(?P<start>\d\d:\d\d:\d\d[:;.]\d\d)\s+(?P<stop>\d\d:\d\d:\d\d[:;.]\d\d)"
)
_LIKE_EVENT = re.compile(r"^\s*\d+\s.*\s\S*V\S*\s+[CDW]\S*(\s|$)")


def _edl(text: str, timeline: Timeline) -> Iterator[int]:
    """The record side of its video events; a dissolve belongs to the shot that it leads to.

    The first event is where the video begins, whatever its timecode. PySceneDetect writes real
    seconds, editors count frames at the nominal rate.
    """
    real = "PYSCENEDETECT" in text.upper()
    drop = bool(re.search(r"^\s*FCM:\s*DROP", text, re.MULTILINE | re.IGNORECASE))
    zero: int | None = None
    for line in text.splitlines():
        event = _EVENT.match(line)
        if not event and _LIKE_EVENT.match(line):
            raise ValueError(f"the event {line[:80]!r} has no reel of one word and four timecodes")
        if not event or "V" not in event["track"].upper() or event["start"] == event["stop"]:
            continue
        if real:
            yield timeline.frame_at(seconds_of(event["start"], timeline.rate))
            continue
        frame = frames_of(event["start"], timeline.rate, drop=drop)
        zero = frame if zero is None else zero
        yield frame - zero


def _transnet(text: str, _timeline: Timeline) -> Iterator[int]:
    """A line a shot: its first and its last frame, from 0."""
    for line in text.split("\n"):
        if line.strip():
            first, _last = line.split()
            yield int(first)


def _iw3(text: str, timeline: Timeline) -> Iterator[int]:
    """Time stamps of the last frame *before* each cut, in the stream's own units."""
    for pts in parse_object(text)["pts"]:
        yield 1 + timeline.frame_at((pts - timeline.first_pts) * timeline.time_base)


def _otio(text: str, timeline: Timeline) -> Iterator[int]:
    """The items of the first video track; a transition belongs to the shot that it leads to."""
    try:
        import opentimelineio as otio
    except ImportError:
        raise InputError(
            "a list of cuts in .otio needs the package opentimelineio, which is not installed, "
            'expected it beside depthcrafter: pip install "depthcrafter[otio]", or export an EDL.'
        ) from None
    try:
        made = otio.adapters.read_from_string(text, "otio_json")
        if not isinstance(made, otio.schema.Timeline) or not made.video_tracks():
            raise ValueError("it is no timeline with a video track")
        begins = dissolved = otio.opentime.RationalTime()
        for item in made.video_tracks()[0]:
            if isinstance(item, otio.schema.Transition):
                dissolved = item.in_offset
                continue
            yield timeline.frame_at(Fraction((begins - dissolved).to_seconds()))
            begins, dissolved = begins + item.duration(), otio.opentime.RationalTime()
    except otio.exceptions.OTIOError as error:
        raise ValueError(str(error)) from error


def _plain(text: str, timeline: Timeline) -> Iterator[int]:
    """A cut a line: whole numbers are frames, others seconds or [HH:]MM:SS; # begins a comment."""
    for line in text.splitlines():
        entry = line.partition("#")[0].strip()
        if re.fullmatch(r"\d+", entry):
            yield int(entry)
        elif (seconds := clock_seconds(entry.removesuffix("s"))) is not None:
            yield timeline.frame_at(seconds)
        elif re.fullmatch(r"\d+:\d\d:\d\d[:;]\d\d", entry):
            yield frames_of(entry, timeline.rate)
        elif entry:
            raise ValueError(f"the line {line[:80]!r} is neither a time nor a frame")


# Suffix, a sign in the text, and who reads it; the first that fits.
_READERS: tuple[tuple[str, str, Reader], ...] = (
    (".csv", r"^\W*shot[,;\t]first_frame", _own_csv),
    (".csv", r"Start Time \(seconds\)", _pyscenedetect_csv),
    (".edl", r"^\s*\d+\s+\S+\s+\S+\s+[CDWK]", _edl),
    (".json", r'"pts"', _iw3),
    (".otio", r'"OTIO_SCHEMA"', _otio),
    (".scenes.txt", r"^\d+ \d+", _transnet),
    (".txt", r"", _plain),
    (".csv", r"^\s*\d[\d:;.]*s?\s*$", _plain),
)


def shots_csv(shots: Sequence[Shot], timeline: Timeline) -> str:
    """A table that people can edit: frames count from 0, and ``first_frame`` is what is read."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for shot in shots:
        start, length = float(shot.time), float(_end(shot, timeline) - shot.time)
        writer.writerow([shot.index, shot.start, shot.stop - 1, f"{start:.3f}", f"{length:.3f}"])
    return table.getvalue()


def shots_edl(shots: Sequence[Shot], timeline: Timeline, title: str) -> str:
    """A CMX3600 list, non-drop, of events that name reels AX, from 00:00:00:00 on."""
    lines = [f"TITLE: {title[:70]}", "FCM: NON-DROP FRAME", ""]
    for shot in shots:
        span = f"{timecode_of(shot.start, timeline.rate)} {timecode_of(shot.stop, timeline.rate)}"
        lines.append(f"{shot.index + 1:03}  AX       V     C        {span} {span}")
    return "\n".join(lines) + "\n"


def _end(shot: Shot, timeline: Timeline) -> Fraction:
    if shot.stop < len(timeline.times):
        return timeline.times[shot.stop]
    return timeline.times[-1] + 1 / timeline.rate
