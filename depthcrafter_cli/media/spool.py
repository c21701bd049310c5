"""Raw disparity on its way to the outputs: on disk, so that memory does not grow with the clip.

Whole-clip normalisation needs every frame before the first can be written.
"""

import math
import tempfile
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import numpy as np

from depthcrafter_cli.errors import DepthCrafterError
from depthcrafter_cli.media.files import output_errors
from depthcrafter_cli.types import Disparity

_BINS = 65536
_FINEST_TIME_BASE = 1_000_000  # units a second; finer clocks are rounded by the sinks


class DisparitySpool:
    """Append-only disparity float32 [T, H, W] with its times, in temporary files in ``folder``.

    Use as a context manager: the files vanish at its end. They have no name in the folder where
    the system allows it, so that not even a killed run leaves them behind.
    Writing raises OutputError on a full disk.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._shape: tuple[int, int] | None = None
        self._count = 0
        self._minimum, self._maximum = math.inf, -math.inf
        self._units_per_second = 1

    def __enter__(self) -> "DisparitySpool":
        with output_errors(self._folder / "(temporary depth)"):
            self._disparity = tempfile.TemporaryFile(dir=self._folder)
            self._times = tempfile.TemporaryFile(dir=self._folder)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # A buffer that no longer fits on the disk must not hide the error that ended the run.
        for file in (self._disparity, self._times):
            try:
                file.close()
            except OSError:
                continue

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
        """Adds n frames [n, H, W] and their n times in seconds."""
        if disparity.ndim != 3 or len(disparity) != len(times):
            raise ValueError(f"got {disparity.shape} disparity and {len(times)} times")
        if self._shape not in (None, disparity.shape[1:]):
            raise ValueError(f"got frames of {disparity.shape[1:]} after {self._shape}")
        low, high = float(disparity.min()), float(disparity.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise DepthCrafterError(
                f"The model gave values that are no numbers near frame {self._count}, expected "
                "finite depth: run again with --dtype float32."
            )
        self._shape = disparity.shape[1:]
        self._minimum, self._maximum = min(self._minimum, low), max(self._maximum, high)
        for time in times:
            units = math.lcm(self._units_per_second, time.denominator)
            self._units_per_second = min(units, _FINEST_TIME_BASE)
        with output_errors(self._folder / "(temporary depth)"):
            self._disparity.write(np.ascontiguousarray(disparity, dtype=np.float32).data)
            pairs = [(time.numerator, time.denominator) for time in times]
            self._times.write(np.array(pairs, dtype=np.int64).tobytes())
            self._disparity.flush()
            self._times.flush()
        self._count += len(times)

    def frames(self) -> Iterator[tuple[Disparity, Fraction]]:
        """(disparity [H, W], time in seconds) in order; reads one frame at a time."""
        if self._shape is None:
            return
        height, width = self._shape
        for index in range(self._count):
            self._disparity.seek(index * height * width * 4)
            self._times.seek(index * 16)
            raw = self._disparity.read(height * width * 4)
            numerator, denominator = np.frombuffer(self._times.read(16), dtype=np.int64).tolist()
            disparity = np.frombuffer(raw, dtype=np.float32).reshape(height, width)
            yield disparity, Fraction(numerator, denominator)

    def percentiles(self, low: float, high: float) -> tuple[float, float]:
        """Two percentiles (0 to 100) of all values, within 1/65536 of their range.

        One pass over the disk into a histogram; linear inside a bin.
        """
        if self._minimum >= self._maximum:
            return self._minimum, self._maximum
        edges = np.linspace(self._minimum, self._maximum, _BINS + 1)
        counts = np.zeros(_BINS, dtype=np.int64)
        for disparity, _time in self.frames():
            counts += np.histogram(disparity, bins=_BINS, range=(self._minimum, self._maximum))[0]
        below = np.concatenate([[0], np.cumsum(counts)])
        shares = np.array([low, high]) / 100 * below[-1]
        found = np.interp(shares, below, edges)
        return float(found[0]), float(found[1])
