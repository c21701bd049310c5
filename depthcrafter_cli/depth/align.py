"""One steady scale for all windows of a shot.

Each window sees its frames in a scale and with a shift of its own. The frames that two of them
share tell how these differ, ``scale_i * p + shift_i = scale_j * q + shift_j``: :func:`fit_windows`
finds scales and shifts for all windows at once. A frame of the stitched disparity is a mixture of
windows, and :func:`align` takes it back to the steady scale as such.
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
_STEEPEST = 4.0  # no window has so many times the scale of one that it shares frames with
# Times the disagreement of before: windows that err apart may come to a little more. Without a
# skeleton each seam's error adds to those before, so that of more seams more must be mended.
_WORSE, _ADDED = 1.25, 0.055
_RIDGE, _GAUGE = 1e-5, 1e-8  # squared disparity: what no samples tell stays as it is


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

    Both are float64 [n], and equally exact.
    """

    first: int
    second: int
    p: Floats
    q: Floats


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
    What takes windows clearly apart, or without a skeleton mends little over many, is not done.
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
    maps = fit_windows(told, len(starts) + bool(pins), robust=robust)
    untouched: Floats = np.tile([1.0, 0.0], (len(maps), 1))
    before, after = disagreement(seams, untouched), disagreement(seams, maps)
    most = _WORSE / math.sqrt(1 + (0 if pins else _ADDED * len(seams)))
    if after > most * before:
        maps, after = untouched, before
    return Alignment(_by_frame(maps, starts, ends, frames), Seams(len(starts), before, after))


def _pair(first: int, second: int, overlap: Overlap) -> Pair:
    """The samples that the decoder did not cut off at 0 or 1."""
    p, q = overlap.first.ravel(), overlap.second.ravel()
    whole = (p != 0) & (p != 1) & (q != 0) & (q != 1)
    return Pair(first, second, p[whole].astype(np.float64), q[whole].astype(np.float64))


def fit_windows(pairs: Sequence[Pair], count: int, *, robust: bool = True) -> Floats:
    """Scale and shift of each of ``count`` windows, float64 [count, 2]; their medians are 1 and 0.

    A robust loss, as least squares that are weighted anew until nothing changes; each pair counts
    alike. Samples that are too flat to tell a scale, or contradict each other, tell a shift alone.
    Not ``robust``, it is one fit by least squares. A pair may count windows from the last one.
    """
    pairs = [pair for pair in pairs if len(pair.p)]
    errors = [_first_errors(pair) if robust else np.zeros(len(pair.p)) for pair in pairs]
    usual = [max(_USUAL * float(np.median(each)), _LEAST_ERROR) for each in errors]
    untouched: Floats = np.tile([1.0, 0.0], (count, 1))
    maps = untouched
    for _ in range(_ITERATIONS if robust else 1):
        system, before = _GAUGE * np.eye(2 * count).reshape(count, 2, count, 2), maps
        for pair, error, most in zip(pairs, errors, usual, strict=True):
            rows = _equations(pair, (most / np.maximum(error, most)) ** _FALL)
            at = [pair.first, pair.second]
            system[np.ix_(at, (0, 1), at, (0, 1))] += np.einsum("rwi,rvj->wivj", rows, rows)
        known = _GAUGE * untouched.ravel()
        found = np.linalg.solve(system.reshape(2 * count, -1), known)
        maps = np.asarray(found, np.float64).reshape(count, 2)
        errors = [_errors(pair, maps) for pair in pairs]
        if np.abs(maps - before).max() < 1e-9:
            break
    scale = maps[:, 0] / np.median(maps[:, 0])
    shift = maps[:, 1] / np.median(maps[:, 0])
    return np.stack([scale, shift - np.median(shift)], axis=1)


def _equations(pair: Pair, weight: Floats) -> Floats:
    """Rows [3, 2, 2] of (scale, shift) of both windows, that are to give 0.

    The first is of the scales, by the long axis of the samples: both windows err, and least squares
    would flatten one after another. The second is of the samples' means; the third asks weakly for
    equal scales, as windows are made to begin with that of the one before.
    """
    weight = weight / weight.sum()
    mean_p, mean_q = weight @ pair.p, weight @ pair.q
    p, q = pair.p - mean_p, pair.q - mean_q
    spread_p, spread_q, common = weight @ p**2, weight @ q**2, weight @ (p * q)
    angle = math.atan2(2 * common, spread_p - spread_q) / 2
    along_p, along_q = math.cos(angle), math.sin(angle)
    tells = common > _TELLING * math.sqrt(spread_p * spread_q)
    steep = max(along_p, along_q) > _STEEPEST * min(along_p, along_q)
    told = math.sqrt(math.hypot(2 * common, spread_p - spread_q)) if tells and not steep else 0.0
    alike = math.sqrt(_RIDGE)
    return np.array(
        [
            [[told * along_p, 0], [-told * along_q, 0]],
            [[mean_p, 1], [-mean_q, -1]],
            [[alike, 0], [-alike, 0]],
        ]
    )


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
