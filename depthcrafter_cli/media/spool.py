"""Raw disparity on its way to the outputs: on disk, so that memory does not grow with the video.

Normalisation over a whole video needs every frame before the first can be written. The spool
outlives a killed process: what was appended before is there when it is opened again.
"""

import math
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple, Protocol

import numpy as np
from numcodecs import Blosc

from depthcrafter_cli.depth.align import Seams
from depthcrafter_cli.disk import sync
from depthcrafter_cli.errors import OutputError
from depthcrafter_cli.media.files import output_errors, read_errors
from depthcrafter_cli.media.timestamps import FINEST
from depthcrafter_cli.types import Disparity, Size

_BINS = 65536
_CODEC = Blosc("lz4", clevel=5, shuffle=Blosc.BITSHUFFLE)
# Of 4. Measured: 2.6 to 3.1 of what models give in float32, 1.5 to 1.9 at half precision, and 3.3
# of noise that is evenly spread over 0 to 1, which nothing exceeds.
_BYTES_PER_VALUE = 3.3
_HEADER = struct.Struct("<4sQIIIIddI")
_SEAL = struct.Struct("<I")  # after each header: a checksum of all headers so far
_MAGIC = b"DSP2"


def expected_spool_bytes(size: Size, frames: int) -> int:
    """About how much room the disparity of so many frames takes, on the safe side."""
    return round(_BYTES_PER_VALUE * size.height * size.width * frames)


class _Record(NamedTuple):
    """What precedes each batch of frames in the file; ``bytes`` and ``crc`` are its payload's."""

    magic: bytes
    bytes: int
    frames: int
    height: int
    width: int
    units_per_second: int
    minimum: float
    maximum: float
    crc: int


class DisparitySpool:
    """Append-only disparity float32 [T, H, W] with its times, in one compressed file.

    Use as a context manager; whoever gave ``path`` removes it. ``key`` is a number of the run's
    own: batches of another run, or out of their order, are not taken for its own. Opening a file
    that a killed process left drops the batch it was writing, and whatever follows a damaged
    header, in the file too unless ``read_only``. Reading drops what follows a damaged batch.

    Raises OutputError where the disk is full, or the file cannot be read or is damaged.
    """

    seams: Seams | None = None  # nothing of it is aligned

    def __init__(self, path: Path, *, key: int = 0, read_only: bool = False) -> None:
        self.path = path
        self._key = key
        self._read_only = read_only
        self._reset()

    def _reset(self) -> None:
        self._offsets: list[int] = []  # of the records
        self._end = 0
        self._seal = self._key  # of the last record
        self._shape: tuple[int, int] | None = None
        self._count = 0
        self._minimum, self._maximum = math.inf, -math.inf
        self._units_per_second = 1

    def __enter__(self) -> "DisparitySpool":
        if not self._read_only:
            with output_errors(self.path):
                self.path.touch()
        with read_errors(self.path):
            self._file: BinaryIO = self.path.open("rb" if self._read_only else "r+b", buffering=0)
            self._recover()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def __len__(self) -> int:
        return self._count

    @property
    def minimum(self) -> float:
        """The smallest disparity so far."""
        return self._minimum

    @property
    def maximum(self) -> float:
        """The largest disparity so far."""
        return self._maximum

    @property
    def time_base(self) -> Fraction:
        """The longest unit of which all times are whole multiples (at least a microsecond)."""
        return Fraction(1, self._units_per_second)

    def append(self, disparity: Disparity, times: Sequence[Fraction]) -> None:
        """Adds n frames [n, H, W] and their n times in seconds; returns when the disk has them."""
        if disparity.ndim != 3 or len(disparity) != len(times):
            raise ValueError(f"got {disparity.shape} disparity and {len(times)} times")
        if self._shape not in (None, disparity.shape[1:]):
            raise ValueError(f"got frames of {disparity.shape[1:]} after {self._shape}")
        low, high = float(disparity.min()), float(disparity.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError(f"got disparity that is not finite after frame {self._count}")
        pairs = np.array([(time.numerator, time.denominator) for time in times], dtype=np.int64)
        values = np.ascontiguousarray(disparity, dtype=np.float32)
        payload = pairs.tobytes() + bytes(_CODEC.encode(values))
        units = min(math.lcm(*pairs[:, 1].tolist()), FINEST)
        frames, height, width = values.shape
        record = _Record(
            _MAGIC, len(payload), frames, height, width, units, low, high, zlib.crc32(payload)
        )
        header = _HEADER.pack(*record)
        seal = zlib.crc32(header, self._seal)
        with output_errors(self.path):
            self._write(header + _SEAL.pack(seal) + payload)
        self._take(record, seal)

    def clear(self, kept: int = 0) -> None:
        """Drop all but the first ``kept`` batches."""
        if kept < self.batches:
            with output_errors(self.path):
                self._file.truncate(self._offsets[kept])
            self._reset()
            self._recover()

    @property
    def batches(self) -> int:
        """How often frames were appended."""
        return len(self._offsets)

    def frames(self) -> Iterator[tuple[Disparity, Fraction]]:
        """(disparity [H, W], time in seconds) in order; holds one batch at a time."""
        for batch, times in self.read():
            yield from zip(batch, times, strict=True)

    def read(self) -> Iterator[tuple[Disparity, list[Fraction]]]:
        """Frames [n, H, W] and their n times, in order, as they were appended."""
        seal = self._key
        for offset in self._offsets:
            with read_errors(self.path):
                found = self._header(offset, seal)
                payload = self._file.read(found[0].bytes) if found else b""
            if found is None or zlib.crc32(payload) != found[0].crc:
                raise self._damaged(offset)
            record, seal = found
            pairs = np.frombuffer(payload, dtype=np.int64, count=2 * record.frames)
            raw = _CODEC.decode(payload[16 * record.frames :])
            batch = np.frombuffer(raw, dtype=np.float32)
            batch = batch.reshape(record.frames, record.height, record.width)
            yield batch, [Fraction(*pair) for pair in pairs.reshape(-1, 2).tolist()]

    def _write(self, data: bytes) -> None:
        self._file.seek(self._end)
        view = memoryview(data)
        try:
            while view:
                view = view[self._file.write(view) or 0 :]
            sync(self.path)
        except OSError:
            with suppress(OSError):
                self._file.truncate(self._end)
            raise

    def _header(self, offset: int, seal: int) -> tuple[_Record, int] | None:
        """A record and its seal, ``seal`` being the last one's; None for what is no such record.

        The file then stands at the record's payload.
        """
        self._file.seek(offset)
        data = self._file.read(_HEADER.size + _SEAL.size)
        if len(data) < _HEADER.size + _SEAL.size:
            return None
        header, (noted,) = data[: _HEADER.size], _SEAL.unpack(data[_HEADER.size :])
        record, seal = _Record(*_HEADER.unpack(header)), zlib.crc32(header, seal)
        return (record, seal) if record.magic == _MAGIC and seal == noted else None

    def _damaged(self, offset: int) -> OutputError:
        """What to say of a damaged batch, which is dropped so that the run can compute it anew."""
        if not self._read_only:
            with suppress(OSError):
                self._file.truncate(offset)
        return OutputError(
            f"{self.path} is damaged, expected what was written: check the disk, and resume the "
            "run, which computes again what is lost."
        )

    def _take(self, record: _Record, seal: int) -> None:
        """Count a record that is on the disk."""
        self._offsets.append(self._end)
        self._end += _HEADER.size + _SEAL.size + record.bytes
        self._seal = seal
        self._shape = (record.height, record.width)
        self._count += record.frames
        self._minimum = min(self._minimum, record.minimum)
        self._maximum = max(self._maximum, record.maximum)
        units = math.lcm(self._units_per_second, record.units_per_second)
        self._units_per_second = min(units, FINEST)

    def _recover(self) -> None:
        """Take what is there. Only the last record can be torn: the others were synced."""
        size = self.path.stat().st_size
        while found := self._header(self._end, self._seal):
            record, seal = found
            end = self._file.tell() + record.bytes
            if end > size:
                break
            if end == size and zlib.crc32(self._file.read(record.bytes)) != record.crc:
                break
            self._take(record, seal)
        if not self._read_only:
            with output_errors(self.path):
                self._file.truncate(self._end)


class ShotDisparity(AbstractContextManager[object], Protocol):
    """The disparity of a shot, to be read: see :class:`DisparitySpool`."""

    @property
    def seams(self) -> Seams | None: ...
    @property
    def minimum(self) -> float: ...
    @property
    def maximum(self) -> float: ...
    @property
    def time_base(self) -> Fraction: ...
    def __len__(self) -> int: ...
    def frames(self) -> Iterator[tuple[Disparity, Fraction]]: ...


class SpooledFilm:
    """The disparity of one or more shots in order, each in a spool that was open before.

    One of them is open at a time.
    """

    def __init__(self, shots: Sequence[ShotDisparity]) -> None:
        self.shots = shots

    def __len__(self) -> int:
        return sum(map(len, self.shots))

    @property
    def minimum(self) -> float:
        """The smallest disparity."""
        return min(shot.minimum for shot in self.shots)

    @property
    def maximum(self) -> float:
        """The largest disparity."""
        return max(shot.maximum for shot in self.shots)

    @property
    def time_base(self) -> Fraction:
        """The longest unit of which all times are whole multiples (at least a microsecond)."""
        units = math.lcm(*(shot.time_base.denominator for shot in self.shots))
        return Fraction(1, min(units, FINEST))

    def frames(self) -> Iterator[tuple[Disparity, Fraction]]:
        """As :meth:`DisparitySpool.frames`, of all shots."""
        for shot in self.shots:
            with shot:
                yield from shot.frames()

    def percentiles(self, low: float, high: float) -> tuple[float, float]:
        """Two percentiles (0 to 100) of all values, within 1/65536 of their range.

        One pass over the disk into a histogram; linear inside a bin.
        """
        span = self.minimum, self.maximum
        if span[0] >= span[1]:
            return span
        edges = np.linspace(*span, _BINS + 1)
        counts = np.zeros(_BINS, dtype=np.int64)
        for disparity, _time in self.frames():
            # In float32 the edges of a narrow range's bins could not be told apart.
            counts += np.histogram(disparity.astype(np.float64), bins=_BINS, range=span)[0]
        below = np.concatenate([[0], np.cumsum(counts)])
        shares = np.array([low, high]) / 100 * below[-1]
        found = np.interp(shares, below, edges)
        return float(found[0]), float(found[1])
