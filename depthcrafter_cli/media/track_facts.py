"""What MP4, MOV and Matroska tell of a video that PyAV hands out nowhere.

That is a crop, Dolby Vision, and encryption.

ISO/IEC 14496-12 (boxes, clean aperture), RFC 9559 (Matroska), and the configuration record of
"Dolby Vision Streams Within the ISO Base Media File Format".
"""

import math
import struct
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeAlias

import av

from depthcrafter_cli.types import Size

_BOX, _LONG_BOX = struct.Struct(">I4s"), struct.Struct(">Q")
_SAMPLE_ENTRY = 78  # bytes of a picture's description before the boxes in it
_TRACK_NUMBER, _TRACK_NUMBER_LONG = 12, 20  # where it stands, by the version of the header
_DESCRIPTIONS = 8  # bytes before the list of descriptions
_MOVIE = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")
# Profiles, with the base layer's kind, that have no colours of a standard: HEVC's and AV1's.
_SHOWN_BY_NOTHING_ELSE = ((5, 0), (10, 0))
_DOLBY = (b"dvcC", b"dvvC", b"dvwC")
_ENCRYPTED = (b"encv", b"drmi", b"sinf")  # pictures by ISO/IEC 23001-7, by Apple, and how
# Matroska's elements.
_SEGMENT, _TRACKS, _CLUSTER, _TRACK = 0x18538067, 0x1654AE6B, 0x1F43B675, 0xAE
_TRACK_TYPE, _IS_VIDEO, _VIDEO = 0x83, 1, 0xE0
_CROP_LEFT, _CROP_RIGHT, _CROP_TOP, _CROP_BOTTOM = 0x54CC, 0x54DD, 0x54BB, 0x54AA
_MAPPING, _MAPPED_TYPE, _MAPPED = 0x41E4, 0x41E7, 0x41ED
_UNKNOWN = -1  # size of an element that lasts as long as there are bytes

Span: TypeAlias = tuple[int, int]
"""Where the content of a box or an element begins and ends, in bytes from the file's start."""


class Crop(NamedTuple):
    """How many pixels at each side are not to be shown, of pictures as they are stored."""

    left: int
    right: int
    top: int
    bottom: int

    def filter(self, stored: Size) -> tuple[str, str] | None:
        """FFmpeg's filter, with its arguments, for pictures of a size; None where none is left."""
        width = stored.width - self.left - self.right
        height = stored.height - self.top - self.bottom
        if min(self) < 0 or min(width, height) < 1:
            return None
        return "crop", f"{width}:{height}:{self.left}:{self.top}:exact=1"


class TrackFacts(NamedTuple):
    """``dolby_vision`` is the profile, and by what its base layer can be shown; 0 is by nothing."""

    crop: Crop | None = None
    dolby_vision: tuple[int, int] | None = None
    is_encrypted: bool = False

    @property
    def only_by_dolby(self) -> bool:
        """Whether nothing but Dolby Vision's own metadata tells its colours."""
        return self.dolby_vision in _SHOWN_BY_NOTHING_ELSE


def track_facts(
    path: Path, container: av.container.InputContainer, stream: av.VideoStream
) -> TrackFacts:
    """What a file, which is open as ``container``, says of one of its videos.

    Nothing of other containers, and nothing where the file makes no sense.
    """
    kind = container.format.name.split(",")[0]
    with suppress(struct.error, ValueError, ZeroDivisionError, OSError), path.open("rb") as file:
        if kind == "mov":
            return _of_boxes(file, stream.id)
        if kind == "matroska":
            return _of_elements(file, container.streams.video.index(stream))
    return TrackFacts()


def is_whole_matroska(path: Path, container: av.container.InputContainer) -> bool | None:
    """Whether a Matroska file is as long as it says; None for other files and where it does not."""
    if not container.format.name.startswith("matroska"):
        return None
    with suppress(ValueError), path.open("rb") as file:
        position, end = 0, file.seek(0, 2)
        while position < end:
            name, begin, size = _element(file, position)
            if name == _SEGMENT or size == _UNKNOWN:
                return None if size == _UNKNOWN else begin + size <= end
            position = begin + size
    return None


def _of_boxes(file: BinaryIO, number: int) -> TrackFacts:
    """Of the track with this number of its own: FFmpeg counts covers, which are none, as well."""
    end = file.seek(0, 2)
    descriptions = [
        entry
        for track in _within(file, (0, end), _MOVIE[:2])
        if _number_of_track(file, track) == number
        for entry in _video_entries(file, track)
    ]
    kind, (begin, end) = descriptions[0] if descriptions else (b"", (0, 0))
    width, height = struct.unpack(">HH", _content(file, (begin + 24, begin + 28)))
    crop, dolby, is_encrypted = None, None, kind in _ENCRYPTED
    for name, span in _boxes(file, (begin + _SAMPLE_ENTRY, end)):
        if name == b"clap":
            crop = _clean_aperture(_content(file, span), Size(height, width))
        elif name in _DOLBY:
            dolby = _dolby_vision(_content(file, span))
        elif name in _ENCRYPTED:
            is_encrypted = True
    return TrackFacts(crop, dolby, is_encrypted)


def _number_of_track(file: BinaryIO, track: Span) -> int:
    for header in _within(file, track, (b"tkhd",)):
        told = _content(file, header)
        at = _TRACK_NUMBER_LONG if told[:1] == b"\1" else _TRACK_NUMBER
        return int.from_bytes(told[at : at + 4], "big")
    return 0


def _video_entries(file: BinaryIO, track: Span) -> Iterator[tuple[bytes, Span]]:
    """The first description of a track's pictures, with its kind; nothing of other tracks."""
    for handler in _within(file, track, (b"mdia", b"hdlr")):
        if _content(file, handler)[8:12] != b"vide":
            return
    for begin, end in _within(file, track, _MOVIE[2:]):
        for entry in _boxes(file, (begin + _DESCRIPTIONS, end)):
            yield entry
            return


def _within(file: BinaryIO, span: Span, names: tuple[bytes, ...]) -> Iterator[Span]:
    """All boxes that lie in boxes of the names before, one in another."""
    first, *rest = names
    for name, inner in _boxes(file, span):
        if name == first:
            yield from _within(file, inner, tuple(rest)) if rest else (inner,)


def _boxes(file: BinaryIO, span: Span) -> Iterator[tuple[bytes, Span]]:
    position, end = span
    while position + _BOX.size <= end:
        size, name = _BOX.unpack(_content(file, (position, position + _BOX.size)))
        begin = position + _BOX.size
        if size == 1:
            (size,) = _LONG_BOX.unpack(_content(file, (begin, begin + _LONG_BOX.size)))
            begin += _LONG_BOX.size
        following = position + size if size else end
        if not begin <= following <= end:
            return
        yield name, (begin, following)
        position = following


def _clean_aperture(told: bytes, stored: Size) -> Crop | None:
    width, height, across, down = (Fraction(*pair) for pair in struct.iter_unpack(">iI", told[:32]))
    if width <= 0 or height <= 0:
        return None
    left, top = (stored.width - width) / 2 + across, (stored.height - height) / 2 + down
    right, bottom = stored.width - width - left, stored.height - height - top
    # FFmpeg shows what is between pixels so.
    crop = Crop(math.floor(left), math.ceil(right), math.floor(top), math.ceil(bottom))
    return crop if any(crop) else None


def _dolby_vision(record: bytes) -> tuple[int, int]:
    """The profile, and by what its base layer can be shown, which early records do not tell."""
    profile, base = struct.unpack("2xBxB", record[:5].ljust(5, b"\0"))
    return profile >> 1, base >> 4


def _of_elements(file: BinaryIO, video: int) -> TrackFacts:
    whole = (0, file.seek(0, 2))
    segment = next((span for name, span in _elements(file, whole) if name == _SEGMENT), (0, 0))
    tracks: list[dict[int, list[Span]]] = []
    for name, span in _elements(file, segment):
        if name == _CLUSTER:
            break
        if name == _TRACKS:
            found = [inner for each, inner in _elements(file, span) if each == _TRACK]
            tracks = [_by_name(file, track) for track in found]
    videos = [
        track
        for track in tracks
        if _TRACK_TYPE in track and _number(file, track[_TRACK_TYPE][0]) == _IS_VIDEO
    ]
    track = videos[video] if video < len(videos) else {}
    picture = _by_name(file, track[_VIDEO][0]) if _VIDEO in track else {}
    sides = (_CROP_LEFT, _CROP_RIGHT, _CROP_TOP, _CROP_BOTTOM)
    crop = Crop(*(_number(file, picture[side][0]) if side in picture else 0 for side in sides))
    dolby = None
    for mapping in track.get(_MAPPING, ()):
        mapped = _by_name(file, mapping)
        kind = _content(file, mapped[_MAPPED_TYPE][0]) if _MAPPED_TYPE in mapped else b""
        if kind in _DOLBY and _MAPPED in mapped:
            dolby = _dolby_vision(_content(file, mapped[_MAPPED][0]))
    return TrackFacts(crop if any(crop) else None, dolby)


def _by_name(file: BinaryIO, span: Span) -> dict[int, list[Span]]:
    found: dict[int, list[Span]] = {}
    for name, inner in _elements(file, span):
        found.setdefault(name, []).append(inner)
    return found


def _elements(file: BinaryIO, span: Span) -> Iterator[tuple[int, Span]]:
    position, end = span
    while position < end:
        name, begin, size = _element(file, position)
        following = end if size == _UNKNOWN else begin + size
        yield name, (begin, min(following, end))
        position = following


def _element(file: BinaryIO, position: int) -> tuple[int, int, int]:
    """An element's name, and where what it holds begins, and how long that is."""
    name, begin = _variable(file, position, is_size=False)
    size, begin = _variable(file, begin, is_size=True)
    return name, begin, size


def _variable(file: BinaryIO, position: int, *, is_size: bool) -> tuple[int, int]:
    """A number whose first bits tell its length, and where it ends; names keep these bits.

    Raises ValueError at the end of the file and for a number of more than 8 bytes.
    """
    head = _content(file, (position, position + 8))
    if not head or not head[0]:
        raise ValueError
    length = 9 - head[0].bit_length()
    number = int.from_bytes(head[:length], "big")
    if is_size:
        most = (1 << 7 * length) - 1
        number &= most
        number = _UNKNOWN if number == most else number
    return number, position + length


def _number(file: BinaryIO, span: Span) -> int:
    return int.from_bytes(_content(file, span), "big")


def _content(file: BinaryIO, span: Span) -> bytes:
    begin, end = span
    file.seek(begin)
    return file.read(end - begin)
