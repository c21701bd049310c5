"""Which raw disparities become 0 and 1 in the written depth.

NumPy is loaded when it is first needed: the command line asks here for an option alone.
"""

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from depthcrafter_cli.errors import UsageError

if TYPE_CHECKING:
    from depthcrafter_cli.types import Disparity, ValueRange

Mode = Literal["clip", "percentile", "fixed", "none"]
NORMALIZATIONS = "clip, percentile, 'percentile 2 98', 'fixed LO HI' or none"
_DEFAULT_PERCENTILES = (2.0, 98.0)
_LIMITS = {"clip": (0,), "percentile": (0, 2), "fixed": (2,), "none": (0,)}  # how many


class DisparityStatistics(Protocol):
    """What a whole clip's disparity must tell for its range to be chosen."""

    @property
    def minimum(self) -> float: ...
    @property
    def maximum(self) -> float: ...
    def percentiles(self, low: float, high: float) -> tuple[float, float]: ...


@dataclass(frozen=True)
class Normalization:
    """How the range is chosen.

    ``clip`` takes the extremes of the whole clip (the reference's way); ``percentile`` takes
    the ``low`` and ``high`` percentiles (2 and 98 unless given) and clamps the rest; ``fixed``
    takes ``low`` and ``high`` themselves, the same for any clip; ``none`` keeps the raw values,
    which the decoder gives in [0, 1].

    Raises UsageError for limits that are missing, superfluous or not in order.
    """

    mode: Mode = "clip"
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        limits = [limit for limit in (self.low, self.high) if limit is not None]
        wanted = _LIMITS.get(self.mode)
        if wanted is None:
            raise UsageError(
                f"got `normalization` {self.mode!r}, expected one of {', '.join(_LIMITS)}: choose "
                "one."
            )
        if len(limits) not in wanted:
            raise UsageError(
                f"got `normalization` {self.mode!r} with {len(limits)} limits, expected "
                f"{wanted[-1] or 'none'}: correct it."
            )
        if not limits:
            return
        low, high = limits
        lowest, highest = (0, 100) if self.mode == "percentile" else (-math.inf, math.inf)
        if not lowest <= low < high <= highest or math.isinf(high - low):
            raise UsageError(
                f"got `normalization` {self.mode!r} with {low:g} and {high:g}, expected the "
                f"smaller one first{', both from 0 to 100' if highest == 100 else ''}: correct it."
            )

    @property
    def depends_on_values(self) -> bool:
        """Whether the range is not known before the disparity is."""
        return self.mode in ("clip", "percentile")

    def __str__(self) -> str:
        """As users type it, such as ``percentile 2 98``."""
        limits = (f"{limit:g}" for limit in (self.low, self.high) if limit is not None)
        return " ".join((self.mode, *limits))


def read_normalization(text: str) -> Normalization:
    """A mode and its limits as typed: :data:`NORMALIZATIONS`. Raises ValueError and UsageError."""
    mode, *limits = re.split(r"[\s,:]+", text.strip())
    if mode not in _LIMITS or len(limits) not in (0, 2):
        raise ValueError(text)
    return Normalization(mode, *map(float, limits))  # type: ignore[arg-type]


def value_range(normalization: Normalization, statistics: DisparityStatistics) -> "ValueRange":
    """The raw disparities that become 0 and 1 for the whole clip."""
    from depthcrafter_cli.types import ValueRange

    low, high = normalization.low, normalization.high
    if normalization.mode == "clip":
        return ValueRange(statistics.minimum, statistics.maximum)
    if normalization.mode == "none":
        return ValueRange(0.0, 1.0)
    if normalization.mode == "percentile":
        default_low, default_high = _DEFAULT_PERCENTILES
        low, high = statistics.percentiles(
            default_low if low is None else low, default_high if high is None else high
        )
    assert low is not None and high is not None
    return ValueRange(low, high)


def normalize(disparity: "Disparity", values: "ValueRange") -> "Disparity":
    """Raw disparity as float32 in [0, 1]; outside ``values`` it is clamped.

    Where ``low`` is above ``high``, near becomes 0. A range of width 0 (a constant clip) gives 0
    everywhere.
    """
    import numpy as np

    width = np.float32(values.high) - np.float32(values.low)
    if width == 0:
        return np.zeros_like(disparity, dtype=np.float32)
    scaled = (disparity - np.float32(values.low)) / width
    clamped: Disparity = np.clip(scaled, 0.0, 1.0, out=scaled)
    return clamped
