"""Stage 0: a model folder of new networks, for recipes that start from nothing.

Its VAE and image encoder are trained, its denoiser is not yet.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKLTemporalDecoder
from torch import Tensor
from transformers import CLIPVisionModelWithProjection

from depthcrafter_cli.datasets.clip import ClipSource
from depthcrafter_cli.disk import sync_all
from depthcrafter_cli.errors import UsageError
from depthcrafter_cli.models.loading import load_components
from depthcrafter_cli.models.manifest import MANIFEST_NAME, write_manifest
from depthcrafter_cli.models.weights import find_weights
from depthcrafter_cli.training.config import FoundationConfig
from depthcrafter_cli.training.data.clips import ClipCache
from depthcrafter_cli.training.networks import (
    build_unet,
    identity_vae,
    save_foundation,
    trainable_networks,
)
from depthcrafter_cli.training.precision import Precision
from depthcrafter_cli.training.stages.image_encoder import ImageEncoderStage
from depthcrafter_cli.training.stages.vae import VaeStage
from depthcrafter_cli.training.trainer import Session, train

_MEASURED = 200  # batches from which the latents' deviation is taken


def make_foundation(
    config: FoundationConfig,
    source: ClipSource | None,
    precision: Precision,
    session: Session,
    *,
    mirror: bool,
) -> Path:
    """Train what is missing, and return the folder; with ``mirror`` half of the clips are mirrored.

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
    clips = None
    if source is not None:
        clips = ClipCache(
            session.folder / "clips", source, session.observer, session.rejects,
            str(config.source), mirror,
        )  # fmt: skip
    torch.manual_seed(session.seed)
    tower = _image_encoder(config, clips, precision, session)
    torch.manual_seed(session.seed)
    vae = _vae(config, clips, precision, session)
    torch.manual_seed(session.seed)
    unet = build_unet(config.unet, tower.config.projection_dim, vae.config.latent_channels)
    save_foundation(folder, unet, vae, tower)
    sync_all(folder)  # the manifest says that the folder is whole
    write_manifest(folder, "foundation")
    return folder


def _image_encoder(
    config: FoundationConfig, clips: ClipCache | None, precision: Precision, session: Session
) -> CLIPVisionModelWithProjection:
    if config.image_encoder is None:
        folder = find_weights(config.tower).path
        return load_components(
            folder, device=torch.device("cpu"), dtype=torch.float32, build=trainable_networks
        ).image_encoder
    assert clips is not None
    stage = ImageEncoderStage(config.image_encoder, clips, session.seed, precision)
    train(stage.to(session.accelerator.device), config.image_encoder.optimisation, session)
    return stage.tower


def _vae(
    config: FoundationConfig, clips: ClipCache | None, precision: Precision, session: Session
) -> AutoencoderKLTemporalDecoder:
    if config.vae is None:
        return identity_vae()
    assert clips is not None
    stage = VaeStage(config.vae, clips, session.seed, precision).to(session.accelerator.device)
    train(stage, config.vae.optimisation, session)
    stage.vae.register_to_config(scaling_factor=1 / _deviation(stage))
    return stage.vae


@torch.no_grad()
def _deviation(stage: VaeStage) -> float:
    """Standard deviation of the disparity latents: the inverse of the VAE's scaling factor."""
    latents: list[Tensor] = []
    for number in range(_MEASURED):
        _, disparity = stage.clips(np.random.default_rng(number), 1, 1)
        maps = (disparity[:, :1] * 2 - 1).expand(-1, 3, -1, -1)
        latents.append(stage.vae.encode(maps).latent_dist.mode().flatten())
    return float(torch.cat(latents).std())
