"""The denoiser's stages, by denoising score matching on latents.

Which of its layers learn, on what and for how long is the stage's; the loss is the same in all.
Few-step samplers visit few noise levels, and a small network does best to learn these. At the level
before last it may also be shown what sampling will show it: noise on its own estimate instead of
on the truth.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property, partial
from itertools import count
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from depthcrafter_cli.datasets.clip import ClipSource
from depthcrafter_cli.errors import UsageError
from depthcrafter_cli.training import loss
from depthcrafter_cli.training.checkpoint import earlier_stages
from depthcrafter_cli.training.config import ObjectiveConfig, StageConfig, TrainingConfig
from depthcrafter_cli.training.data.batches import Piece, Readable, Share, Steps, StreamedClips
from depthcrafter_cli.training.data.cache import CachedClips, fill_cache
from depthcrafter_cli.training.data.latents import ENCODE_BATCH, Encoder
from depthcrafter_cli.training.depth_error import DepthReading, depth_error
from depthcrafter_cli.training.layers import select_layers
from depthcrafter_cli.training.precision import Precision
from depthcrafter_cli.training.sharding import is_sharded
from depthcrafter_cli.training.shortcuts import keep_blind, recompute_blocks
from depthcrafter_cli.training.stages.estimates import ClipStage, first_estimate, velocity_of
from depthcrafter_cli.training.stages.foundation import noise_like
from depthcrafter_cli.training.trainer import Session, train

_FITTED = 48  # frames that the reading of depth is fitted to


class DenoiserStage(ClipStage):
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
        super().__init__(config, unet, encoder, steps, precision, workers)
        recompute_blocks(unet, config.checkpointing)
        keep_blind(unet)
        self._objective, self._condition_dropout = objective, config.condition_dropout
        self._skip_dropout = config.skip_dropout
        if len(config.skip_dropout) > len(unet.up_blocks):
            raise UsageError(
                f"got skip_dropout = {config.skip_dropout} in stage {config.name!r}, expected at "
                f"most one share for each of the {len(unet.up_blocks)} levels: shorten it."
            )

    def loss(self, network: nn.Module, piece: Piece) -> Tensor:
        """Weighted error of the clean latents, each clip at a noise level of its own.

        With a weight for depth, their error as depth is added.
        """
        batch = self._encoded(piece)
        rngs = [np.random.default_rng([*seed, 1]) for seed in piece.seeds]
        clean = batch.disparity * self._encoder.scaling_factor
        noise = torch.stack([noise_like(rng, clean[0]) for rng in rngs])
        drawn = [self._level(rng) for rng in rngs]
        sigma = clean.new_tensor([level for level, _ in drawn]).view(-1, 1, 1, 1, 1)
        imagined = torch.tensor([rollout for _, rollout in drawn], device=clean.device)
        if self._condition_dropout:
            dropped = [rng.random() < self._condition_dropout for rng in rngs]
            batch = batch.without_condition(torch.tensor(dropped, device=clean.device))
        start = clean
        # Processes that share the network must use it equally often.
        asked = torch.full_like(imagined, self._objective.rollout > 0 and is_sharded(network))
        asked |= imagined
        if asked.any():
            # The very noise that sampling's next step will start from.
            estimate = first_estimate(
                network, noise[asked], self._objective.levels[0], batch.chosen(asked),
                self._precision,
            )  # fmt: skip
            start = clean.clone()
            start[imagined] = estimate[imagined[asked]]
        noisy = start + sigma * noise
        with self._skips_dropped(rngs, clean.shape[1]):
            velocity = velocity_of(network, noisy, sigma, batch, self._precision)
        matching = loss.score_matching_loss(noisy, velocity, clean, sigma, batch.mask)
        if not self._objective.depth:
            return matching
        estimate = loss.clean_estimate(noisy, velocity, sigma) / self._encoder.scaling_factor
        error = depth_error(self._reading(estimate), batch.inverse_depth)
        return matching + self._objective.depth * error.mean()

    @contextmanager
    def _skips_dropped(self, rngs: list[np.random.Generator], frames: int) -> Iterator[None]:
        """Withhold skips of the finest levels from clips, each from its share of them."""
        hooks = []
        for block, share in zip(reversed(self.network.up_blocks), self._skip_dropout, strict=False):
            kept = torch.tensor([rng.random() >= share for rng in rngs]).repeat_interleave(frames)
            hook = partial(_without_skips, kept.float().view(-1, 1, 1, 1))
            hooks.append(block.register_forward_pre_hook(hook, with_kwargs=True))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    @cached_property
    def _reading(self) -> DepthReading:
        # Fitted when first needed: a stage that is done already reads no clips.
        return DepthReading.fit(self._decoded())

    def _decoded(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Disparity's latents of the first clips and what they are decoded to, in any process."""
        steps, frames = self._steps.unshared(), 0
        for piece in (piece for step in count() for piece in steps[step]):
            for clip in self._encoded(piece).disparity:
                part = clip[:ENCODE_BATCH]
                yield part, self._encoder.decode_cells(part)
                frames += len(part)
                if frames >= _FITTED:
                    return

    def _level(self, rng: np.random.Generator) -> tuple[float, bool]:
        """A noise level, and whether its sample starts from the network's own estimate."""
        plan = self._objective
        if not plan.levels:
            return float(np.exp(plan.log_mean + plan.log_std * rng.normal())), False
        shares = np.array(plan.level_shares) / sum(plan.level_shares)
        level = int(rng.choice(len(plan.levels), p=shares))
        sigma = plan.levels[level] * float(np.exp(plan.level_spread * rng.normal()))
        return sigma, level == len(plan.levels) - 2 and rng.random() < plan.rollout


def _without_skips(
    kept: Tensor, _block: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    skips = tuple(skip * kept.to(skip) for skip in named["res_hidden_states_tuple"])
    return inputs, named | {"res_hidden_states_tuple": skips}


def train_denoiser(
    stage: StageConfig,
    recipe: TrainingConfig,
    unet: nn.Module,
    encoder: Encoder,
    clips: Mapping[str, ClipSource],
    precision: Precision,
    session: Session,
) -> None:
    """Take ``unet`` through one stage of a recipe, from its checkpoint if there is one."""
    share = Share(session.accelerator.process_index, session.accelerator.num_processes)
    sources = _readable(recipe, clips, encoder, session)
    steps = Steps(stage, sources, recipe.stage_seed(stage), share, session.rejects)
    select_layers(unet, stage.trains, recipe.frozen)
    # Cached clips are in memory, and sent from a worker each would hold open files for good.
    workers = recipe.workers if recipe.latents == "streamed" else 0
    denoiser = DenoiserStage(stage, unet, encoder, recipe.objective, steps, precision, workers)
    train(denoiser, stage, session, earlier_stages(recipe, stage))


def _readable(
    recipe: TrainingConfig,
    clips: Mapping[str, ClipSource],
    encoder: Encoder,
    session: Session,
) -> dict[str, Readable]:
    """The data of a stage, encoded now if the recipe caches latents."""
    mirror = {name: recipe.sources[name].mirror for name in clips}
    if recipe.latents == "streamed":
        return {name: StreamedClips(source, mirror[name]) for name, source in clips.items()}
    accelerator = session.accelerator
    share = slice(accelerator.process_index, None, accelerator.num_processes)
    folders = {name: session.folder / "latents" / name for name in clips}
    for name, source in clips.items():
        fill_cache(
            folders[name], source, encoder, session.observer, share, session.rejects, mirror[name]
        )
    accelerator.wait_for_everyone()
    return {name: CachedClips(folders[name], source, encoder) for name, source in clips.items()}
