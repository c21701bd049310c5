"""What training a stage takes of its device's memory, counted before anything is there.

The network is built without values (PyTorch's "meta" device), and one step of the real code runs on
it, while :class:`~depthcrafter_cli.training.tracker.Tracker` adds up what it would hold. So neither
weights nor a GPU are needed. What it cannot see: workspaces of convolutions and fragments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from depthcrafter_cli.models.unet import DepthUNet
from depthcrafter_cli.training.config import StageConfig
from depthcrafter_cli.training.layers import select_layers
from depthcrafter_cli.training.optimizers import state_bytes
from depthcrafter_cli.training.sharding import BLOCKS
from depthcrafter_cli.training.shortcuts import (
    collapse_cross_attention,
    flatten_temporal_convolutions,
    recompute_blocks,
)
from depthcrafter_cli.training.tracker import DEVICE, Tracker

_FLOAT32 = 4  # bytes: weights, gradients, optimiser and average are kept in it


@dataclass(frozen=True)
class Step:
    """What goes through the network together: clips of so many frames, of latents [c, h, w]."""

    clips: int
    frames: int
    channels: int
    height: int
    width: int


@dataclass(frozen=True)
class StageMemory:
    """Bytes of a stage in one process.

    ``working`` is what the passes of a step need beside the rest: all in bfloat16, and all in
    float32. Mixed precision lies between. ``on_host`` are those of what is kept there,
    ``checkpoint`` about those of one on the disk.
    ``block`` are the weights of the largest block, ``loose`` those outside of blocks.
    """

    trained: int
    weights: int
    gradients: int
    optimizer: int
    average: int
    on_host: int = 0
    checkpoint: int = 0
    working: tuple[int, int] = (0, 0)
    block: int = 0
    loose: int = 0

    def kept_by_each(self, processes: int) -> int:
        """What is on the device of each of several processes that share the network.

        Beside its part, the weights of two blocks and the gradients of one, and their copies on the
        way.
        """
        return self.kept // processes + 4 * self.block + 2 * self.loose

    @property
    def kept(self) -> int:
        """What is on the device all the time."""
        return self.weights + self.gradients + self.optimizer + self.average


def stage_memory(
    build: Callable[[], DepthUNet],
    stage: StageConfig,
    frozen: list[str],
    processes: int = 1,
    step: Step | None = None,
) -> StageMemory:
    """Count what a stage takes; ``working`` for a ``step``, which takes some seconds.

    ``build`` makes the network. Several ``processes`` exchange gradients in as many bytes again.
    """
    unet = _simulated(build, stage, frozen, torch.float32)
    learnt = [p for p in unet.parameters() if p.requires_grad]
    trained = sum(p.numel() for p in learnt)
    average = _FLOAT32 * trained if stage.ema else 0
    optimizer = sum(state_bytes(stage, p) for p in learnt)
    ema_on_host, optimizer_on_host = stage.ema_on == "host", stage.optimizer_on == "host"
    weights = _weight_bytes(unet)
    blocks = [_weight_bytes(module) for module in unet.modules() if isinstance(module, BLOCKS)]
    return StageMemory(
        trained=trained,
        weights=weights,
        gradients=_FLOAT32 * trained * (2 if processes > 1 else 1),
        optimizer=optimizer * (not optimizer_on_host),
        average=average * (not ema_on_host),
        # Where AdamW steps there is a copy of the weights, too.
        on_host=average * ema_on_host + (optimizer + _FLOAT32 * trained) * optimizer_on_host,
        checkpoint=_FLOAT32 * trained + optimizer + average,
        working=(0, 0) if step is None else _working(build, stage, frozen, step),
        block=max(blocks),
        loose=weights - sum(blocks),
    )


def _weight_bytes(network: nn.Module) -> int:
    return _FLOAT32 * sum(int(p.numel()) for p in network.parameters())


def _simulated(
    build: Callable[[], DepthUNet], stage: StageConfig, frozen: list[str], dtype: torch.dtype
) -> DepthUNet:
    """The network without values, as a stage has it."""
    with torch.device(DEVICE):
        unet = build()
    nn.Module.to(unet, device=DEVICE, dtype=dtype).train()
    recompute_blocks(unet, stage.checkpointing)
    flatten_temporal_convolutions(unet)
    collapse_cross_attention(unet)
    select_layers(unet, stage.trains, frozen)
    return unet


def _working(
    build: Callable[[], DepthUNet], stage: StageConfig, frozen: list[str], step: Step
) -> tuple[int, int]:
    low, high = (
        _peak(_simulated(build, stage, frozen, dtype), step, dtype)
        for dtype in (torch.bfloat16, torch.float32)
    )
    return low, high


def _peak(unet: DepthUNet, step: Step, dtype: torch.dtype) -> int:
    """Bytes at most beyond weights and gradients, while a step goes there and back."""
    with _fused_attention(), Tracker() as tracker:
        for parameter in unet.parameters():
            tracker.ignore(parameter)
            if parameter.requires_grad:
                parameter.grad = torch.empty_like(parameter)
                tracker.ignore(parameter.grad)
        tracker.restart()
        shape = step.clips, step.frames, 2 * step.channels, step.height, step.width
        sample = torch.empty(shape, dtype=dtype, device=DEVICE)
        embedding = int(unet.config.cross_attention_dim)
        embeds = torch.empty(step.clips * step.frames, 1, embedding, dtype=dtype, device=DEVICE)
        level = torch.empty(step.clips, dtype=dtype, device=DEVICE)
        ids = torch.empty(step.clips, 3, dtype=dtype, device=DEVICE)
        unet(sample, level, embeds, ids).float().square().mean().backward()
        return int(tracker.peak)


@contextmanager
def _fused_attention() -> Iterator[None]:
    """Inside, attention keeps what a fused kernel does: without a GPU PyTorch would not choose one.

    A mode of PyTorch would not reach what is computed again in the backward pass.
    """
    own = F.scaled_dot_product_attention
    F.scaled_dot_product_attention = lambda q, k, v, **_: _Attention.apply(q, k, v)
    try:
        yield
    finally:
        F.scaled_dot_product_attention = own


class _Attention(torch.autograd.Function):
    """For the backward pass: the inputs, the result, and a number a query."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        mixed = torch.empty_like(query)
        per_query = torch.empty(query.shape[:-1], dtype=torch.float32, device=query.device)
        ctx.save_for_backward(query, key, value, mixed, per_query)
        return mixed

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> tuple[Tensor, ...]:
        return tuple(torch.empty_like(tensor) for tensor in ctx.saved_tensors[:3])
