"""Stage 0: a model folder of new networks, for recipes that start from nothing.

Its VAE and image encoder are trained, its denoiser is not yet.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from depthcrafter_cli.datasets.clip import ClipSource
from depthcrafter_cli.disk import sync_all
from depthcrafter_cli.errors import UsageError
from depthcrafter_cli.models.manifest import MANIFEST_NAME, write_manifest
from depthcrafter_cli.training.config import FoundationConfig
from depthcrafter_cli.training.data.clips import ClipCache
from depthcrafter_cli.training.networks import build_unet, save_foundation
from depthcrafter_cli.training.precision import Precision
from depthcrafter_cli.training.stages.image_encoder import ImageEncoderStage
from depthcrafter_cli.training.stages.vae import VaeStage
from depthcrafter_cli.training.trainer import Session, train

_MEASURED = 200  # batches from which the latents' deviation is taken


def make_foundation(
    config: FoundationConfig, source: ClipSource, precision: Precision, session: Session
) -> Path:
    """Train what is missing, and return the folder.

    Raises:
        UsageError: several processes run; these networks are too small to be shared out.
    """
    folder = session.folder / "foundation"
    if (folder / MANIFEST_NAME).exists():
        return folder
    if session.accelerator.num_processes > 1:
        raise UsageError(
            f"got a [foundation] to train in {session.accelerator.num_processes} processes, "
            "expected one: run the command without the launcher until stage 0 is done."
        )
    clips = ClipCache(session.folder / "clips", source, session.observer)
    device = session.accelerator.device
    torch.manual_seed(session.seed)
    tower = ImageEncoderStage(config.image_encoder, clips, session.seed, precision).to(device)
    train(tower, config.image_encoder.optimisation, session)
    torch.manual_seed(session.seed)
    vae = VaeStage(config.vae, clips, session.seed, precision).to(device)
    train(vae, config.vae.optimisation, session)
    vae.vae.register_to_config(scaling_factor=1 / _deviation(vae))
    torch.manual_seed(session.seed)
    unet = build_unet(config.unet, config.image_encoder.embedding)
    save_foundation(folder, unet, vae.vae, tower.tower)
    sync_all(folder)  # the manifest says that the folder is whole
    write_manifest(folder, "foundation")
    return folder


@torch.no_grad()
def _deviation(stage: VaeStage) -> float:
    """Standard deviation of the disparity latents: the inverse of the VAE's scaling factor."""
    latents: list[Tensor] = []
    for number in range(_MEASURED):
        _, disparity = stage.clips(np.random.default_rng(number), 1, 1)
        maps = (disparity[:, :1] * 2 - 1).expand(-1, 3, -1, -1)
        latents.append(stage.vae.encode(maps).latent_dist.mode().flatten())
    return float(torch.cat(latents).std())
