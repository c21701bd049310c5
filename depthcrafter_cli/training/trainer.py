"""The loop every stage shares: draw a batch, step, average, save, report."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from depthcrafter_cli.progress import Observer, Progress
from depthcrafter_cli.training.checkpoint import TrainingState
from depthcrafter_cli.training.config import Optimisation
from depthcrafter_cli.training.ema import MovingAverage

Rng = np.random.Generator


class Stage(Protocol):
    """What is trained, and on what: ``network`` holds all parameters, frozen ones included."""

    name: str
    network: nn.Module

    def loss(self, rng: Rng) -> Tensor:
        """The loss of one batch; every random choice comes from ``rng``."""
        ...


def learning_rate(plan: Optimisation, step: int) -> float:
    """Linear warm-up, then a cosine down to a tenth."""
    if step < plan.warmup:
        return plan.learning_rate * (step + 1) / plan.warmup
    done = (step - plan.warmup) / max(plan.steps - plan.warmup, 1)
    return plan.learning_rate * (0.55 + 0.45 * math.cos(math.pi * min(done, 1.0)))


def new_state(stage: Stage, plan: Optimisation) -> TrainingState:
    """Optimiser and average for a stage about to start."""
    trained = [p for p in stage.network.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        trained, lr=plan.learning_rate, weight_decay=plan.weight_decay, betas=(0.9, 0.99)
    )
    return TrainingState(stage.network, optimizer, MovingAverage(stage.network, plan.ema))


def train_step(stage: Stage, state: TrainingState, plan: Optimisation, seed: int) -> float:
    """One optimiser step; returns the loss. Depends on nothing but state, seed and step number."""
    rng = np.random.default_rng([seed, state.step])
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate(plan, state.step)
    loss = stage.loss(rng)
    state.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    trained = [p for group in state.optimizer.param_groups for p in group["params"]]
    nn.utils.clip_grad_norm_(trained, plan.clip_norm)
    state.optimizer.step()
    state.step += 1
    state.average.update(state.step)
    return float(loss.detach())


def train(
    stage: Stage, plan: Optimisation, seed: int, checkpoint: Path, observer: Observer
) -> None:
    """Run a stage to its last step, from its checkpoint if there is one.

    The network ends up with the averaged weights. Killed at any moment, a run loses at most
    ``save_every`` steps.
    """
    state = new_state(stage, plan)
    if checkpoint.exists():
        state.load(checkpoint)
    smooth, since, start = None, time.monotonic(), state.step
    while state.step < plan.steps:
        loss = train_step(stage, state, plan, seed)
        smooth = loss if smooth is None else 0.98 * smooth + 0.02 * loss
        if state.step % plan.save_every == 0 or state.step == plan.steps:
            state.save(checkpoint)
        if state.step % 20 == 0:
            pace = (state.step - start) / (time.monotonic() - since)
            detail = f"loss {smooth:.4f}, {pace:.2f} steps/s"
            observer(Progress(stage.name, state.step, plan.steps, "steps", detail))
    state.average.copy_to_network()
