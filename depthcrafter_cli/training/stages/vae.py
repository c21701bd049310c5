"""Stage 0b: an autoencoder that keeps disparity sharp and pictures' latents telling.

The decoder only ever sees disparity, so it learns to restore nothing else. A small head, thrown
away afterwards, must guess disparity from a picture's latents and restore the picture at half its
size; so the few numbers they hold are spent on what depth can be told from.
"""

from __future__ import annotations

import numpy as np
import torch.nn.functional as F
from torch import Tensor, nn

from depthcrafter_cli.training.config import VaeConfig
from depthcrafter_cli.training.data.clips import ClipCache
from depthcrafter_cli.training.networks import build_vae
from depthcrafter_cli.training.precision import Precision
from depthcrafter_cli.training.shortcuts import flatten_temporal_convolutions
from depthcrafter_cli.training.stages.foundation import FoundationStage, noise_like

Rng = np.random.Generator


class VaeStage(FoundationStage):
    """The autoencoder with its head, and the loss of one batch."""

    name = "vae"

    def __init__(
        self, config: VaeConfig, clips: ClipCache, seed: int, precision: Precision
    ) -> None:
        super().__init__(clips, config.frames, seed, precision)
        self.vae = build_vae(config)
        flatten_temporal_convolutions(self.vae)
        widths = (64, 1), (64, 2), (64, 4), (64, 8), (64, 2)
        layers: list[nn.Module] = []
        inputs = 4
        for width, dilation in widths:
            layers += [
                nn.Conv2d(inputs, width, 3, padding=dilation, dilation=dilation),
                nn.GroupNorm(8, width),
                nn.SiLU(),
            ]
            inputs = width
        self.head = nn.Sequential(*layers, nn.Conv2d(inputs, 16 * (1 + 3), 3, padding=1))
        self._config = config

    def batch_loss(self, rng: Rng) -> Tensor:
        """Restoration of cut-out disparity, foresight from whole pictures, Kullback-Leibler."""
        with self._precision():
            restoration, divergence = self._restore(rng)
            foresight, of_pictures = self._foresee(rng)
        kl = divergence + of_pictures
        return restoration + self._config.foresight_weight * foresight + self._config.kl_weight * kl

    def _restore(self, rng: Rng) -> tuple[Tensor, Tensor]:
        frames = int(rng.choice([1, 2, 4, 8]))
        clips = max(1, self._frames // frames)
        _, disparity = self.clips(rng, clips, frames, self._config.crop)
        maps = (disparity.flatten(0, 1)[:, None] * 2 - 1).expand(-1, 3, -1, -1)
        posterior = self.vae.encode(maps).latent_dist
        sample = posterior.mean + posterior.std * noise_like(rng, posterior.mean)
        restored = self.vae.decode(sample, num_frames=disparity.shape[1]).sample.float()
        error = restored - maps
        edges = (error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()) / 2
        loss = error.abs().mean() + self._config.edge_weight * edges
        return loss, _divergence(posterior.mean, posterior.logvar)

    def _foresee(self, rng: Rng) -> tuple[Tensor, Tensor]:
        rgb, disparity = self.clips(rng, self._config.pictures, 1)
        pictures = rgb[:, 0].permute(0, 3, 1, 2).float() / 127.5 - 1
        pictures = pictures + 0.02 * noise_like(rng, pictures)
        posterior = self.vae.encode(pictures).latent_dist
        guess, seen = self.head(posterior.mean).float().split([16, 48], dim=1)
        loss = F.l1_loss(guess, _blocks(disparity * 2 - 1))
        loss = loss + self._config.picture_weight * F.l1_loss(seen, _blocks(pictures))
        return loss, _divergence(posterior.mean, posterior.logvar)


def _blocks(pictures: Tensor) -> Tensor:
    """[n, 16 c, H / 8, W / 8] of pictures [n, c, H, W]: those at half their size, cell by cell."""
    return F.pixel_unshuffle(F.avg_pool2d(pictures, 2), 4)


def _divergence(mean: Tensor, logvar: Tensor) -> Tensor:
    return 0.5 * (mean.float() ** 2 + logvar.float().exp() - 1 - logvar.float()).mean()
