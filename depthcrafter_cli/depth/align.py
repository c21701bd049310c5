"""One steady scale for all windows of a shot.

Each window sees its frames in a scale and with a shift of its own. The frames that two of them
share tell how these differ, ``scale_i * p + shift_i = scale_j * q + shift_j``, and how exactly:
as far as parts of the picture and ends of the overlap agree on it. :func:`fit_windows` finds the
likeliest scales and shifts of all windows at once, of which those are less likely that lie further
off than a shot's windows seem to differ. So what overlaps cannot tell from their own errors is left
alone, and errors do not add up from window to window. A frame of the stitched disparity is a
mixture of windows, and :func:`align` takes it back to the steady scale as such.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from depthcrafter_cli.types import Disparity

Floats = npt.NDArray[np.float64]

# Samples whose error is up to so many times the median count in full. Beyond, Huber's weight would
# fall as 1 / error; the long axis of the samples takes errors squared, so it falls more steeply.
_USUAL, _FALL = 2 / 0.6745, 1.5
_LEAST_ERROR = 1e-3  # that is not counted against a sample: half precision has no smaller one
_ITERATIONS = 20
_TRIED, _JUDGED = 100, 1000  # lines through two samples, and samples that each is judged by
_TELLING = 0.5  # the least correlation of two windows' samples that tells a scale
_STEEPEST = 30.0  # a window may show something near that the next does not, hence other ranges
_PARTS = 4  # of the height and of the width, each of which errs by itself
_EXACT, _UNTOLD = 1e-10, 1e4  # the least and the largest variance of what an overlap tells
_WIDE = 1.0  # a variance that lets windows differ as they like; what no pair tells stays as it is
_PRIOR_STEPS, _STANDS = 200, 1e-4  # of finding how much windows differ, until that stands
_WORSE = 1.25  # times the disagreement of before: windows that err apart may come to a little more


@dataclass(frozen=True)
class Overlap:
    """Some pixels of frames that two windows of a shot share, as each of them has these.

    ``first`` is by the window before, or by the skeleton, ``second`` by the window that begins with
    frame ``start``; both are float32 [n, h, w] in [0, 1]. ``frames`` are their n numbers in the
    shot; the last is the last that both windows have.
    """

    start: int
    frames: tuple[int, ...]
    first: Disparity
    second: Disparity


@dataclass(frozen=True)
class Pair:
    """What two windows say of the same pixels: ``p`` of window ``first``, ``q`` of ``second``.

    Both are float64 [n], and equally exact. ``parts`` [2, n] are the part of the picture and the
    end of the overlap that each sample is of.
    """

    first: int
    second: int
    p: Floats
    q: Floats
    parts: npt.NDArray[np.intp]


@dataclass(frozen=True)
class _Relation:
    """What a pair tells: ``rows`` [2, 2, 2] of (scale, shift) of both windows, that are to give 0.

    The first is of the scales, the second of the samples' means. ``variances`` are theirs, where
    both windows have about the scale 1.
    """

    windows: tuple[int, int]
    rows: Floats
    variances: Floats


@dataclass(frozen=True)
class Seams:
    """By how much neighbouring windows of a shot disagree, before and after they are aligned.

    See :func:`disagreement`.
    """

    windows: int
    before: float
    after: float

    def to_json(self) -> dict[str, Any]:
        """Return what a record says of it."""
        residual = {"before": self.before, "after": self.after}
        return {"windows": self.windows, "seam_residual": residual}


@dataclass(frozen=True)
class Alignment:
    """Scale and shift of each frame of a shot, float64 [frames, 2]; and what they mend."""

    maps: Floats
    seams: Seams

    def __call__(self, frame: int, disparity: Disparity) -> Disparity:
        """Return a frame's disparity in the steady scale."""
        scale, shift = self.maps[frame].astype(np.float32)
        aligned: Disparity = disparity * scale + shift
        return aligned


def align(overlaps: Iterable[Overlap], frames: int, *, robust: bool = True) -> Alignment:
    """The maps of a shot's frames to one steady scale, by what its windows share, in their order.

    Overlaps with the skeleton come after all others, and begin with the first window's. They alone
    then tell the scale of the windows that they are of: errors cannot add up from one to the next.
    What takes windows clearly apart is not done.
    """
    starts, ends, seams, pins = [0], [0], list[Pair](), list[Pair]()
    for overlap in overlaps:
        if overlap.start == 0 or pins:
            pins.append(_pair(-1, starts.index(overlap.start), overlap))
        else:
            seams.append(_pair(len(seams), len(starts), overlap))
            starts.append(overlap.start)
            ends.append(overlap.frames[-1])
    pinned = {pin.second for pin in pins}
    told = [*pins, *(seam for seam in seams if not {seam.first, seam.second} <= pinned)]
    maps = fit_windows(told, len(starts) + bool(pins), robust=robust, adding_up=not pins)
    untouched: Floats = np.tile([1.0, 0.0], (len(maps), 1))
    before, after = disagreement(seams, untouched), disagreement(seams, maps)
    if after > _WORSE * before:
        maps, after = untouched, before
    return Alignment(_by_frame(maps, starts, ends, frames), Seams(len(starts), before, after))


def _pair(first: int, second: int, overlap: Overlap) -> Pair:
    """The samples that the decoder did not cut off at 0 or 1."""
    p, q = overlap.first, overlap.second
    whole = (p != 0) & (p != 1) & (q != 0) & (q != 1)
    end, row, column = (
        np.arange(count) * parts // count
        for count, parts in zip(p.shape, (2, _PARTS, _PARTS), strict=True)
    )
    places = np.broadcast_to(row[:, None] * _PARTS + column, p.shape)
    ends = np.broadcast_to(end[:, None, None], p.shape)
    parts = np.stack([places[whole], ends[whole]])
    return Pair(first, second, p[whole].astype(np.float64), q[whole].astype(np.float64), parts)


def fit_windows(
    pairs: Sequence[Pair], count: int, *, robust: bool = True, adding_up: bool = True
) -> Floats:
    """Scale and shift of each of ``count`` windows, float64 [count, 2]; their medians are 1 and 0.

    Each pair counts by how exact it is. Samples that are too flat to tell a scale, or contradict
    each other, tell a shift alone. Not ``robust``, all samples count alike. Where errors are not
    ``adding_up`` from pair to pair, pairs are followed however inexact they are. A pair may count
    windows from the last one.
    """
    untouched: Floats = np.tile([1.0, 0.0], (count, 1))
    relations = [_relation(pair, robust=robust) for pair in pairs if len(pair.p)]
    if not relations:
        return untouched
    system = np.zeros((count, 2, count, 2))
    each = np.arange(count)
    likely = np.linalg.inv(_differences(relations) / 2) if adding_up else np.eye(2) / _WIDE
    system[each, :, each, :] = likely
    known = system.reshape(2 * count, -1) @ untouched.ravel()
    for relation in relations:
        at, rows = list(relation.windows), relation.rows
        told = np.einsum("rwi,rvj,r->wivj", rows, rows, 1 / relation.variances)
        system[np.ix_(at, (0, 1), at, (0, 1))] += told
    maps = np.linalg.solve(system.reshape(2 * count, -1), known).reshape(count, 2)
    scale = maps[:, 0] / np.median(maps[:, 0])
    shift = maps[:, 1] / np.median(maps[:, 0])
    return np.stack([scale, shift - np.median(shift)], axis=1)


def _relation(pair: Pair, *, robust: bool) -> _Relation:
    """The line through a pair's samples by a robust loss: squares, weighted until nothing changes.

    It is their long axis: both windows err, and least squares would flatten one after another.
    """
    p, q, errors = pair.p, pair.q, _first_errors(pair) if robust else np.zeros(len(pair.p))
    most = max(_USUAL * float(np.median(errors)), _LEAST_ERROR)
    for _ in range(_ITERATIONS if robust else 1):
        before, weight = errors, (most / np.maximum(errors, most)) ** _FALL
        weight /= weight.sum()
        mean_p, mean_q = weight @ p, weight @ q
        spread_p, spread_q = weight @ (p - mean_p) ** 2, weight @ (q - mean_q) ** 2
        common = weight @ ((p - mean_p) * (q - mean_q))
        angle = math.atan2(2 * common, spread_p - spread_q) / 2
        along_p, along_q = math.cos(angle), math.sin(angle)
        off = (p - mean_p) * along_q - (q - mean_q) * along_p
        errors = np.abs(off)
        if np.abs(errors - before).max() < 1e-9:
            break
    steep = max(along_p, along_q) > _STEEPEST * min(along_p, along_q)
    tells = not steep and bool(common > _TELLING * math.sqrt(spread_p * spread_q))
    if not tells:
        along_p = along_q = math.sqrt(0.5)
    along = (p - mean_p) * along_p + (q - mean_q) * along_q
    spread = max(float(weight @ along**2), _EXACT)
    turned = _variance(weight * off * along, pair.parts) / spread**2
    moved = _variance(weight * off, pair.parts)
    variances = [(along_p + along_q) ** 2 * turned if tells else _UNTOLD, 2 * moved]
    rows = [[[along_p, 0], [-along_q, 0]], [[mean_p, 1], [-mean_q, -1]]]
    return _Relation((pair.first, pair.second), np.array(rows), np.maximum(variances, _EXACT))


def _variance(terms: Floats, parts: npt.NDArray[np.intp]) -> float:
    """The variance of a sum of [n], to which parts of the picture, and ends, err as wholes."""
    found = 0.0
    for of in parts:
        sums = np.bincount(of, terms)
        count = len(np.unique(of))
        found += count / max(count - 1, 1) * float(sums @ sums)
    return found


def _differences(relations: Sequence[_Relation]) -> Floats:
    """The covariance [2, 2] of (scale, shift) by which windows differ that share frames.

    The likeliest one, where differences are what relations tell, less what these err by; of few
    relations more than that, as a penalty on small determinants has it (Chung and others 2015),
    since few that seem to agree may do so by chance.
    """
    y = np.stack([relation.rows[:, :, 0] @ (1, 1) for relation in relations])
    rows = np.stack([(each.rows[:, 0] - each.rows[:, 1]) / 2 for each in relations])
    back = np.linalg.inv(rows)
    told = -np.einsum("nij,nj->ni", back, y)
    variances = np.stack([relation.variances for relation in relations])
    errors = np.einsum("nij,nj,nkj->nik", back, variances, back)
    least = _EXACT * np.eye(2)
    found: Floats = np.einsum("ni,nj->ij", told, told) / len(told) + least
    for _ in range(_PRIOR_STEPS):
        before = found
        gain = found @ np.linalg.inv(found + errors)
        likely = np.einsum("nij,nj->ni", gain, told)
        left = found - gain @ found
        spread = np.einsum("ni,nj->ij", likely, likely) + left.sum(axis=0)
        found = spread / max(len(told) - 1, 1) + least
        if np.abs(found - before).max() < _STANDS * np.abs(before).max():
            break
    return found


def _first_errors(pair: Pair) -> Floats:
    """The distances [n] from a line that wrong samples do not mislead if they are less than half.

    Of lines through two samples each, it is the one that half of all samples are nearest to.
    """
    ends = np.random.default_rng(0).integers(len(pair.p), size=(_TRIED, 2))
    p, q = pair.p[ends[:, :1]], pair.q[ends[:, :1]]
    across, along = pair.p[ends[:, 1:]] - p, pair.q[ends[:, 1:]] - q
    length = np.hypot(across, along)
    across, along = across / np.maximum(length, 1e-9), along / np.maximum(length, 1e-9)
    few = slice(None, None, max(len(pair.p) // _JUDGED, 1))
    median = np.median(np.abs((pair.p[few] - p) * along - (pair.q[few] - q) * across), axis=1)
    best = int(np.where((across * along > 0)[:, 0], median, np.inf).argmin())
    distances: Floats = np.abs((pair.p - p[best]) * along[best] - (pair.q - q[best]) * across[best])
    return distances


def _errors(pair: Pair, maps: Floats) -> Floats:
    """By how much two windows disagree after ``maps``, [n], in the unit of each window."""
    (a, b), (c, d) = maps[pair.first], maps[pair.second]
    errors: Floats = np.abs(a * pair.p + b - c * pair.q - d) / math.hypot(a, c)
    return errors


def disagreement(pairs: Sequence[Pair], maps: Floats) -> float:
    """The mean over pairs of the median difference between their windows, in disparity."""
    medians = [np.median(_errors(pair, maps)) for pair in pairs if len(pair.p)]
    return float(np.mean(medians) * math.sqrt(2)) if medians else 0.0


def _by_frame(maps: Floats, starts: Sequence[int], ends: Sequence[int], frames: int) -> Floats:
    """Scale and shift of each frame, which is mixed of windows as the pipeline stitches them.

    What is mixed is what each window makes of steady disparity: the inverse of its map. ``starts``
    are the windows' first frames, ``ends`` the last that each shares with the one before.
    """
    inverse = np.stack([1 / maps[:, 0], -maps[:, 1] / maps[:, 0]], axis=1)
    mixed = np.tile(inverse[0], (frames, 1))
    for window, (start, end) in enumerate(zip(starts, ends, strict=True)):
        new = np.clip((np.arange(start, frames) - start) / max(end - start, 1), 0, 1)
        mixed[start:] += new[:, None] * (inverse[window] - mixed[start:])
    return np.stack([1 / mixed[:, 0], -mixed[:, 1] / mixed[:, 0]], axis=1)
