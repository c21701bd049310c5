"""What a Matroska file says of its pictures, which PyAV cannot tell FFmpeg's muxer.

Elements and their numbers are those of RFC 8794 (EBML) and RFC 9559 (Matroska).
"""

import zlib
from collections.abc import Iterator
from typing import BinaryIO

from depthcrafter_cli.types import Size

_SEGMENT, _TRACKS, _TRACK, _VIDEO = b"\x18\x53\x80\x67", b"\x16\x54\xae\x6b", b"\xae", b"\xe0"
_WIDTH, _HEIGHT, _UNIT = b"\x54\xb0", b"\x54\xba", b"\x54\xb2"  # as it is shown
_RATE = b"\x23\xe3\x83"  # how long each picture is shown that does not say so
_VOID, _CRC32 = b"\xec", b"\xbf\x84"
_HEAD = 1 << 20  # bytes: tracks lie before all pictures


def amend_track(file: BinaryIO, shown: Size | None, *, is_variable: bool) -> None:
    """Write the size at which the first track of a finished file is shown, if not as stored.

    One that ``is_variable`` in its rate is left without any. Nothing else moves: FFmpeg leaves some
    bytes of each video track empty. Raises ValueError if it does not, OSError.
    """
    if shown is None and not is_variable:
        return
    file.seek(0)
    head = file.read(_HEAD)
    segment = _place(head, _SEGMENT)
    tracks = _place(head[segment], _TRACKS)
    held = head[segment][tracks]
    track = _place(held, _TRACK)
    held = held[: track.start] + _amended(held[track], shown, is_variable) + held[track.stop :]
    if held.startswith(_CRC32):
        held = held[:2] + zlib.crc32(held[6:]).to_bytes(4, "little") + held[6:]
    file.seek(segment.start + tracks.start)
    file.write(held)


def _amended(track: bytes, shown: Size | None, is_variable: bool) -> bytes:
    """What a track holds, in as many bytes."""
    told = b""
    for name, place in _elements(track):
        if name == _VIDEO and shown is not None:
            told += _element(name, _video_with_shown_size(track[place], shown))
        elif name != _VOID and not (name == _RATE and is_variable):
            told += _element(name, track[place])
    room = len(track) - len(told)
    if room < 2:
        raise ValueError("has no place for the size at which it is shown")
    length = 1 if room < 9 else 8
    return told + _element(_VOID, bytes(room - 1 - length), length)


def _video_with_shown_size(video: bytes, shown: Size) -> bytes:
    told = b"".join(
        _element(name, video[place])
        for name, place in _elements(video)
        if name not in (_WIDTH, _HEIGHT, _UNIT)
    )
    for name, side in (_WIDTH, shown.width), (_HEIGHT, shown.height):
        told += _element(name, side.to_bytes((side.bit_length() + 7) // 8, "big"))
    return told


def _elements(data: bytes) -> Iterator[tuple[bytes, slice]]:
    """The elements in ``data``: their names, and where what they hold is."""
    at = 0
    while at < len(data):
        name = data[at : at + _length(data[at])]
        at += len(name)
        length = _length(data[at])
        size = int.from_bytes(data[at : at + length], "big") - (1 << 7 * length)
        at += length
        yield name, slice(at, at + size)
        at += size


def _length(first: int) -> int:
    """Bytes of a name or a size, as its first one says by its highest bit."""
    return 9 - first.bit_length()


def _place(data: bytes, name: bytes) -> slice:
    for each, place in _elements(data):
        if each == name:
            return place
    raise ValueError(f"has no element {name.hex()}")


def _element(name: bytes, content: bytes, length: int = 0) -> bytes:
    """An element, whose size is written in ``length`` bytes, by default as few as hold it."""
    length = length or -(-(len(content) + 1).bit_length() // 7)
    return name + ((1 << 7 * length) + len(content)).to_bytes(length, "big") + content
