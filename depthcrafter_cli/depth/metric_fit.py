"""1 / depth = a * disparity + b from known distances, whatever some of them say."""

import numpy as np
import numpy.typing as npt

from depthcrafter_cli.depth.metric import MetricFit
from depthcrafter_cli.errors import InputError

Floats = npt.NDArray[np.float64]

TRUSTED_POINTS, TRUSTED_MAPS = 0.75, 0.95
"""The share of known depths that is not wrong: a fifth of what people measure may be."""
_MEASURED = 0.01, 0.03, 0.1
"""By how much a right depth may be off, relative to itself: each of them is thought possible."""
_ESTIMATED = 0.001, 0.003, 0.01, 0.03
"""By how much a disparity may be off, relative to the shot's range."""
_JUDGED = 300  # points at most, drawn by lot
_GRID, _ZOOMS = 48, 4
_FAR = 0.08  # of the shot's range, from its lowest: there 1 / depth must be above 0
_LEAST = 1e-6  # 1 / metres
_UNLIKELY = 1e-4  # relative to the most likely line
_NARROW = 0.15  # of the logarithm of depth
_LINES, _PLACES = 250, 16  # of which lines, at which of the known places, one is chosen
# By how many deviations a disparity is off, and how likely: three stand for all of a normal one.
_OFF = (-(3**0.5), 1 / 6), (0.0, 2 / 3), (3**0.5, 1 / 6)
# Neighbours share what is wrong with their disparity, so that points tell less than as many alone.
_TOLD = 0.5  # of what points without common errors would tell
_BEYOND = 0.1  # of the known 1 / depth, the least that counts
_SUITS, _EXACT, _STEPS = 4.0, 1e-3, 10
_HUBER = 1.345 * 1.4826  # times the median error: nearly as sharp as least squares


def fit_metric(
    disparity: Floats,
    depth: Floats,
    span: tuple[float, float],
    trusted: float = TRUSTED_POINTS,
) -> MetricFit:
    """The line through known depths [n] in metres at disparities [n], whatever some of them say.

    All are finite, and depths above 0.

    ``span`` are the lowest and the highest disparity of the whole shot, ``trusted`` is the share of
    the depths that is right.

    All lines are weighed by how likely they make the points. The answer is not the most likely one,
    which a few points often miss by far, but the one whose depth is expected to be least wrong,
    relative to itself, at disparities such as those of the points. Where likely lines differ by
    little, it is refined on the points that suit it.

    Raises InputError for fewer than two different disparities, and where nearer points have no
    larger disparity.
    """
    disparity, depth = disparity.astype(np.float64), depth.astype(np.float64)
    count = len(depth)
    if count < 2 or np.ptp(disparity) == 0:
        raise InputError(
            f"got {count} known depths at {len(np.unique(disparity))} disparities, expected at "
            "least two different ones: add points that are nearer and farther."
        )
    low, high = min(span[0], disparity.min()), max(span[1], disparity.max())
    far = low + _FAR * (high - low)
    judged = np.random.default_rng(0).permutation(count)[:_JUDGED]
    places = (disparity - far) / (high - far)
    nearer_first = np.argsort(-disparity, kind="stable")
    inverse, room = _best_line(places[judged], depth[judged], trusted)
    a = (inverse[1] - inverse[0]) / (high - far)
    if (np.diff(depth[nearer_first]) <= 0).all() or not a > 0:
        raise InputError(
            "got known depths of which the nearer ones have no larger disparity, expected the "
            "opposite: check the order of their columns and the frames they are of."
        )
    line = np.array([a, inverse[0] - a * far])
    errors = _errors(line, disparity, depth)
    if room < _NARROW:
        usual = np.sort(errors)[: max(2, round(trusted * count))].mean()
        suits = errors <= _SUITS * usual + _EXACT
        line = _refined(line, disparity[suits], depth[suits])
        errors = _errors(line, disparity, depth)
    return MetricFit(float(line[0]), float(line[1]), count, float(np.median(errors)))


def _best_line(places: Floats, depth: Floats, trusted: float) -> tuple[Floats, float]:
    """1 / depth at the places 0 and 1, and by how much likely lines differ there.

    A line is named by the logarithms of these two. The grid of them is drawn anew around those that
    are likely, closer each time.
    """
    logs = np.log(depth)
    middle = -float(np.median(logs))
    bounds = np.array([[middle - 5, middle + 1.5], [middle - 1, middle + 4]])
    for _ in range(_ZOOMS):
        axes = [np.linspace(low, high, _GRID) for low, high in bounds]
        ends = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
        ends = ends[ends[:, 1] - ends[:, 0] > _LEAST]
        steps = np.diff(bounds, axis=1)[:, 0] / (_GRID - 1)
        weights, off = _likelihood(np.exp(ends), steps, places, logs, trusted)
        likely = ends[weights > _UNLIKELY]
        bounds = np.stack([likely.min(axis=0) - steps, likely.max(axis=0) + steps], axis=1)
    most = np.argsort(-weights)[:_LINES]
    lines, weights, off = np.exp(ends[most]), weights[most] ** _TOLD, off[most]
    some = np.quantile(places, np.linspace(0, 1, _PLACES))
    least = _BEYOND / float(np.quantile(depth, 0.9))
    expected = _expected_errors(lines, weights / weights.sum(), off, some, least)
    return lines[expected.argmin()], float(np.diff(bounds, axis=1).max())


def _expected_errors(
    lines: Floats, weights: Floats, off: Floats, places: Floats, least: float
) -> Floats:
    """By how much each line's depth is off, relative to the true one, if another one is right.

    That is as likely as its weight, and disparity is ``off`` as well, by what is expected of that
    line. 1 / depth is at ``least`` that.
    """
    expected = np.zeros(len(lines))
    rise = np.diff(lines, axis=1)[:, 0]
    for place in places:
        inverse = lines @ (1 - place, place)
        told = np.maximum(inverse, least)
        for deviations, share in _OFF:
            true = np.maximum(inverse + deviations * off * rise, least)
            expected += share * np.abs(true / told[:, None] - 1) @ weights
    return expected


def _likelihood(
    ends: Floats, steps: Floats, places: Floats, logs: Floats, trusted: float
) -> tuple[Floats, Floats]:
    """How likely each line [m] makes the points, relative to the best line: [m].

    With it comes by how much disparity is off, as expected of each line: [m], of the range.

    ``ends`` [m, 2] are 1 / depth at the places 0 and 1, and ``steps`` by how much neighbouring
    lines differ in its logarithm there. A disparity that is off moves 1 / depth by as much
    everywhere, and so, far away, depth by a lot; a measurement is off relative to itself. Wrong
    depths may be anything. The farthest disparity of the shot is hardly beyond infinity.
    """
    first, rise = ends[:, :1], np.diff(ends, axis=1)
    told, known = first + rise * places, np.exp(-logs)
    squared, seen = (known - told) ** 2, np.maximum(told, 0) ** 2
    moved = first * (1 - places) * steps[0], ends[:, 1:] * places * steps[1]
    between = (moved[0] ** 2 + moved[1] ** 2) / 12
    wrong = (1 - trusted) / (max(float(np.ptp(logs)), 0.5) + 2)
    lowest = (first - rise * (_FAR / (1 - _FAR)))[:, 0] / rise[:, 0]
    found, supposed = [], []
    for estimated in _ESTIMATED:
        beyond = -np.logaddexp(0, -1.7 * np.clip(lowest / estimated + 1, -50, 50))
        for measured in _MEASURED:
            variance = measured**2 * seen + (estimated * rise) ** 2 + between
            right = known * np.exp(-squared / (2 * variance)) / np.sqrt(2 * np.pi * variance)
            found.append(np.log(trusted * right + wrong).sum(axis=1) + beyond)
            supposed.append(estimated)
    total = np.logaddexp.reduce(found, axis=0)
    off = np.exp(np.array(found) - total).T @ supposed
    return np.exp(total - total.max()), off


def _errors(line: Floats, disparity: Floats, depth: Floats) -> Floats:
    """By how much a line is off at each point [n], as the logarithm of depth."""
    errors: Floats = np.abs(np.log(np.maximum(line[0] * disparity + line[1], _LEAST) * depth))
    return errors


def _refined(line: Floats, disparity: Floats, depth: Floats) -> Floats:
    """The line near another one by Huber's weights of the relative errors of depth."""
    columns = np.stack([disparity, np.ones_like(disparity)], axis=1)
    for _ in range(_STEPS):
        inverse = np.maximum(columns @ line, _LEAST)
        errors = np.abs(np.log(inverse * depth))
        usual = max(_EXACT, _HUBER * float(np.median(errors)))
        weights = np.sqrt(usual / np.maximum(errors, usual)) / inverse
        found, *_ = np.linalg.lstsq(columns * weights[:, None], weights / depth, rcond=None)
        if not found[0] > 0:
            break
        line = found.astype(np.float64)
    return line
