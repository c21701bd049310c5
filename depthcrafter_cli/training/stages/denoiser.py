"""The denoiser's stages, by denoising score matching on latents.

Which of its layers learn, on what and for how long is the stage's; the loss is the same in all.
Few-step samplers visit few noise levels, and a small network does best to learn these. At the level
before last it may also be shown what sampling will show it: noise on its own estimate instead of
on the truth.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import count

import numpy as np
import torch
from torch import Tensor, nn

from depthcrafter_cli.pipeline.denoise import FPS_ID, MOTION_BUCKET_ID
from depthcrafter_cli.training import loss
from depthcrafter_cli.training.checkpoint import earlier_stages
from depthcrafter_cli.training.config import ObjectiveConfig, StageConfig, TrainingConfig
from depthcrafter_cli.training.data.batches import Piece, Readable, Share, Steps
from depthcrafter_cli.training.data.latents import ENCODE_BATCH, NOISE_AUG, Encoder, Latents
from depthcrafter_cli.training.data.samples import Sample
from depthcrafter_cli.training.depth_error import DepthReading, depth_error
from depthcrafter_cli.training.layers import select_layers
from depthcrafter_cli.training.precision import Precision
from depthcrafter_cli.training.shortcuts import recompute_blocks
from depthcrafter_cli.training.stages.foundation import noise_like
from depthcrafter_cli.training.trainer import Session, train

_FITTED = 48  # frames that the reading of depth is fitted to


class DenoiserStage:
    """The denoiser and the loss of one piece of a batch."""

    def __init__(
        self,
        config: StageConfig,
        unet: nn.Module,
        encoder: Encoder,
        objective: ObjectiveConfig,
        steps: Steps,
        precision: Precision,
        workers: int = 0,
    ) -> None:
        self.name, self.network = config.name, unet
        unet.train()
        recompute_blocks(unet, config.checkpointing)
        self._encoder, self._objective, self._precision = encoder, objective, precision
        self._steps, self._workers = steps, workers

    def pieces(self, steps: range) -> Iterator[list[Piece]]:
        """What this process computes in each of ``steps``."""
        return self._steps.over(steps, self._workers)

    def loss(self, network: nn.Module, piece: Piece) -> Tensor:
        """Weighted error of the clean latents, each clip at a noise level of its own.

        With a weight for depth, their error as depth is added.
        """
        batch = self._latents(piece)
        rngs = [np.random.default_rng([*seed, 1]) for seed in piece.seeds]
        clean = batch.disparity * self._encoder.scaling_factor
        noise = torch.stack([noise_like(rng, clean[0]) for rng in rngs])
        drawn = [self._level(rng) for rng in rngs]
        sigma = clean.new_tensor([level for level, _ in drawn]).view(-1, 1, 1, 1, 1)
        imagined = torch.tensor([rollout for _, rollout in drawn], device=clean.device)
        start = clean
        if imagined.any():
            start = clean.clone()
            start[imagined] = self._imagine(network, batch.chosen(imagined), noise[imagined])
        noisy = start + sigma * noise
        velocity = self._velocity(network, noisy, sigma, batch)
        matching = loss.score_matching_loss(noisy, velocity, clean, sigma, batch.mask)
        if not self._objective.depth:
            return matching
        estimate = loss.clean_estimate(noisy, velocity, sigma) / self._encoder.scaling_factor
        error = depth_error(self._reading(estimate), batch.inverse_depth)
        return matching + self._objective.depth * error.mean()

    @cached_property
    def _reading(self) -> DepthReading:
        # Fitted when first needed: a stage that is done already reads no clips.
        return DepthReading.fit(self._decoded())

    def _decoded(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Disparity's latents of the first clips and what they are decoded to, in any process."""
        steps, frames = self._steps.unshared(), 0
        for piece in (piece for step in count() for piece in steps[step]):
            for clip in self._latents(piece).disparity:
                part = clip[:ENCODE_BATCH]
                yield part, self._encoder.decode_cells(part)
                frames += len(part)
                if frames >= _FITTED:
                    return

    def _latents(self, piece: Piece) -> Latents:
        clips = [
            self._encoder.encode(clip, seed=int(np.random.default_rng([*seed, 2]).integers(2**31)))
            if isinstance(clip, Sample)
            else clip
            for clip, seed in zip(piece.clips, piece.seeds, strict=True)
        ]
        return Latents.stack(clips).to(next(self.network.parameters()).device)

    def _level(self, rng: np.random.Generator) -> tuple[float, bool]:
        """A noise level, and whether its sample starts from the network's own estimate."""
        plan = self._objective
        if not plan.levels:
            return float(np.exp(plan.log_mean + plan.log_std * rng.normal())), False
        shares = np.array(plan.level_shares) / sum(plan.level_shares)
        level = int(rng.choice(len(plan.levels), p=shares))
        sigma = plan.levels[level] * float(np.exp(plan.level_spread * rng.normal()))
        return sigma, level == len(plan.levels) - 2 and rng.random() < plan.rollout

    @torch.no_grad()
    def _imagine(self, network: nn.Module, batch: Latents, noise: Tensor) -> Tensor:
        """The network's estimate from pure noise: the very noise its next step will start from."""
        sigma = noise.new_full((len(noise), 1, 1, 1, 1), self._objective.levels[0])
        noisy = sigma * noise
        return loss.clean_estimate(noisy, self._velocity(network, noisy, sigma, batch), sigma)

    def _velocity(self, network: nn.Module, noisy: Tensor, sigma: Tensor, batch: Latents) -> Tensor:
        sample = torch.cat([loss.scale_input(noisy, sigma), batch.image], dim=2)
        ids = noisy.new_tensor([FPS_ID, MOTION_BUCKET_ID, NOISE_AUG]).expand(len(sample), -1)
        with self._precision():
            velocity: Tensor = network(
                sample, loss.noise_label(sigma.flatten()), batch.embeds.flatten(0, 1)[:, None], ids
            )
        return velocity.float()


def train_denoiser(
    stage: StageConfig,
    recipe: TrainingConfig,
    unet: nn.Module,
    encoder: Encoder,
    sources: Mapping[str, Readable],
    precision: Precision,
    session: Session,
) -> None:
    """Take ``unet`` through one stage of a recipe, from its checkpoint if there is one."""
    share = Share(session.accelerator.process_index, session.accelerator.num_processes)
    # Stages are numbered so that no two see the same noise.
    seed = 1000 * session.seed + recipe.stages.index(stage)
    steps = Steps(stage, sources, seed, share)
    select_layers(unet, stage.trains, recipe.frozen)
    # Cached clips are in memory, and sent from a worker each would hold open files for good.
    workers = recipe.workers if recipe.latents == "streamed" else 0
    denoiser = DenoiserStage(stage, unet, encoder, recipe.objective, steps, precision, workers)
    train(denoiser, stage, session, earlier_stages(recipe, stage))
