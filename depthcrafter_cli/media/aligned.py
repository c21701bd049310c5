"""A shot whose windows are aligned as it is read, and what is kept to align them by."""

import math
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from depthcrafter_cli.depth.align import Overlap, Seams, align
from depthcrafter_cli.media.spool import DisparitySpool
from depthcrafter_cli.types import Disparity


class OverlapSpool:
    """What windows of a shot say of the frames that they share, in a file that is open in use only.

    ``key`` is a number of the run's own. Raises OutputError as :class:`DisparitySpool`.
    """

    def __init__(self, path: Path, *, key: int, read_only: bool = False) -> None:
        self.path, self._key, self._read_only = path, key, read_only

    def __len__(self) -> int:
        if not self.path.exists():
            return 0
        with self._open() as spool:
            return spool.batches

    def __iter__(self) -> Iterator[Overlap]:
        if not self.path.exists():
            return
        with self._open() as spool:
            for both, times in spool.read():
                frames, places = np.split(np.array(times, dtype=np.int64), 2)
                first, second = np.split(both, 2)
                yield Overlap(int(frames[0] - places[0]), tuple(frames.tolist()), first, second)

    def put(self, kept: int, overlaps: Iterable[Overlap]) -> None:
        """Append some after the first ``kept``, in place of what else is there.

        The times of their frames are the numbers of these in the shot, and in the window.
        """
        with self._open() as spool:
            spool.clear(kept)
            for each in overlaps:
                numbers = [*each.frames, *(frame - each.start for frame in each.frames)]
                both = np.concatenate([each.first, each.second])
                spool.append(both, [Fraction(number) for number in numbers])

    def _open(self) -> DisparitySpool:
        return DisparitySpool(self.path, key=self._key, read_only=self._read_only)


class AlignedShot:
    """A shot's spooled disparity, every frame in one steady scale; read once for its extremes."""

    def __init__(self, spool: DisparitySpool, overlaps: Iterable[Overlap]) -> None:
        self._spool = spool
        self._alignment = align(overlaps, len(spool))
        self.seams: Seams | None = self._alignment.seams
        self.minimum, self.maximum = math.inf, -math.inf
        with self:
            for disparity, _time in self.frames():
                self.minimum = min(self.minimum, float(disparity.min()))
                self.maximum = max(self.maximum, float(disparity.max()))

    def __len__(self) -> int:
        return len(self._spool)

    def __enter__(self) -> "AlignedShot":
        self._spool.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._spool.__exit__(*error)

    @property
    def time_base(self) -> Fraction:
        """As :attr:`DisparitySpool.time_base`."""
        return self._spool.time_base

    def frames(self) -> Iterator[tuple[Disparity, Fraction]]:
        """As :meth:`DisparitySpool.frames`, aligned."""
        for index, (disparity, time) in enumerate(self._spool.frames()):
            yield self._alignment(index, disparity), time
