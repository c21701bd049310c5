"""Clips with true depth, drawn by ray casting: the only data nano has ever seen.

``textures`` paints surfaces, ``props`` and ``buildings`` make things of ``solids``, ``scenes``
arranges them, ``camera`` moves through them, ``render`` casts the rays, ``effects`` adds what
lenses, sensors and codecs do. Everything follows from one integer seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from depthcrafter_cli.training.generator import camera, effects, scenes, textures
from depthcrafter_cli.training.generator.render import render

ATLASES = 24  # sets of textures; painting one takes longer than drawing a clip with it


@lru_cache(maxsize=ATLASES)
def _atlas(number: int) -> Tensor:
    return textures.atlas(np.random.default_rng(10**9 + number))


@dataclass(frozen=True)
class Clip:
    """``rgb`` uint8 [T, H, W, 3] and ``depth`` float32 [T, H, W], metres, infinite for sky."""

    rgb: Tensor
    depth: Tensor


def draw_clip(
    seed: int, frames: int, height: int, width: int, device: torch.device | str = "cpu"
) -> Clip:
    """The clip of a seed at 24 frames a second or slower; the same on every call.

    Scenes that show next to nothing (all sky, or a wall in the face) are thrown away and drawn
    anew from the same random stream.
    """
    rng = np.random.default_rng(seed)
    atlas = _atlas(int(rng.integers(ATLASES))).to(device)
    while True:
        times = np.arange(frames) / 24.0 * float(rng.choice([1.0, 1.0, 2.0, 4.0]))
        scene = scenes.arrange(rng, times)
        path = camera.film(rng, scene, times)
        image = render(scene, path, times, height, width, atlas, shadows=rng.random() < 0.65)
        if _worth_showing(image.depth):
            return Clip(effects.develop(rng, image), image.depth)


def _worth_showing(depth: Tensor) -> bool:
    first = depth[0]
    solid = first[torch.isfinite(first)]
    if len(solid) < 0.15 * first.numel():
        return False
    low, high = torch.quantile(solid[:: max(1, len(solid) // 4096)], torch.tensor([0.05, 0.95]))
    crowded = (first < 0.35).float().mean() > 0.35
    return bool(high / low > 1.25) and not bool(crowded)
