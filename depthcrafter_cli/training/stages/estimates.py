"""What a denoiser makes of clips: the part that its own stages and the decoder's share."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from depthcrafter_cli.pipeline.denoise import FPS_ID, MOTION_BUCKET_ID
from depthcrafter_cli.training import loss
from depthcrafter_cli.training.data.batches import Piece
from depthcrafter_cli.training.data.latents import NOISE_AUG, Encoder, Latents
from depthcrafter_cli.training.data.samples import Sample
from depthcrafter_cli.training.precision import Precision


def latents_of(piece: Piece, encoder: Encoder, device: torch.device) -> Latents:
    """The clips of a piece as one batch, encoded now if they are not yet."""
    clips = [
        encoder.encode(clip, seed=int(np.random.default_rng([*seed, 2]).integers(2**31)))
        if isinstance(clip, Sample)
        else clip
        for clip, seed in zip(piece.clips, piece.seeds, strict=True)
    ]
    return Latents.stack(clips).to(device)


def velocity_of(
    unet: nn.Module, noisy: Tensor, sigma: Tensor, batch: Latents, precision: Precision
) -> Tensor:
    """The network's answer, float32 [B, T, 4, h, w], to ``noisy`` at levels [B, 1, 1, 1, 1]."""
    sample = torch.cat([loss.scale_input(noisy, sigma), batch.image], dim=2)
    ids = noisy.new_tensor([FPS_ID, MOTION_BUCKET_ID, NOISE_AUG]).expand(len(sample), -1)
    with precision():
        velocity: Tensor = unet(
            sample, loss.noise_label(sigma.flatten()), batch.embeds.flatten(0, 1)[:, None], ids
        )
    return velocity.float()


@torch.no_grad()
def first_estimate(
    unet: nn.Module, noise: Tensor, level: float, batch: Latents, precision: Precision
) -> Tensor:
    """Clean latents [B, T, 4, h, w] as the network imagines them from nothing but noise."""
    sigma = noise.new_full((len(noise), 1, 1, 1, 1), level)
    noisy = sigma * noise
    return loss.clean_estimate(noisy, velocity_of(unet, noisy, sigma, batch, precision), sigma)
