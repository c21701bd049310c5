"""From relative disparity to metres: 1 / depth = a * disparity + b.

NumPy is loaded when it is first needed: the command line asks here for an option alone.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from depthcrafter_cli.errors import InputError
from depthcrafter_cli.structured import content_errors, json_object

if TYPE_CHECKING:
    from depthcrafter_cli.types import Disparity

_FARTHEST = 1e-5  # 1 / metres: beyond 100 km is infinitely far


@dataclass(frozen=True)
class MetricFit:
    """``1 / depth = a * disparity + b``, with depth in metres, for a shot.

    ``points`` were given, ``error`` is the median of their relative errors of depth.
    ``first_frame`` is the shot's.
    """

    a: float
    b: float
    points: int = 0
    error: float = 0.0
    first_frame: int = 0

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return dict(vars(self))


def metres(disparity: "Disparity", fit: MetricFit) -> "Disparity":
    """Depth in metres, float32 of the same shape; infinite where it is as far as can be."""
    import numpy as np

    inverse = np.float32(fit.a) * disparity + np.float32(fit.b)
    with np.errstate(divide="ignore"):
        depth: Disparity = np.where(inverse > _FARTHEST, 1 / inverse, np.float32(np.inf))
    return depth.astype(np.float32)


def read_fits(path: Path) -> list[MetricFit]:
    """What ``depthcrafter fit`` has written, for each shot. Raises InputError."""
    with content_errors(path, InputError, "expected the JSON that `depthcrafter fit` writes"):
        found: dict[str, Any] = json_object(path)
        return [MetricFit(**{**vars(MetricFit(0, 0)), **shot}) for shot in found["shots"]]
