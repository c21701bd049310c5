"""The denoiser."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from depthcrafter_cli.models.published.layers import (
    GROUPS,
    Block,
    Downsampler,
    Embedding,
    Residual,
    Transformer,
    Upsampler,
    Waves,
    for_each,
)

Counts = int | tuple[int, ...]


@dataclass(frozen=True)
class UNetConfig:
    """What a published config says, with the values of what it leaves out."""

    in_channels: int = 8
    out_channels: int = 4
    down_block_types: tuple[str, ...] = (
        *("CrossAttnDownBlockSpatioTemporal",) * 3, "DownBlockSpatioTemporal",
    )  # fmt: skip
    up_block_types: tuple[str, ...] = (
        "UpBlockSpatioTemporal", *("CrossAttnUpBlockSpatioTemporal",) * 3,
    )  # fmt: skip
    block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280)
    addition_time_embed_dim: int = 256
    projection_class_embeddings_input_dim: int = 768
    layers_per_block: Counts = 2
    cross_attention_dim: Counts = 1024
    transformer_layers_per_block: Counts = 1
    num_attention_heads: Counts = (5, 10, 20, 20)


class UNet(nn.Module):
    """The denoiser's layers; ``reordered.unet`` computes with them."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        channels = config.block_out_channels
        last, level = len(channels) - 1, 4 * channels[0]
        layers, heads, context, depth = (
            for_each(getattr(config, name), len(channels), name)
            for name in (
                "layers_per_block", "num_attention_heads", "cross_attention_dim",
                "transformer_layers_per_block",
            )
        )  # fmt: skip

        def transformers(at: int, count: int) -> list[Transformer]:
            return [
                Transformer(channels[at], heads[at], context[at], depth[at]) for _ in range(count)
            ]

        self.conv_in = nn.Conv2d(config.in_channels, channels[0], 3, padding=1)
        self.time_proj = Waves(channels[0])
        self.time_embedding = Embedding(channels[0], level, level)
        self.add_time_proj = Waves(config.addition_time_embed_dim)
        self.add_embedding = Embedding(config.projection_class_embeddings_input_dim, level, level)
        self.down_blocks, self.up_blocks = nn.ModuleList(), nn.ModuleList()
        kinds = _attending(config.down_block_types, "Down", len(channels))
        for at, (width, attends) in enumerate(zip(channels, kinds, strict=True)):
            before = (channels[max(at - 1, 0)], *(width,) * (layers[at] - 1))
            eps = 1e-6 if attends else 1e-5
            self.down_blocks.append(
                Block(
                    [Residual(given, width, level, eps) for given in before],
                    transformers(at, layers[at]) if attends else [],
                    downsampler=Downsampler(width, padding=1) if at < last else None,
                )
            )
        self.mid_block = Block(
            [Residual(channels[-1], channels[-1], level, 1e-5) for _ in range(2)],
            transformers(last, 1),
        )
        kinds = _attending(config.up_block_types, "Up", len(channels))
        for at, attends in zip(range(last, -1, -1), kinds, strict=True):
            width = channels[at]
            before = (channels[min(at + 1, last)], *(width,) * layers[at])
            kept = (*(width,) * layers[at], channels[max(at - 1, 0)])  # on the way down
            self.up_blocks.append(
                Block(
                    [
                        Residual(given + skip, width, level, 1e-6)
                        for given, skip in zip(before, kept, strict=True)
                    ],
                    transformers(at, layers[at] + 1) if attends else [],
                    upsampler=Upsampler(width) if at else None,
                )
            )
        self.conv_norm_out = nn.GroupNorm(GROUPS, channels[0], 1e-5)
        self.conv_out = nn.Conv2d(channels[0], config.out_channels, 3, padding=1)


def embed_time(unet: Any, timestep: Tensor, added_time_ids: Tensor, dtype: torch.dtype) -> Tensor:
    """[batch, d] of a denoiser: the noise level's embedding plus that of the three time ids.

    ``timestep`` is [1] or [batch], ``added_time_ids`` [batch, 3].
    """
    batch = len(added_time_ids)
    level = unet.time_proj(timestep.expand(batch)).to(dtype)
    ids = unet.add_time_proj(added_time_ids.flatten()).view(batch, -1).to(dtype)
    embedded: Tensor = unet.time_embedding(level) + unet.add_embedding(ids)
    return embedded


def _attending(kinds: Sequence[str], way: str, count: int) -> tuple[bool, ...]:
    """Whether each block has attention. Raises ValueError for blocks of another kind."""
    known = {f"{way}BlockSpatioTemporal": False, f"CrossAttn{way}BlockSpatioTemporal": True}
    if len(kinds) != count or not known.keys() >= set(kinds):
        raise ValueError(
            f"got {way.lower()}_block_types = {kinds}, expected {count} of {', '.join(known)}"
        )
    return tuple(known[kind] for kind in kinds)
