"""Stage 1: the denoiser, by denoising score matching on cached latents.

Five Euler steps visit five noise levels, so a small network need only learn these. At the level
before last it is also shown what sampling will show it: noise on its own estimate instead of on
the truth.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from depthcrafter_cli.pipeline.denoise import FPS_ID, MOTION_BUCKET_ID
from depthcrafter_cli.training import loss
from depthcrafter_cli.training.config import UnetConfig
from depthcrafter_cli.training.latents import NOISE_AUG, LatentBatch, LatentCache
from depthcrafter_cli.training.networks import build_unet
from depthcrafter_cli.training.shortcuts import (
    collapse_cross_attention,
    flatten_temporal_convolutions,
)


class UnetStage:
    """The denoiser and the loss of one batch."""

    name = "unet"

    def __init__(
        self, config: UnetConfig, embedding: int, latents: LatentCache, mixed_precision: bool
    ) -> None:
        self.network = build_unet(config, embedding)
        flatten_temporal_convolutions(self.network)
        collapse_cross_attention(self.network)
        self._config, self._latents, self._mixed = config, latents, mixed_precision
        self._scale = 1 / latents.disparity_deviation()

    def loss(self, rng: np.random.Generator) -> Tensor:
        """Weighted error of the clean latents, each clip at a noise level of its own."""
        plan = self._config
        frames = int(rng.choice(plan.clip_lengths, p=plan.length_shares))
        batch = self._latents.batch(rng, max(1, plan.optimisation.frames // frames), frames)
        clean = batch.disparity * self._scale
        noise = _noise(rng, clean)
        level = rng.choice(len(plan.levels), size=len(clean), p=plan.level_shares)
        spread = np.exp(plan.level_spread * rng.normal(size=len(clean)))
        sigma = torch.from_numpy(np.array(plan.levels)[level] * spread).float().view(-1, 1, 1, 1, 1)
        start = clean
        imagined = (level == len(plan.levels) - 2) & (rng.random(len(clean)) < plan.rollout)
        if imagined.any():
            chosen = torch.from_numpy(imagined)
            start = clean.clone()
            start[chosen] = self._imagine(batch, noise, chosen)
        noisy = start + sigma * noise
        return loss.score_matching_loss(noisy, self._velocity(noisy, sigma, batch), clean, sigma)

    @torch.no_grad()
    def _imagine(self, batch: LatentBatch, noise: Tensor, chosen: Tensor) -> Tensor:
        """The network's estimate from pure noise: the very noise its next step will start from."""
        part = LatentBatch(batch.image[chosen], batch.disparity[chosen], batch.embeds[chosen])
        sigma = torch.full((len(part.image), 1, 1, 1, 1), self._config.levels[0])
        noisy = sigma * noise[chosen]
        return loss.clean_estimate(noisy, self._velocity(noisy, sigma, part), sigma)

    def _velocity(self, noisy: Tensor, sigma: Tensor, batch: LatentBatch) -> Tensor:
        sample = torch.cat([loss.scale_input(noisy, sigma), batch.image], dim=2)
        ids = torch.tensor([FPS_ID, MOTION_BUCKET_ID, NOISE_AUG]).expand(len(sample), -1)
        with torch.autocast("cpu", torch.bfloat16, enabled=self._mixed):
            velocity: Tensor = self.network(
                sample, loss.noise_label(sigma.flatten()), batch.embeds.flatten(0, 1)[:, None], ids
            )
        return velocity.float()


def _noise(rng: np.random.Generator, like: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    return torch.randn(like.shape, generator=generator)
