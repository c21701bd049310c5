"""Clips with true depth, drawn by ray casting: most of what nano has seen.

``textures`` and ``palette`` paint surfaces, ``plants``, ``figures`` and ``buildings`` make things
of ``solids``, ``scenes``, ``indoors``, ``landscapes`` and ``closeups`` arrange them, ``foreground``
puts something before them, ``camera`` moves through them, ``render`` casts the rays, ``effects``
adds what lenses, sensors and codecs do. Everything follows from one integer seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from depthcrafter_cli.synthetic import camera, effects, kinds, textures
from depthcrafter_cli.synthetic.render import Image, render

ATLASES = 24  # sets of textures; painting one takes longer than drawing a clip with it
ATTEMPTS = 8
Style = Literal["realistic", "precise"]


@lru_cache(maxsize=ATLASES)
def _atlas(number: int) -> Tensor:
    return textures.atlas(np.random.default_rng(10**9 + number))


@dataclass(frozen=True)
class BatchVideo:
    """``rgb`` uint8 [T, H, W, 3] and ``depth`` float32 [T, H, W], metres, infinite for sky."""

    rgb: Tensor
    depth: Tensor


def draw_clip(
    seed: int, frames: int, height: int, width: int, *, style: Style = "realistic"
) -> BatchVideo:
    """The clip of a seed at 24 frames a second or slower; the same on every call.

    ``"realistic"`` adds the defects of lenses, sensors, codecs and artists; ``"precise"`` is the
    same scene clean and sharp. Scenes that show next to nothing (all sky, or a wall in the face)
    are drawn anew from the same random stream, at most ``ATTEMPTS`` times; then the best is taken.
    """
    rng = np.random.default_rng(seed)
    atlas = _atlas(int(rng.integers(ATLASES)))
    best, most = None, -1.0
    for _ in range(ATTEMPTS):
        image = _shot(rng, frames, height, width, atlas)
        worth = min(_worth(frame) for frame in image.depth[[0, -1]])
        if worth > most:
            best, most = image, worth
        if worth >= 1:
            break
    assert best is not None
    return BatchVideo(effects.develop(rng, best, style == "precise"), best.depth)


def draw_views(seed: int, views: int, height: int, width: int, atlas: Tensor) -> list[BatchVideo]:
    """Single frames of one scene, a second apart, each from a place and at an angle of its own.

    A scene costs more than a frame of it, and what no two frames share is more to learn from.
    Views that show next to nothing are left out, so there may be none. ``atlas`` is one of
    ``textures``.
    """
    rng = np.random.default_rng(seed)
    times = np.arange(views, dtype=float)
    scene = kinds.arrange(rng, times)
    paths = [camera.film(rng, scene, np.arange(24) / 12) for _ in range(views)]
    path = camera.at_random(rng, paths)
    image = render(
        camera.mounted(scene, path), path, times, height, width, atlas, shadowed=rng.random() < 0.7
    )
    clean = rng.random() < 0.35
    return [
        BatchVideo(effects.develop(rng, one, clean), one.depth)
        for one in map(image.frame, range(views))
        if _worth(one.depth[0]) >= 0.5
    ]


def _shot(rng: np.random.Generator, frames: int, height: int, width: int, atlas: Tensor) -> Image:
    times = np.arange(frames) / 24.0 * float(rng.choice([1.0, 1.0, 2.0, 4.0]))
    scene = kinds.arrange(rng, times)
    path = camera.film(rng, scene, times)
    scene = camera.mounted(scene, path)
    return render(scene, path, times, height, width, atlas, shadowed=rng.random() < 0.7)


def _worth(depth: Tensor) -> float:
    """How far a frame [H, W] is worth showing: 1 for a good one, less the more it lacks."""
    solid = depth[torch.isfinite(depth)]
    share = len(solid) / depth.numel()
    if len(solid) == 0:
        return 0.0
    low, high = torch.quantile(
        solid[:: max(1, len(solid) // 4096)], torch.tensor([0.05, 0.95], device=depth.device)
    )
    crowded = float((depth < 0.35).float().mean())
    relief = float((high / low).log())
    nearest = torch.quantile(solid[:: max(1, len(solid) // 4096)], 0.02)
    dwarfed = float((solid > 12 * nearest).float().mean())  # next to a speck before the lens
    return float(
        min(1.0, share / 0.15, relief / 0.2, 0.35 / max(crowded, 1e-6), 0.75 / max(dwarfed, 1e-6))
    )
