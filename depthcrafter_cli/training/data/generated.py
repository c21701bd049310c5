"""Drawn clips as a source."""

from __future__ import annotations

import numpy as np
import torch

from depthcrafter_cli.training.config import ClipSize, SourceConfig
from depthcrafter_cli.training.data.samples import Sample, Shape
from depthcrafter_cli.training.generator import draw_clip

NEAREST = 0.05  # metres
HELD_OUT = 10_000_000
"""Seeds from here on are for evaluation and are never trained on."""


class GeneratedClips:
    """The clips of consecutive seeds; every seed has its size."""

    def __init__(self, config: SourceConfig) -> None:
        self._config = config
        self._sizes = config.sizes or [ClipSize(8, 128, 192)]
        shares = np.array([size.share for size in self._sizes])
        self._shares = shares / shares.sum()

    def __len__(self) -> int:
        return self._config.clips

    def shape(self, index: int) -> Shape:
        rng = np.random.default_rng([self._config.first_seed + index, 2])
        size = self._sizes[int(rng.choice(len(self._sizes), p=self._shares))]
        return size.frames, size.height, size.width

    def version(self, index: int) -> str:
        return ""

    def read(self, index: int, start: int, frames: int) -> Sample:
        _, height, width = self.shape(index)
        seed, style = self._config.first_seed + index, self._config.style
        clip = draw_clip(seed, start + frames, height, width, style=style)
        disparity = 1 / clip.depth.clamp_min(NEAREST)
        valid = torch.ones_like(disparity, dtype=torch.bool)
        return Sample(clip.rgb, disparity, valid).part(start, frames)
