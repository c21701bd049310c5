"""Clips with true depth by source, and scores of predictions for them beside trivial ones."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import foreign
import numpy as np
import torch

from depthcrafter_cli.datasets.generated import HELD_OUT, NEAREST
from depthcrafter_cli.depth.colorize import colorize
from depthcrafter_cli.evaluation.alignment import resize_bilinear
from depthcrafter_cli.evaluation.metrics import evaluate_clip
from depthcrafter_cli.evaluation.temporal import temporal_score
from depthcrafter_cli.evaluation.trivial import trivial_predictions
from depthcrafter_cli.synthetic import draw_clip
from depthcrafter_cli.training.data.targets import target_disparity
from depthcrafter_cli.types import Size

SOURCES = ("generated", *foreign.SOURCES)
HEIGHT, WIDTH, MAX_DEPTH = foreign.HEIGHT, foreign.WIDTH, 80.0
Scores = tuple[float, float, float]
Predictor = Callable[[np.ndarray], np.ndarray]


def clips_of(
    source: str, count: int, frames: int, keep: Path | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """``rgb`` uint8 [T, H, W, 3] and ``depth`` [T, H, W] (infinite for sky) of unseen clips."""
    if source != "generated":
        yield from foreign.clips(source, count, frames, keep)
        return
    for seed in range(HELD_OUT, HELD_OUT + count):
        clip = draw_clip(seed, frames, HEIGHT, WIDTH)
        yield clip.rgb.numpy(), clip.depth.numpy()


def mean_training_disparity(clips: int) -> np.ndarray:
    """[H, W], over the first frames of the first training clips."""
    size = Size(HEIGHT, WIDTH)
    frames = [1 / draw_clip(seed, 1, 96, 160).depth.clamp_min(NEAREST) for seed in range(clips)]
    targets = [target_disparity(frame, torch.ones_like(frame, dtype=bool))[0] for frame in frames]
    return np.mean([resize_bilinear(target.numpy(), size) for target in targets], axis=0)


def score(prediction: np.ndarray, depth: np.ndarray) -> Scores:
    """AbsRel, delta1, temporal score."""
    metrics = evaluate_clip(prediction, depth, max_depth=MAX_DEPTH)
    steadiness = temporal_score(prediction, depth, max_depth=MAX_DEPTH)
    return metrics.abs_rel, metrics.delta1, steadiness


def compare(
    predictors: dict[str, Predictor], clips: Iterator[tuple[np.ndarray, np.ndarray]],
    mean: np.ndarray, pictures: list[np.ndarray] | None = None,
) -> dict[str, Scores]:  # fmt: skip
    """Mean scores of predictors and of the trivial ones; the first one's work to ``pictures``."""
    scores: dict[str, list[Scores]] = {}
    for rgb, depth in clips:
        predictions = {name: predict(rgb) for name, predict in predictors.items()}
        if pictures is not None:
            pictures.append(picture(rgb, depth, next(iter(predictions.values()))))
        predictions |= trivial_predictions(depth.shape, mean)
        for name, prediction in predictions.items():
            scores.setdefault(name, []).append(score(prediction, depth))
    return {name: tuple(np.mean(rows, axis=0)) for name, rows in scores.items()}


def best_trivial(means: dict[str, Scores], predictors: Sequence[str]) -> float:
    """The lowest AbsRel among the predictors that look at no pixel."""
    return min(row[0] for name, row in means.items() if name not in predictors)


def picture(rgb: np.ndarray, depth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """The middle frame, its true disparity and the predicted one, side by side."""
    middle = len(rgb) // 2
    shown = [rgb[middle]]
    for disparity in (1 / np.maximum(depth[middle], 0.3), prediction[middle]):
        low, high = np.quantile(disparity, [0.01, 0.99])
        unit = np.clip((disparity - low) / max(high - low, 1e-6), 0, 1)
        shown.append(colorize(unit, "inferno"))
    return np.concatenate(shown, axis=1)
