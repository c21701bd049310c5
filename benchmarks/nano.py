"""How good nano is on clips it never saw, beside predictors that look at no pixel.

    python benchmarks/nano.py [--clips 20] [--frames 16] [--weights nano] [--sheet sheet.png]

Draws clips from held-out seeds, runs the pipeline on them, and prints AbsRel, delta1 and the
temporal score of each predictor. Exit code 1 unless AbsRel is at least 25 % below the best of them.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from depthcrafter_cli import DepthCrafterPipeline
from depthcrafter_cli.depth.colorize import colorize
from depthcrafter_cli.evaluation.alignment import resize_bilinear
from depthcrafter_cli.evaluation.metrics import evaluate_clip
from depthcrafter_cli.evaluation.temporal import temporal_score
from depthcrafter_cli.evaluation.trivial import trivial_predictions
from depthcrafter_cli.training.data.generated import HELD_OUT, NEAREST
from depthcrafter_cli.training.data.samples import target_disparity
from depthcrafter_cli.training.generator import draw_clip
from depthcrafter_cli.types import Size

HEIGHT, WIDTH, MAX_DEPTH, MARGIN = 192, 320, 80.0, 0.25
Scores = tuple[float, float, float]


def mean_training_disparity(clips: int) -> np.ndarray:
    """[H, W], over the first frames of the first training clips."""
    size = Size(WIDTH, HEIGHT)
    frames = [1 / draw_clip(seed, 1, 96, 160).depth.clamp_min(NEAREST) for seed in range(clips)]
    targets = [target_disparity(frame, torch.ones_like(frame, dtype=bool))[0] for frame in frames]
    return np.mean([resize_bilinear(target.numpy(), size) for target in targets], axis=0)


def score(prediction: np.ndarray, depth: np.ndarray) -> Scores:
    """AbsRel, delta1, temporal score."""
    metrics = evaluate_clip(prediction, depth, max_depth=MAX_DEPTH)
    steadiness = temporal_score(prediction, depth, max_depth=MAX_DEPTH)
    return metrics.abs_rel, metrics.delta1, steadiness


def picture(rgb: np.ndarray, depth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """The middle frame, its true disparity and nano's, side by side."""
    middle = len(rgb) // 2
    shown = [rgb[middle]]
    for disparity in (1 / np.maximum(depth[middle], 0.3), prediction[middle]):
        low, high = np.quantile(disparity, [0.01, 0.99])
        unit = np.clip((disparity - low) / max(high - low, 1e-6), 0, 1)
        shown.append(colorize(unit, "inferno"))
    return np.concatenate(shown, axis=1)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=20)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--weights", default="nano")
    parser.add_argument("--sheet", type=Path, help="write a picture of every clip here")
    arguments = parser.parse_args()
    pipeline = DepthCrafterPipeline.from_pretrained(arguments.weights)
    mean = mean_training_disparity(200)
    scores: dict[str, list[Scores]] = {}
    pictures = []
    for seed in range(HELD_OUT, HELD_OUT + arguments.clips):
        clip = draw_clip(seed, arguments.frames, HEIGHT, WIDTH)
        rgb, depth = clip.rgb.numpy(), clip.depth.numpy()
        predictions = {arguments.weights: np.concatenate(list(pipeline(rgb)))}
        predictions |= trivial_predictions(depth.shape, mean)
        for name, prediction in predictions.items():
            scores.setdefault(name, []).append(score(prediction, depth))
        pictures.append(picture(rgb, depth, predictions[arguments.weights]))
    if arguments.sheet:
        Image.fromarray(np.concatenate(pictures)).save(arguments.sheet)
    means = {name: np.mean(rows, axis=0) for name, rows in scores.items()}
    print(f"{'':18}  AbsRel  delta1  temporal")
    for name, row in means.items():
        print(f"{name:18}  {row[0]:6.3f}  {row[1]:6.3f}  {row[2]:8.4f}")
    best = min(row[0] for name, row in means.items() if name != arguments.weights)
    ratio = means[arguments.weights][0] / best
    print(f"AbsRel / best trivial predictor: {ratio:.3f} (limit {1 - MARGIN})")
    return int(ratio > 1 - MARGIN)


if __name__ == "__main__":
    sys.exit(main())
