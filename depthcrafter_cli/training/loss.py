"""Denoising score matching for v-prediction, in the EDM framework.

Karras et al., arXiv 2206.00364, section 5, with SVD's preconditioning and data of unit variance:
``c_in = 1 / sqrt(s^2 + 1)``, ``c_skip = 1 / (s^2 + 1)``, ``c_out = -s / sqrt(s^2 + 1)``. The
weight ``lambda(s) = 1 / c_out^2`` makes the weighted error of the clean latents equal to the plain
error of v, at every noise level.
"""

from __future__ import annotations

import torch
from torch import Tensor


def scale_input(noisy: Tensor, sigma: Tensor) -> Tensor:
    """``c_in * x``: what the network is shown, of unit variance at every level."""
    return noisy / (sigma**2 + 1).sqrt()


def clean_estimate(noisy: Tensor, velocity: Tensor, sigma: Tensor) -> Tensor:
    """``x0 = c_skip * x + c_out * v``."""
    return noisy / (sigma**2 + 1) - velocity * sigma / (sigma**2 + 1).sqrt()


def noise_label(sigma: Tensor) -> Tensor:
    """The timestep given to the network: ``ln(sigma) / 4``."""
    return sigma.log() / 4


def score_matching_loss(
    noisy: Tensor, velocity: Tensor, clean: Tensor, sigma: Tensor, mask: Tensor
) -> Tensor:
    """``lambda(s) * |x0 estimate - x0|^2``, averaged; in float32 whatever the network's type.

    Latents are [B, T, 4, h, w], ``mask`` [B, T, 1, h, w] weighs their cells. Every clip counts the
    same, however much of it the mask leaves; one of which it leaves nothing counts as 0.
    """
    weight = (sigma**2 + 1) / sigma**2
    error = weight * (clean_estimate(noisy, velocity.float(), sigma) - clean) ** 2
    total = (error.mean(dim=2, keepdim=True) * mask).flatten(1).sum(1)
    return torch.mean(total / mask.flatten(1).sum(1).clamp_min(1))
