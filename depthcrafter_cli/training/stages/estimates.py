"""What the stages of denoiser and decoder share: their clips, and what is estimated of them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from depthcrafter_cli.datasets.clip import Sample
from depthcrafter_cli.pipeline.denoise import FPS_ID, MOTION_BUCKET_ID
from depthcrafter_cli.training import loss
from depthcrafter_cli.training.config import StageConfig
from depthcrafter_cli.training.data.batches import Piece, Steps
from depthcrafter_cli.training.data.latents import NOISE_AUG, Encoder, Latents
from depthcrafter_cli.training.precision import Precision


class ClipStage:
    """A network that learns, and the clips it is shown; subclasses give the loss of a piece."""

    def __init__(
        self,
        config: StageConfig,
        network: nn.Module,
        encoder: Encoder,
        steps: Steps,
        precision: Precision,
        workers: int,
    ) -> None:
        self.name, self.network = config.name, network
        network.train()
        self._encoder, self._precision = encoder, precision
        self._steps, self._workers = steps, workers
        self._sampled_truth = config.sampled_truth

    def pieces(self, steps: range) -> Iterator[list[Piece]]:
        """What this process computes in each of ``steps``."""
        return self._steps.over(steps, self._workers)

    def _encoded(self, piece: Piece) -> Latents:
        """The clips of a piece as one batch, encoded now if they are not yet."""
        clips = []
        for clip, seed in zip(piece.clips, piece.seeds, strict=True):
            if isinstance(clip, Sample):
                drawn = int(np.random.default_rng([*seed, 2]).integers(2**31))
                clip = self._encoder.encode(clip, drawn, sampled_truth=self._sampled_truth)
            clips.append(clip)
        return Latents.stack(clips).to(next(self.network.parameters()).device)


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
    """Clean latents [B, T, 4, h, w] as the network estimates them from noise alone."""
    sigma = noise.new_full((len(noise), 1, 1, 1, 1), level)
    noisy = sigma * noise
    return loss.clean_estimate(noisy, velocity_of(unet, noisy, sigma, batch, precision), sigma)
