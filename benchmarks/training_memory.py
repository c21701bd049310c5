"""Memory of a training step of the published model, by stage: counted, not guessed.

    python benchmarks/training_memory.py [--height 320] [--width 640]

Weights, gradients, optimiser and average follow from the parameters that a stage trains. What the
forward and backward passes need on top is counted on the simulated device of tracker.py, one clip
at a time with activation checkpointing, twice: all in bfloat16, and all in float32. Mixed precision
keeps norms in float32 and products in bfloat16, and so lies between. Prints a Markdown table, GB.
"""

import argparse
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tracker import DEVICE, Tracker

from depthcrafter_cli.models.layout import read_json
from depthcrafter_cli.models.unet import DepthUNet
from depthcrafter_cli.models.weights import find_configs
from depthcrafter_cli.training.config import LayerGroup
from depthcrafter_cli.training.layers import select_layers
from depthcrafter_cli.training.shortcuts import (
    collapse_cross_attention,
    flatten_temporal_convolutions,
    recompute_blocks,
)

STAGES: tuple[tuple[LayerGroup, int], ...] = (("all", 25), ("temporal", 110), ("spatial", 45))
FLOAT32, GB = 4, 1e9


class FusedAttention(torch.autograd.Function):
    """What a fused kernel keeps for the backward pass: its inputs, its result, a number a query."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        mixed = torch.empty_like(query)
        per_query = torch.empty(query.shape[:-1], dtype=torch.float32, device=query.device)
        ctx.save_for_backward(query, key, value, mixed, per_query)
        return mixed

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> tuple[Tensor, ...]:
        return tuple(torch.empty_like(tensor) for tensor in ctx.saved_tensors[:3])


def published(dtype: torch.dtype) -> DepthUNet:
    """The network without values."""
    config = read_json(find_configs("depthcrafter").path / "unet" / "config.json")
    with torch.device(DEVICE):
        unet = DepthUNet.from_config(config)
    nn.Module.to(unet, device=DEVICE, dtype=dtype).train()
    recompute_blocks(unet, True)
    flatten_temporal_convolutions(unet)
    collapse_cross_attention(unet)
    return unet


def working_memory(
    trains: LayerGroup, frames: int, height: int, width: int, dtype: torch.dtype
) -> int:
    """Bytes at most beyond weights and gradients, for one clip of latents [frames, 8, h, w]."""
    unet = published(dtype)
    select_layers(unet, trains, [])
    with Tracker() as tracker:
        for parameter in unet.parameters():
            tracker.ignore(parameter)
            if parameter.requires_grad:
                parameter.grad = torch.empty_like(parameter)
                tracker.ignore(parameter.grad)
        tracker.restart()
        sample = torch.empty(1, frames, 8, height // 8, width // 8, dtype=dtype, device=DEVICE)
        embeds = torch.empty(frames, 1, 1024, dtype=dtype, device=DEVICE)
        level = torch.empty(1, dtype=dtype, device=DEVICE)
        ids = torch.empty(1, 3, dtype=dtype, device=DEVICE)
        unet(sample, level, embeds, ids).float().square().mean().backward()
        return tracker.peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--height", type=int, default=320)
    parser.add_argument("--width", type=int, default=640)
    given = parser.parse_args()
    F.scaled_dot_product_attention = lambda q, k, v, **_: FusedAttention.apply(q, k, v)
    print("| stage | trained, M | weights | gradients | AdamW | EMA | working, one clip | sum |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for trains, frames in STAGES:
        unet = published(torch.float32)
        select_layers(unet, trains, [])
        every = sum(p.numel() for p in unet.parameters())
        trained = sum(p.numel() for p in unet.parameters() if p.requires_grad)
        fixed = [FLOAT32 * every, *(FLOAT32 * trained * copies for copies in (1, 2, 1))]
        low, high = (
            working_memory(trains, frames, given.height, given.width, dtype)
            for dtype in (torch.bfloat16, torch.float32)
        )
        parts = " | ".join(f"{part / GB:.1f}" for part in fixed)
        total = sum(fixed)
        print(
            f"| {trains}, {frames} frames | {trained / 1e6:.0f} | {parts} "
            f"| {low / GB:.1f} to {high / GB:.1f} "
            f"| {(total + low) / GB:.0f} to {(total + high) / GB:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
