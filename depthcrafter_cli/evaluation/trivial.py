"""Predictors that look at no pixel: what a model has to beat.

All return float32 disparity [T, H, W], larger is nearer, as read-only views of one frame.
"""

import numpy as np

from depthcrafter_cli.evaluation.alignment import Array, resize_bilinear
from depthcrafter_cli.types import Disparity, Size

Shape = tuple[int, int, int]  # frames, height, width


def constant(shape: Shape) -> Disparity:
    """Everything equally far: the fit then finds the best single depth."""
    return np.broadcast_to(np.float32(0.5), shape)


def vertical_gradient(shape: Shape) -> Disparity:
    """Far at the top, near at the bottom, as in most pictures that show a floor; in (0, 1)."""
    height = shape[1]
    rows = (np.arange(height, dtype=np.float32) + 0.5) / height
    return np.broadcast_to(rows[:, np.newaxis], shape)


def mean_image(shape: Shape, mean_disparity: Array) -> Disparity:
    """``mean_disparity`` [h, w], the mean over a training set, resized for every frame."""
    return np.broadcast_to(resize_bilinear(mean_disparity, Size(*shape[1:])), shape)


def trivial_predictions(shape: Shape, mean_disparity: Array) -> dict[str, Disparity]:
    """Return the three predictions that look at no pixel, by name."""
    return {
        "constant": constant(shape),
        "vertical gradient": vertical_gradient(shape),
        "mean image": mean_image(shape, mean_disparity),
    }
