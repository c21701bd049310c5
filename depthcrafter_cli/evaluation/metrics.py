"""The ten depth metrics of one clip, and their mean over clips.

Names and definitions are those of Eigen et al. 2014 and the KITTI depth benchmark. A metric is a
mean over the valid pixels of a frame, then over the frames that have any, then over clips. The
reference program pools two of them otherwise inside a clip: log10 is one mean over all pixels,
and silog the root of the mean variance of the frames.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace

import numpy as np

from depthcrafter_cli.errors import InputError
from depthcrafter_cli.evaluation.alignment import AlignedClip, Array, Float64

DELTA_THRESHOLD = 1.25


@dataclass(frozen=True)
class DepthMetrics:
    """Errors (lower is better) and accuracies (higher is better) of estimate d against truth g."""

    abs_rel: float  # mean |d - g| / g
    rmse: float  # root mean (d - g)^2, in the unit of depth
    delta1: float  # share of pixels with max(d / g, g / d) < 1.25
    sq_rel: float  # mean (d - g)^2 / g, in the unit of depth
    rmse_log: float  # root mean (ln d - ln g)^2
    log10: float  # mean |log10 d - log10 g|
    delta2: float  # as delta1, below 1.25^2
    delta3: float  # as delta1, below 1.25^3
    i_rmse: float  # root mean (1 / d - 1 / g)^2, in the inverse unit of depth
    silog: float  # 100 times the standard deviation of ln d - ln g


@dataclass(frozen=True)
class ClipMetrics(DepthMetrics):
    """The metrics of one clip, with the fit they rest on and the valid pixels behind them."""

    scale: float
    shift: float
    n_valid: int


def evaluate_clip(clip: AlignedClip) -> ClipMetrics:
    """Measure a prediction against the truth that it was aligned to."""
    frames, pixel_counts = [], []
    for frame in clip:
        if frame.valid.any():
            frames.append(pixel_metrics(frame.estimate[frame.valid], frame.truth[frame.valid]))
            pixel_counts.append(np.count_nonzero(frame.valid))
    mean = replace(
        mean_metrics(frames),
        log10=float(np.average([frame.log10 for frame in frames], weights=pixel_counts)),
        silog=_root_mean_square(np.array([frame.silog for frame in frames])),
    )
    return ClipMetrics(**asdict(mean), scale=clip.scale, shift=clip.shift, n_valid=clip.n_valid)


def pixel_metrics(estimate: Float64, truth: Float64) -> DepthMetrics:
    """Compare ``estimate`` and ``truth``, both float64 [n] of positive depths, n >= 1."""
    error = estimate - truth
    log_error = np.log(estimate) - np.log(truth)
    ratio = np.maximum(estimate / truth, truth / estimate)
    return DepthMetrics(
        abs_rel=_mean(np.abs(error) / truth),
        rmse=_root_mean_square(error),
        delta1=_mean(ratio < DELTA_THRESHOLD),
        sq_rel=_mean(error**2 / truth),
        rmse_log=_root_mean_square(log_error),
        log10=_mean(np.abs(log_error)) / float(np.log(10)),
        delta2=_mean(ratio < DELTA_THRESHOLD**2),
        delta3=_mean(ratio < DELTA_THRESHOLD**3),
        i_rmse=_root_mean_square(1 / estimate - 1 / truth),
        silog=100 * float(np.std(log_error)),
    )


def mean_metrics(metrics: Sequence[DepthMetrics]) -> DepthMetrics:
    """Average frames or clips, each with the same weight. Raises InputError for none."""
    if not metrics:
        raise InputError("got no clip to average, expected at least one; evaluate a clip first")
    names = [field.name for field in fields(DepthMetrics)]
    return DepthMetrics(*(_mean([getattr(each, name) for each in metrics]) for name in names))


def _mean(values: Array | Sequence[float]) -> float:
    return float(np.mean(values))


def _root_mean_square(values: Float64) -> float:
    return float(np.sqrt(np.mean(values**2)))
