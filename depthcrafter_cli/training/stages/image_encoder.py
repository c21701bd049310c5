"""Stage 0a: a CLIP tower that knows how a picture is laid out in depth.

The published model got its tower from language. Ours learns what the UNet needs of it: from one
embedding, a linear map (thrown away afterwards) must restore a coarse grid of disparity.
"""

from __future__ import annotations

import numpy as np
import torch.nn.functional as F
from torch import Tensor, nn

from depthcrafter_cli.pipeline.conditioning import clip_pixels
from depthcrafter_cli.training.config import ImageEncoderConfig
from depthcrafter_cli.training.data.clips import ClipCache
from depthcrafter_cli.training.networks import build_image_encoder
from depthcrafter_cli.training.precision import Precision
from depthcrafter_cli.training.stages.foundation import FoundationStage

GRID = 8  # rows and columns of the coarse disparity


class ImageEncoderStage(FoundationStage):
    """The tower with its linear map, and the loss of one batch."""

    name = "image_encoder"

    def __init__(
        self, config: ImageEncoderConfig, clips: ClipCache, seed: int, precision: Precision
    ) -> None:
        super().__init__(clips, config.frames, seed, precision)
        self.tower = build_image_encoder(config)
        self.head = nn.Linear(config.embedding, GRID * GRID)

    def batch_loss(self, rng: np.random.Generator) -> Tensor:
        """Mean absolute error of the coarse disparity, in [0, 1]."""
        rgb, disparity = self.clips(rng, self._frames, 1)
        pictures = rgb[:, 0].permute(0, 3, 1, 2).float() / 127.5 - 1
        with self._precision():
            embeds = self.tower(clip_pixels(pictures)).image_embeds
        guess = self.head(embeds.float()).unflatten(1, (GRID, GRID))
        return F.l1_loss(guess, F.adaptive_avg_pool2d(disparity[:, 0], GRID))
