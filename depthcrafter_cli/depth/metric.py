"""From relative disparity to metres: 1 / depth = a * disparity + b, found from known distances.

NumPy is loaded when it is first needed: the command line asks here for an option alone.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from depthcrafter_cli.errors import InputError
from depthcrafter_cli.structured import content_errors, json_object

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from depthcrafter_cli.types import Disparity

    Floats = npt.NDArray[np.float64]

_TRIED, _JUDGED, _STEPS = 1000, 1000, 10
TRUSTED_POINTS, TRUSTED_MAPS = 0.75, 0.95
"""The share of known depths that is not wrong: a fifth of what people measure may be."""
_SUITS, _EXACT = 4.0, 1e-3
_HUBER = 1.345 * 1.4826  # times the median error: nearly as sharp as least squares
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


def fit_metric(disparity: "Floats", depth: "Floats", trusted: float = TRUSTED_POINTS) -> MetricFit:
    """The line through known depths [n] in metres at disparities [n], whatever some of them say.

    Lines through two points each are tried. The one for which the ``trusted`` share of all points
    are least off, by the logarithm of depth, is refined on the points that suit it.

    Raises InputError for fewer than two different disparities, and where nearer points have no
    larger disparity.
    """
    import numpy as np

    usable = np.isfinite(disparity) & np.isfinite(depth) & (depth > 0)
    disparity, depth = disparity[usable].astype(np.float64), depth[usable].astype(np.float64)
    count, rng = len(depth), np.random.default_rng(0)
    if count < 2 or np.ptp(disparity) == 0:
        raise InputError(
            f"got {count} known depths at {len(np.unique(disparity))} disparities, expected at "
            "least two different ones: add points that are nearer and farther."
        )
    pairs = np.stack(np.triu_indices(min(count, 64), 1), axis=1)
    if count > 64:
        pairs = rng.integers(count, size=(_TRIED, 2))
    pairs = pairs[disparity[pairs[:, 0]] != disparity[pairs[:, 1]]]
    (first, second), inverse = pairs.T, 1 / depth
    slopes = (inverse[first] - inverse[second]) / (disparity[first] - disparity[second])
    lines = np.stack([slopes, inverse[first] - slopes * disparity[first]], axis=1)[slopes > 0]
    if not len(lines):
        raise InputError(
            "got known depths of which the nearer ones have no larger disparity, expected the "
            "opposite: check the order of their columns and the frames they are of."
        )
    judged = rng.permutation(count)[:_JUDGED]
    costs = _typical_error(lines, disparity[judged], depth[judged], trusted)
    line = lines[int(np.argmin(costs))]
    suits = _errors(line[None], disparity, depth)[0] <= _SUITS * costs.min() + _EXACT
    line = _refined(line, disparity[suits], depth[suits])
    error = float(np.median(_errors(line[None], disparity, depth)))
    return MetricFit(float(line[0]), float(line[1]), count, error)


def _errors(lines: "Floats", disparity: "Floats", depth: "Floats") -> "Floats":
    """By how much each line [m] is off at each point [n], as the logarithm of depth: [m, n]."""
    import numpy as np

    inverse = lines[:, :1] * disparity + lines[:, 1:]
    errors: Floats = np.abs(np.log(np.maximum(inverse * depth, 1e-9)))
    return errors


def _typical_error(
    lines: "Floats", disparity: "Floats", depth: "Floats", trusted: float
) -> "Floats":
    """The mean error of each line at the share of the points that it suits best: [m]."""
    import numpy as np

    errors = _errors(lines, disparity, depth)
    best = max(2, round(trusted * errors.shape[1]))
    typical: Floats = np.partition(errors, best - 1, axis=1)[:, :best].mean(axis=1)
    return typical


def _refined(line: "Floats", disparity: "Floats", depth: "Floats") -> "Floats":
    """The line near another one by Huber's weights of the relative errors of depth."""
    import numpy as np

    columns = np.stack([disparity, np.ones_like(disparity)], axis=1)
    for _ in range(_STEPS):
        inverse = np.maximum(columns @ line, 1e-9)
        errors = np.abs(np.log(inverse * depth))
        usual = max(_EXACT, _HUBER * float(np.median(errors)))
        weights = np.sqrt(usual / np.maximum(errors, usual)) / inverse
        found, *_ = np.linalg.lstsq(columns * weights[:, None], weights / depth, rcond=None)
        if not found[0] > 0:
            break
        line = found.astype(np.float64)
    return line


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
