"""Whole numbers in place of fractions, without the edges that rounding draws into slopes."""

from typing import Any

import numpy as np
import numpy.typing as npt


def _bayer() -> npt.NDArray[np.float32]:
    """Return Bayer's thresholds [8, 8] between 0 and 1: any few that are neighbours differ much."""
    order = np.zeros((1, 1))
    for _ in range(3):
        order = np.block([[4 * order, 4 * order + 2], [4 * order + 3, 4 * order + 1]])
    return ((order + 0.5) / order.size).astype(np.float32)


_THRESHOLDS = _bayer()


def dithered(samples: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.uint8]:
    """Samples [..., H, W] from 0 to 255 as whole numbers, which are right in the mean of 8x8.

    Whole numbers stay as they are. Each place has a threshold of its own, the same in all frames:
    what does not move then costs a codec nothing. ``samples`` are overwritten.
    """
    height, width = samples.shape[-2:]
    side = len(_THRESHOLDS)
    band = np.tile(_THRESHOLDS, width // side + 1)[:, :width]
    for top in range(0, height, side):
        rows = samples[..., top : top + side, :]
        rows += band[: rows.shape[-2]]
    return samples.astype(np.uint8)
