"""A stage of ours for one-step models: the decoder learns to read the denoiser's estimates.

A small autoencoder keeps disparity well and depth badly, for where disparity is small, a small
error of it is a large one of depth; nor has its decoder ever seen an estimate, which differs from
the latents of any true map. So it is trained on estimates, judged as maps of depth are, pixel by
pixel. Its temporal layers stay as they are, and with them how it steadies frames.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from depthcrafter_cli.datasets.clip import ClipSource, Sample
from depthcrafter_cli.models.components import Components
from depthcrafter_cli.pipeline.schedule import SIGMA_MAX
from depthcrafter_cli.training.checkpoint import earlier_stages
from depthcrafter_cli.training.config import StageConfig, TrainingConfig
from depthcrafter_cli.training.data.batches import Piece, Share, Steps, StreamedClips
from depthcrafter_cli.training.data.latents import Encoder
from depthcrafter_cli.training.data.targets import depth_cells, target_disparity
from depthcrafter_cli.training.depth_error import depth_error
from depthcrafter_cli.training.layers import select_layers
from depthcrafter_cli.training.precision import Precision
from depthcrafter_cli.training.stages.estimates import ClipStage, first_estimate
from depthcrafter_cli.training.stages.foundation import noise_like
from depthcrafter_cli.training.trainer import Session, train

_TRUE = 0.15  # of all clips are decoded from their true latents, which it shall still restore


class DecoderStage(ClipStage):
    """The decoder and the loss of one piece of a batch, whose clips are not encoded yet."""

    def __init__(
        self,
        config: StageConfig,
        decoder: nn.Module,
        unet: nn.Module,
        encoder: Encoder,
        steps: Steps,
        precision: Precision,
        workers: int = 0,
    ) -> None:
        super().__init__(config, decoder, encoder, steps, precision, workers)
        self._unet = unet.eval()

    def loss(self, network: nn.Module, piece: Piece) -> Tensor:
        """AbsRel of what is decoded, and how far it is from the disparity that was encoded."""
        latents = self._latents(piece)
        batch, frames = latents.shape[:2]
        alone = latents.new_zeros(batch, frames)
        with self._precision():
            pictures = network(latents.flatten(0, 1), alone, num_frames=frames)
        disparity = pictures.float().mean(dim=1, keepdim=True) / 2 + 0.5
        disparity = disparity.unflatten(0, (batch, frames))
        clips = [clip for clip in piece.clips if isinstance(clip, Sample)]
        depth = [depth_cells(clip.disparity, clip.valid, cell=1) for clip in clips]
        error = depth_error(disparity, torch.stack(depth).to(latents.device))
        target = torch.stack([target_disparity(clip.disparity, clip.valid) for clip in clips])
        apart = disparity - target[:, :, None].to(latents.device)
        return error.mean() + apart.abs().mean()

    @torch.no_grad()
    def _latents(self, piece: Piece) -> Tensor:
        """Unscaled latents [B, T, 4, h, w]: the denoiser's estimates, now and then the truth."""
        batch = self._encoded(piece)
        rngs = [np.random.default_rng([*seed, 1]) for seed in piece.seeds]
        noise = torch.stack([noise_like(rng, batch.disparity[0]) for rng in rngs])
        estimate = first_estimate(self._unet, noise, SIGMA_MAX, batch, self._precision)
        true = torch.tensor([rng.random() < _TRUE for rng in rngs], device=noise.device)
        latents = estimate / self._encoder.scaling_factor
        return torch.where(true.view(-1, 1, 1, 1, 1), batch.disparity, latents)


def train_decoder(
    stage: StageConfig,
    recipe: TrainingConfig,
    networks: Components,
    encoder: Encoder,
    clips: Mapping[str, ClipSource],
    precision: Precision,
    session: Session,
) -> None:
    """Take the decoder through one stage of a recipe, from its checkpoint if there is one."""
    share = Share(session.accelerator.process_index, session.accelerator.num_processes)
    sources = {
        name: StreamedClips(source, recipe.sources[name].mirror) for name, source in clips.items()
    }
    steps = Steps(stage, sources, recipe.stage_seed(stage), share, session.rejects)
    decoder = networks.vae.decoder
    select_layers(decoder, stage.trains, recipe.frozen)
    part = DecoderStage(stage, decoder, networks.unet, encoder, steps, precision, recipe.workers)
    train(part, stage, session, earlier_stages(recipe, stage))
