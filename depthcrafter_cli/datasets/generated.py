"""Clips of the renderer in ``synthetic`` as a source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from depthcrafter_cli.datasets.clip import ClipSize, Sample, Shape
from depthcrafter_cli.synthetic import Style, draw_clip

NEAREST = 0.05  # metres
HELD_OUT = 10_000_000
"""Seeds from here on are for evaluation and are never trained on."""


class GeneratedClips:
    """The clips of ``clips`` consecutive seeds; every seed has one of the ``sizes``."""

    def __init__(
        self,
        clips: int,
        sizes: Sequence[ClipSize] = (),
        *,
        first_seed: int = 0,
        style: Style = "realistic",
    ) -> None:
        self._clips, self._first_seed, self._style = clips, first_seed, style
        self._sizes = list(sizes) or [ClipSize(8, 128, 192)]
        shares = np.array([size.share for size in self._sizes])
        self._shares = shares / shares.sum()

    def __len__(self) -> int:
        return self._clips

    def shape(self, index: int) -> Shape:
        rng = np.random.default_rng([self._first_seed + index, 2])
        size = self._sizes[int(rng.choice(len(self._sizes), p=self._shares))]
        return size.frames, size.height, size.width

    @property
    def rejected(self) -> Mapping[str, str]:
        return {}

    def name(self, index: int) -> str:
        return f"of seed {self._first_seed + index}"

    def version(self, index: int) -> str:
        return ""

    def read(self, index: int, frames: range, place: float = 0.5) -> Sample:
        _, height, width = self.shape(index)
        seed = self._first_seed + index
        clip = draw_clip(seed, frames[-1] + 1, height, width, style=self._style)
        disparity = 1 / clip.depth.clamp_min(NEAREST)
        valid = torch.ones_like(disparity, dtype=torch.bool)
        return Sample(clip.rgb, disparity, valid).part(frames)
