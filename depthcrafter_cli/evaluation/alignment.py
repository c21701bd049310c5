"""From a predicted disparity clip to depth: resize, one affine fit per clip, invert.

The evaluation protocol of the DepthCrafter paper (Hu et al. 2024, "Evaluation"): a prediction is
right up to one scale and one shift, and both belong to the whole clip, so flicker costs.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from depthcrafter_cli.errors import InputError, UsageError
from depthcrafter_cli.types import Disparity, Size

Domain = Literal["depth", "disp"]
AlignBy = Literal["scale-shift", "scale", "none"]
Loss = Literal["squares", "absolute"]
Array = npt.NDArray[Any]  # of any real dtype
Float64 = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

FLOOR = 1e-3  # smallest prediction, aligned value and depth the protocol lets through
TRUTH_EPSILON = 1e-8  # keeps the reciprocal of the true depth finite
_MOST_SAMPLES = 1 << 20  # that least absolute deviations are fitted to
_ROUNDS = 60  # of reweighting, after which such a fit stands still


def resize_bilinear(image: Array, size: Size) -> Disparity:
    """Resize ``image`` [..., h, w] to float32 [..., H, W] as OpenCV's INTER_LINEAR does.

    Half-pixel centres, edges repeated, no antialiasing; width first, then height.
    """
    wide = _interpolate(np.asarray(image, dtype=np.float32), size.width, axis=-1)
    return _interpolate(wide, size.height, axis=-2)


def _interpolate(image: Disparity, length: int, axis: int) -> Disparity:
    old = image.shape[axis]
    if old == length:
        return image
    centres = np.clip((np.arange(length) + 0.5) * (old / length) - 0.5, 0, old - 1)
    low = centres.astype(np.intp)
    weight = (centres - low).astype(np.float32)
    if axis == -2:
        weight = weight[:, np.newaxis]
    start = image.take(low, axis)
    # This form leaves a constant exactly constant, and so the fit's rank undisturbed.
    resized: Disparity = start + (image.take(np.minimum(low + 1, old - 1), axis) - start) * weight
    return resized


class AffineFit:
    """Least squares for ``target = scale * pred + shift``, fed piece by piece.

    Holds centred moments only (merged as in Chan, Golub and LeVeque 1983), so a clip can be
    fitted frame by frame without the cancellation of plain sums of squares.
    """

    def __init__(self) -> None:
        self.count = 0
        self._mean_pred = self._mean_target = 0.0
        self._spread = self._covariance = 0.0  # sums, not means

    def add(self, pred: Array, target: Array) -> None:
        """Take in ``pred`` and ``target``, both [n]; they may be empty."""
        if pred.size == 0:
            return
        mean_pred = float(pred.mean(dtype=np.float64))
        mean_target = float(target.mean(dtype=np.float64))
        centred = pred - mean_pred
        step_pred, step_target = mean_pred - self._mean_pred, mean_target - self._mean_target
        total = self.count + pred.size
        merge = self.count * pred.size / total
        self._spread += float(centred @ centred) + step_pred**2 * merge
        self._covariance += float(centred @ (target - mean_target))
        self._covariance += step_pred * step_target * merge
        self._mean_pred += step_pred * pred.size / total
        self._mean_target += step_target * pred.size / total
        self.count = total

    def solve(self) -> tuple[float, float]:
        """Return (scale, shift): of least norm where ``pred`` is constant to float32 precision.

        Raises InputError when nothing was added.
        """
        if self.count == 0:
            raise InputError(
                "got no valid depth pixel to fit scale and shift to, expected at least one; "
                "check the unit of the depth maps and the maximum depth"
            )
        deviation = math.sqrt(self._spread / self.count)
        if deviation <= np.finfo(np.float32).eps * abs(self._mean_pred):
            weight = self._mean_target / (self._mean_pred**2 + 1)
            return weight * self._mean_pred, weight
        scale = self._covariance / self._spread
        return scale, self._mean_target - scale * self._mean_pred


def fit_scale_shift(pred: Array, target: Array, valid: Mask) -> tuple[float, float]:
    """Fit ``target = scale * pred + shift`` over the ``valid`` pixels; all of one shape.

    Ordinary least squares in float64, of least norm where ``pred`` is constant; the scale
    may come out negative. Raises InputError when no pixel is valid.
    """
    fit = AffineFit()
    fit.add(pred[valid].astype(np.float64), target[valid].astype(np.float64))
    return fit.solve()


@dataclass(frozen=True)
class Alignment:
    """What is fitted of an estimate, and how; the published protocol is the default.

    ``by`` is one scale and one shift, one scale alone, or nothing for estimates in the truth's own
    unit. ``loss`` is least squares, or least absolute deviations, which a few wrong pixels do not
    sway; these are fitted to at most a million pixels, evenly chosen.

    Raises UsageError for another name.
    """

    by: AlignBy = "scale-shift"
    loss: Loss = "squares"

    def __post_init__(self) -> None:
        for name, choices in (("by", AlignBy), ("loss", Loss)):
            known, given = get_args(choices), getattr(self, name)
            if given not in known:
                raise UsageError(
                    f"got alignment {name} {given!r}, expected {' or '.join(known)}; choose one"
                )

    def solve(self, pairs: Iterable[tuple[Array, Array]], total: int) -> tuple[float, float, int]:
        """Return scale, shift and how many pixels there were, of ``pairs`` of [n] arrays.

        ``total`` is about how many there are. Raises InputError when there is none.
        """
        fit, squares, products = AffineFit(), 0.0, 0.0
        step = -(-total // _MOST_SAMPLES)
        kept: list[tuple[Array, Array]] = []
        for pred, target in pairs:
            fit.add(pred, target)
            squares, products = squares + float(pred @ pred), products + float(pred @ target)
            if self.loss == "absolute":
                kept.append((pred[::step], target[::step]))
        scale, shift = fit.solve()
        if self.by == "none":
            scale, shift = 1.0, 0.0
        elif self.by == "scale":
            scale, shift = products / squares, 0.0
        if self.loss == "absolute" and self.by != "none":
            pred, target = (np.concatenate(part) for part in zip(*kept, strict=True))
            scale, shift = _least_absolute(pred, target, scale, shift, self.by == "scale")
        return scale, shift, fit.count


def _least_absolute(
    pred: Array, target: Array, scale: float, shift: float, scale_alone: bool
) -> tuple[float, float]:
    """Least absolute deviations, from a first guess on, by reweighted least squares."""
    columns = pred[:, None] if scale_alone else np.stack([pred, np.ones_like(pred)], 1)
    found = np.array([scale, shift])[: columns.shape[1]]
    floor = 1e-9 * float(np.abs(target).max())
    for _ in range(_ROUNDS):
        weights = 1 / np.maximum(np.abs(columns @ found - target), floor)
        weighted = columns * weights[:, None]
        found = np.linalg.lstsq(columns.T @ weighted, weighted.T @ target, rcond=None)[0]
    return float(found[0]), 0.0 if scale_alone else float(found[1])


@dataclass(frozen=True)
class AlignedFrame:
    """Predicted and true depth of one frame, both float64 [H, W]; compare where ``valid``."""

    estimate: Float64
    truth: Float64
    valid: Mask


@dataclass(frozen=True)
class AlignedClip:
    """A clip with its fit; iterating aligns one frame at a time, as often as wanted."""

    pred: Array  # [T, h, w]
    depth: Array  # [T, H, W]
    max_depth: float
    domain: Domain
    scale: float
    shift: float
    n_valid: int

    def __iter__(self) -> Iterator[AlignedFrame]:
        for pred, truth, valid in _frames(self.pred, self.depth, self.max_depth):
            aligned = np.maximum(self.scale * pred + self.shift, FLOOR)
            estimate = 1 / aligned if self.domain == "depth" else aligned
            yield AlignedFrame(np.clip(estimate, FLOOR, self.max_depth), truth, valid)


_PUBLISHED = Alignment()


def align_clip(
    pred: Array,
    depth: Array,
    *,
    max_depth: float,
    domain: Domain = "depth",
    max_frames: int | None = None,
    alignment: Alignment = _PUBLISHED,
) -> AlignedClip:
    """Fit one scale and one shift between ``pred`` [T, h, w] and ``depth`` [T, H, W].

    ``pred`` is disparity up to an affine map. ``depth`` counts where 1e-3 < depth < ``max_depth``
    (same unit, metres as a rule); elsewhere, NaN included, it is unknown. The fit is to
    1 / depth, or to ``depth`` itself where ``domain`` is "disp". ``max_frames`` keeps that many
    frames from the start. ``alignment`` says what is fitted. Beyond the two arrays, which
    may be memory maps, one frame is held.

    Raises UsageError for an option out of range, and InputError for arrays that do not pair up,
    a prediction that is not finite, or no valid pixel.
    """
    pred, depth = np.asanyarray(pred), np.asanyarray(depth)
    _check_options(max_depth, domain, max_frames)
    _check_shapes(pred, depth, max_frames)
    pred = pred[:max_frames]

    def pairs() -> Iterator[tuple[Array, Array]]:
        for disparity, truth, valid in _frames(pred, depth, max_depth):
            known = truth[valid]
            yield disparity[valid], 1 / (known + TRUTH_EPSILON) if domain == "depth" else known

    scale, shift, count = alignment.solve(pairs(), depth[: len(pred)].size)
    return AlignedClip(pred, depth, max_depth, domain, scale, shift, count)


def _frames(pred: Array, depth: Array, max_depth: float) -> Iterator[tuple[Float64, Float64, Mask]]:
    """Yield prediction at the size of the truth, truth and validity, all [H, W]."""
    size = Size(*depth.shape[1:])
    for index, (small, known) in enumerate(zip(pred, depth, strict=False)):
        if not np.isfinite(small).all():
            raise InputError(
                f"got a value that is not finite in predicted frame {index}, expected finite "
                "disparity; predict the clip again"
            )
        truth = known.astype(np.float64)
        disparity = np.maximum(resize_bilinear(small, size).astype(np.float64), FLOOR)
        yield disparity, truth, (truth > FLOOR) & (truth < max_depth)


def _check_options(max_depth: float, domain: Domain, max_frames: int | None) -> None:
    if domain not in get_args(Domain):
        raise UsageError(f"got domain {domain!r}, expected 'depth' or 'disp'; choose one of them")
    if not max_depth > FLOOR:
        raise UsageError(
            f"got maximum depth {max_depth}, expected more than {FLOOR}; give it in the unit "
            "of the depth maps"
        )
    if max_frames is not None and max_frames < 1:
        raise UsageError(f"got {max_frames} frames to compare, expected 1 or more; raise the limit")


def _check_shapes(pred: Array, depth: Array, max_frames: int | None) -> None:
    for name, array in (("prediction", pred), ("depth", depth)):
        if array.ndim != 3 or 0 in array.shape:
            raise InputError(
                f"got a {name} of shape {array.shape}, expected [frames, height, width] with no "
                "empty axis; reshape it"
            )
    wanted = len(pred[:max_frames])
    if len(depth) < wanted:
        raise InputError(
            f"got {wanted} predicted frames but {len(depth)} depth maps, expected a depth map for "
            "every predicted frame; limit the number of frames"
        )
