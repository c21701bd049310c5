"""How wrong latents are as depth: what recipes with a weight for ``depth`` train on besides.

Squared error of latents is spent on what is near; depth is lost on what is far. So every estimate
is judged as maps of depth are in the end: by AbsRel, after the best scale and shift. Garcia et al.,
arXiv 2409.11355, train diffusion models of depth on such an error, in one step.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from depthcrafter_cli.training.data.targets import FARTHEST

_WORST = 4.0  # errors beyond it are all alike, or single cells would make up the loss
_STEADY = 1e-4  # variance; a flat map gets no scale rather than an endless one


@dataclass(frozen=True)
class DepthReading:
    """Disparity read off latents by one 3 x 3 convolution.

    It stands in for the decoder, which costs a hundred times as much, and is fitted to it.
    """

    weight: Tensor
    bias: Tensor

    @staticmethod
    def fit(decoded: Iterable[tuple[Tensor, Tensor]]) -> DepthReading:
        """By least squares, from latents [n, c, h, w] to their disparity [n, 1, h, w]."""
        squares, products = torch.zeros(()), torch.zeros(())
        for latents, disparity in decoded:
            channels, device = latents.shape[1], latents.device
            near = F.unfold(_widened(latents.cpu().double()), 3).transpose(1, 2).flatten(0, 1)
            known = F.pad(near, (0, 1), value=1.0)
            squares = squares + known.T @ known
            products = products + known.T @ disparity.cpu().double().flatten()
        # Channels that a VAE does not use leave the equations short of rank but for rounding.
        steady = 1e-8 * squares.trace() * torch.eye(len(squares))
        solved = torch.linalg.solve(squares + steady, products).float().to(device)
        return DepthReading(solved[:-1].view(1, channels, 3, 3), solved[-1:])

    def __call__(self, latents: Tensor) -> Tensor:
        """Disparity [..., 1, h, w] of float32 latents [..., c, h, w], unscaled."""
        frames = _widened(latents.flatten(0, -4))
        return F.conv2d(frames, self.weight, self.bias).unflatten(0, latents.shape[:-3])


def depth_error(disparity: Tensor, inverse_depth: Tensor) -> Tensor:
    """AbsRel of every clip under its own best scale and shift, [B].

    ``disparity`` and ``inverse_depth`` are float32 [B, T, 1, h, w]; cells whose inverse depth is 0
    do not count. 0 for a clip without any that does.
    """
    guess, true = disparity.flatten(1), inverse_depth.flatten(1)
    counts = (true > 0).float()
    total = counts.sum(1, keepdim=True).clamp_min(1)

    def mean(values: Tensor) -> Tensor:
        return (values * counts).sum(1, keepdim=True) / total

    above = guess - mean(guess)
    scale = mean(above * (true - mean(true))) / (mean(above**2) + _STEADY)
    aligned = _positive(scale * above + mean(true))
    error = (true / aligned - 1).abs().clamp_max(_WORST)
    return mean(error)[:, 0]


def _positive(aligned: Tensor) -> Tensor:
    """Bent below twice the least that counts, so that what is too far still learns to be nearer."""
    bend = 2 / FARTHEST
    bent = bend * (aligned.clamp_max(bend) / bend - 1).exp()
    return torch.where(aligned > bend, aligned, bent).clamp_min(1 / FARTHEST)


def _widened(frames: Tensor) -> Tensor:
    return F.pad(frames, (1, 1, 1, 1), mode="replicate")
