"""What a foreign renderer hands over."""

from typing import NamedTuple

import numpy as np


class Clip(NamedTuple):
    """``rgb`` uint8 [T, H, W, 3]; ``depth`` float32 [T, H, W], metres, inf sky, 0 unknown."""

    rgb: np.ndarray
    depth: np.ndarray
