"""Metres from few known distances, beside the fit on all pixels, on drawn clips with true depth.

    python benchmarks/metres.py                       # 16 clips, 25 draws each, some two minutes

Disparity is the true one, scaled and shifted, with smooth errors of 0.02 of its range. Points have
3 % noise, and some of them are wrong altogether: anything from 0.5 to 30 m. AbsRel is that of all
pixels within 80 m; the bound is what the same points give where it is known which ones are right.
"""

import argparse
import sys
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from PIL import Image

from depthcrafter_cli.datasets.generated import HELD_OUT
from depthcrafter_cli.depth.metric import MetricFit, metres
from depthcrafter_cli.depth.metric_fit import fit_metric
from depthcrafter_cli.evaluation.alignment import fit_scale_shift
from depthcrafter_cli.synthetic import draw_clip

HEIGHT, WIDTH, FARTHEST = 48, 64, 80
Floats = npt.NDArray[np.float64]


def main() -> int:
    parser = argparse.ArgumentParser(description="Metres from few known distances.")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--clips", type=int, default=16)
    parser.add_argument("--draws", type=int, default=25)
    parser.add_argument("--points", type=int, default=20)
    parser.add_argument("--wrong", type=int, default=4)
    arguments = parser.parse_args()
    print("clip  all pixels   points: mean, median, worst   right points alone: mean")
    rows = []
    for clip in range(arguments.first, arguments.first + arguments.clips):
        disparity, depth = _clip(clip)
        span = float(disparity.min()), float(disparity.max())
        seen = np.isfinite(depth) & (depth < FARTHEST)
        disparity, depth = disparity[seen], depth[seen]
        everywhere = fit_scale_shift(disparity, 1 / depth, np.ones(depth.shape, bool))
        best = _abs_rel(MetricFit(*everywhere), disparity, depth)
        wrong, found, bound = arguments.wrong, [], []
        for at, measured in _points(clip, depth, arguments.draws, arguments.points, wrong):
            for errors, start, trusted in (found, 0, 0.75), (bound, wrong, 0.999):
                fit = fit_metric(disparity[at][start:], measured[start:], span, trusted)
                errors.append(_abs_rel(fit, disparity, depth))
        rows.append((best, np.mean(found), np.median(found), np.mean(bound)))
        print(
            f"{clip:>4}  {best:.4f}       {np.mean(found):.4f}, {np.median(found):.4f}, "
            f"{max(found):.4f}           {np.mean(bound):.4f}",
            flush=True,
        )
    errors = np.array(rows)
    best, found, _median, bound = errors.mean(axis=0)
    print(
        f"AbsRel, mean of clips: all pixels {best:.4f}, points {found:.4f} ({found / best:.3f}), "
        f"right points alone {bound:.4f} ({bound / best:.3f})"
    )
    relative = errors[:, 1:] / errors[:, :1]
    found, median, bound = relative.mean(axis=0)
    spread = relative[:, 0].std() / len(rows) ** 0.5
    print(
        f"relative to all pixels, clip by clip: {found:.3f} (standard error {spread:.3f}), of "
        f"medians {median:.3f}, right points alone {bound:.3f}"
    )
    return 0


def _clip(number: int) -> tuple[Floats, Floats]:
    """Disparity and depth in metres of two frames."""
    depth = draw_clip(HELD_OUT + number, 2, HEIGHT, WIDTH).depth.numpy().astype(np.float64)
    near_enough = np.isfinite(depth) & (depth < FARTHEST)
    inverse = np.where(near_enough, 1 / np.clip(depth, 0.05, None), 0)
    coarse = np.random.default_rng(number).normal(size=(6, 8)).astype(np.float32)
    error = np.asarray(Image.fromarray(coarse).resize((WIDTH, HEIGHT)))
    return 0.8 * inverse / np.quantile(inverse, 0.99) + 0.1 + 0.02 * error, depth


def _points(
    seed: int, depth: Floats, draws: int, count: int, wrong: int
) -> Iterator[tuple[npt.NDArray[np.int64], Floats]]:
    """Where distances are known, and what was measured: the first ones are wrong."""
    rng = np.random.default_rng(1000 + seed)
    for _ in range(draws):
        at = rng.choice(depth.size, count, replace=False)
        measured = depth[at] * (1 + 0.03 * rng.normal(size=count))
        measured[:wrong] = rng.uniform(0.5, 30, wrong)
        yield at, measured


def _abs_rel(fit: MetricFit, disparity: Floats, depth: Floats) -> float:
    shown = metres(disparity.astype(np.float32), fit)
    return float(np.abs(np.clip(shown, 0.05, 200) / depth - 1).mean())


if __name__ == "__main__":
    sys.exit(main())
