"""Encoded pictures on their way into a video, in a file of their own: they outlast a stop."""

import struct
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av

from depthcrafter_cli import disk

_HEADER = struct.Struct("<qqqI??")  # pts, dts, duration, bytes, is a key frame, came at the end


class PacketFile:
    """A file of packets that grows; it is ``path`` only when it is kept. Raises OSError."""

    def __init__(self, path: Path) -> None:
        self._path, self._part = path, disk.new_part(path)
        self._file = self._part.open("xb")

    def write(self, packets: list[av.Packet], *, at_end: bool = False) -> None:
        """Add packets; ``at_end`` says that the encoder gave them after its last picture."""
        for packet in packets:
            dts = packet.pts if packet.dts is None else packet.dts
            header = packet.pts, dts, packet.duration or 0, packet.size, packet.is_keyframe, at_end
            self._file.write(_HEADER.pack(*header) + bytes(packet))

    def keep(self) -> None:
        """Return when the file is whole on the disk."""
        self._file.close()
        disk.publish(self._part, self._path)

    def drop(self) -> None:
        """Remove what was written; never raises OSError."""
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            self._part.unlink(missing_ok=True)


def read_packets(path: Path, time_base: Fraction) -> Iterator[tuple[av.Packet, bool]]:
    """The packets of a file, in its order, and whether each came at the end. Raises OSError."""
    with path.open("rb") as file:
        while header := file.read(_HEADER.size):
            pts, dts, duration, size, is_key, at_end = _HEADER.unpack(header)
            packet = av.Packet(file.read(size))
            packet.pts, packet.dts, packet.duration = pts, dts, duration
            packet.time_base, packet.is_keyframe = time_base, is_key
            yield packet, at_end


def shown_at(path: Path) -> list[int]:
    """When the pictures of a file are shown, in its unit of time, in order. Raises OSError."""
    times = []
    with path.open("rb") as file:
        while header := file.read(_HEADER.size):
            pts, _dts, _duration, size, *_flags = _HEADER.unpack(header)
            times.append(pts)
            file.seek(size, 1)
    return sorted(times)
