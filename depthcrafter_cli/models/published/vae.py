"""The autoencoder, which encodes every picture on its own and decodes several together."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from depthcrafter_cli.models.published.layers import (
    GROUPS,
    Block,
    Downsampler,
    ImageAttention,
    Residual,
    ResidualInSpace,
    Upsampler,
    convolution_in_time,
)

_EPS = 1e-6


@dataclass(frozen=True)
class VaeConfig:
    """What a published config says, with the values of what it leaves out."""

    in_channels: int = 3
    out_channels: int = 3
    down_block_types: tuple[str, ...] = ("DownEncoderBlock2D",)
    block_out_channels: tuple[int, ...] = (64,)
    layers_per_block: int = 1
    latent_channels: int = 4
    scaling_factor: float = 0.18215


class Vae(nn.Module):
    """Encoder and decoder; ``quant_conv`` makes means and log-variances of what was encoded."""

    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        self.config = config
        expected = ("DownEncoderBlock2D",) * len(config.block_out_channels)
        if config.down_block_types != expected:
            raise ValueError(
                f"got down_block_types = {config.down_block_types}, expected {expected}"
            )
        self.encoder, self.decoder = Encoder(config), Decoder(config)
        self.quant_conv = nn.Conv2d(2 * config.latent_channels, 2 * config.latent_channels, 1)


class Encoder(nn.Module):
    """Pictures [n, 3, H, W] to twice as many channels as latents have."""

    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        channels, further = config.block_out_channels, config.layers_per_block - 1
        last = channels[-1]
        self.conv_in = nn.Conv2d(config.in_channels, channels[0], 3, padding=1)
        self.down_blocks = nn.ModuleList(
            Block(
                [
                    ResidualInSpace(given, width, None, _EPS)
                    for given in (before, *(width,) * further)
                ],
                downsampler=Downsampler(width, padding=0) if at < len(channels) else None,
            )
            for at, (before, width) in enumerate(pairwise((channels[0], *channels)), 1)
        )
        self.mid_block = Block(
            [ResidualInSpace(last, last, None, _EPS) for _ in range(2)], [ImageAttention(last)]
        )
        self.conv_norm_out = nn.GroupNorm(GROUPS, last, _EPS)
        self.conv_out = nn.Conv2d(last, 2 * config.latent_channels, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """The published order of operations, each on whole pictures."""
        hidden = self.conv_in(images)
        for block in self.down_blocks:
            for layer in (*block.resnets, *block.downsamplers):
                hidden = layer(hidden)
        first, second = self.mid_block.resnets
        hidden = second(self.mid_block.attentions[0](first(hidden)))
        result: Tensor = self.conv_out(F.silu(self.conv_norm_out(hidden)))
        return result


class Decoder(nn.Module):
    """The layers of the temporal decoder; ``reordered.decoder`` computes with them."""

    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        channels, layers = config.block_out_channels[::-1], config.layers_per_block
        first = channels[0]

        def residual(before: int, width: int) -> Residual:
            return Residual(before, width, None, _EPS, eps_in_time=1e-5, switched=True)

        self.conv_in = nn.Conv2d(config.latent_channels, first, 3, padding=1)
        self.mid_block = Block(
            [residual(first, first) for _ in range(layers)], [ImageAttention(first)]
        )
        self.up_blocks = nn.ModuleList(
            Block(
                [residual(given, width) for given in (before, *(width,) * layers)],
                upsampler=Upsampler(width) if at < len(channels) else None,
            )
            for at, (before, width) in enumerate(pairwise((first, *channels)), 1)
        )
        self.conv_norm_out = nn.GroupNorm(GROUPS, channels[-1], _EPS)
        self.conv_out = nn.Conv2d(channels[-1], config.out_channels, 3, padding=1)
        self.time_conv_out = convolution_in_time(config.out_channels)
