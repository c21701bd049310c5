"""The layers that the networks are made of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GROUPS = 32  # of every GroupNorm


class Block(nn.Module):
    """One level of a network, which the network walks through itself."""

    def __init__(
        self,
        resnets: Sequence[nn.Module],
        attentions: Sequence[nn.Module] = (),
        *,
        downsampler: nn.Module | None = None,
        upsampler: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.has_cross_attention = any(isinstance(each, Transformer) for each in attentions)
        self.resnets, self.attentions = nn.ModuleList(resnets), nn.ModuleList(attentions)
        self.downsamplers = nn.ModuleList([downsampler] if downsampler else [])
        self.upsamplers = nn.ModuleList([upsampler] if upsampler else [])


class Downsampler(nn.Module):
    """Halves both sides of pictures; without ``padding`` the last row and column are padded."""

    def __init__(self, channels: int, padding: int) -> None:
        super().__init__()
        self._added = (0, 0 if padding else 1) * 2
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=padding)

    def forward(self, images: Tensor) -> Tensor:
        """Pictures [n, C, h, w] of half the size."""
        halved: Tensor = self.conv(F.pad(images, self._added) if any(self._added) else images)
        return halved


class Upsampler(nn.Module):
    """The convolution of pictures that have been enlarged."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)


class ResidualInSpace(nn.Module):
    """A residual block of pictures; ``level`` is the width of the noise level's embedding."""

    def __init__(self, before: int, width: int, level: int | None, eps: float) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(GROUPS, before, eps)
        self.conv1 = nn.Conv2d(before, width, 3, padding=1)
        self.time_emb_proj = None if level is None else nn.Linear(level, width)
        self.norm2 = nn.GroupNorm(GROUPS, width, eps)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.conv_shortcut = None if before == width else nn.Conv2d(before, width, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Pictures [n, C', h, w] of those that know no noise level."""
        added: Tensor = self.conv1(F.silu(self.norm1(images)))
        added = self.conv2(F.silu(self.norm2(added)))
        return (images if self.conv_shortcut is None else self.conv_shortcut(images)) + added


class ResidualInTime(nn.Module):
    """A residual block of what a pixel shows from frame to frame."""

    def __init__(self, width: int, level: int | None, eps: float) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(GROUPS, width, eps)
        self.conv1 = convolution_in_time(width)
        self.time_emb_proj = None if level is None else nn.Linear(level, width)
        self.norm2 = nn.GroupNorm(GROUPS, width, eps)
        self.conv2 = convolution_in_time(width)


class Residual(nn.Module):
    """A residual block in space, one in time, and the share of each."""

    def __init__(
        self,
        before: int,
        width: int,
        level: int | None,
        eps: float,
        eps_in_time: float | None = None,
        *,
        switched: bool = False,
    ) -> None:
        super().__init__()
        self.spatial_res_block = ResidualInSpace(before, width, level, eps)
        self.temporal_res_block = ResidualInTime(width, level, eps_in_time or eps)
        self.time_mixer = Mixer(switched)


class Mixer(nn.Module):
    """How much of a temporal branch is taken; ``switched``, how much of the spatial one."""

    merge_strategy = "learned"

    def __init__(self, switched: bool = False) -> None:
        super().__init__()
        self.switch_spatial_to_temporal_mix = switched
        self.mix_factor = nn.Parameter(torch.empty(1))


class Transformer(nn.Module):
    """Attention within frames and from frame to frame, ``depth`` layers of each."""

    def __init__(self, width: int, heads: int, context: int, depth: int) -> None:
        super().__init__()
        inner = heads * (width // heads)
        self.norm = nn.GroupNorm(GROUPS, width, eps=1e-6)
        self.proj_in = nn.Linear(width, inner)
        self.transformer_blocks = nn.ModuleList(
            TransformerLayer(inner, heads, context) for _ in range(depth)
        )
        self.temporal_transformer_blocks = nn.ModuleList(
            TransformerLayerInTime(inner, heads, context) for _ in range(depth)
        )
        self.time_pos_embed = Embedding(width, 4 * width, width)
        self.time_proj = Waves(width)
        self.time_mixer = Mixer()
        self.proj_out = nn.Linear(inner, width)


class TransformerLayer(nn.Module):
    """Self-attention, attention to the image encoder's embeddings, and a feed-forward layer."""

    def __init__(self, width: int, heads: int, context: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn1 = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.attn2 = Attention(width, heads, context)
        self.norm3 = nn.LayerNorm(width)
        self.ff = FeedForward(width)


class TransformerLayerInTime(TransformerLayer):
    """The same after another feed-forward layer; what each gives is added to what it is given."""

    is_res = True

    def __init__(self, width: int, heads: int, context: int) -> None:
        super().__init__(width, heads, context)
        self.norm_in = nn.LayerNorm(width)
        self.ff_in = FeedForward(width)


class Attention(nn.Module):
    """The projections of attention, to as wide a ``context`` where that is something else."""

    def __init__(
        self, width: int, heads: int, context: int | None = None, bias: bool = False
    ) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(width, width, bias)
        self.to_k = nn.Linear(context or width, width, bias)
        self.to_v = nn.Linear(context or width, width, bias)
        self.to_out = nn.ModuleList([nn.Linear(width, width)])


class ImageAttention(Attention):
    """Attention of a picture's pixels to each other, with one head."""

    def __init__(self, width: int) -> None:
        super().__init__(width, 1, bias=True)
        self.group_norm = nn.GroupNorm(GROUPS, width, eps=1e-6)

    def forward(self, images: Tensor) -> Tensor:
        """What is seen is added to ``images`` [n, C, h, w]."""
        tokens = self.group_norm(images.flatten(2)).transpose(1, 2)
        query, key, value = (each(tokens)[:, None] for each in (self.to_q, self.to_k, self.to_v))
        seen = self.to_out[0](F.scaled_dot_product_attention(query, key, value)[:, 0])
        return seen.transpose(1, 2).unflatten(2, images.shape[2:]) + images


class FeedForward(nn.Module):
    """A gated layer (GEGLU), and one behind it; a dropout lies between them in training."""

    def __init__(self, width: int) -> None:
        super().__init__()
        gated = nn.Module()
        gated.proj = nn.Linear(width, 8 * width)
        self.net = nn.ModuleList([gated, nn.Identity(), nn.Linear(4 * width, width)])


class Waves(nn.Module):
    """Numbers [n] as cosines and sines of ``width`` / 2 frequencies, float32 [n, width]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self._width = width

    def forward(self, numbers: Tensor) -> Tensor:
        """See the class; a last odd column is 0."""
        half = self._width // 2
        steps = torch.arange(half, dtype=torch.float32, device=numbers.device)
        angles = numbers[:, None].float() * torch.exp(-math.log(10000) * steps / half)
        waves = torch.cat([angles.cos(), angles.sin()], dim=-1)
        return F.pad(waves, (0, self._width % 2))


class Embedding(nn.Module):
    """Two linear layers with SiLU between them."""

    def __init__(self, before: int, inner: int, width: int) -> None:
        super().__init__()
        self.linear_1, self.linear_2 = nn.Linear(before, inner), nn.Linear(inner, width)

    def forward(self, values: Tensor) -> Tensor:
        """[n, before] to [n, width]."""
        result: Tensor = self.linear_2(F.silu(self.linear_1(values)))
        return result


def convolution_in_time(channels: int) -> nn.Conv3d:
    """A convolution over three frames."""
    return nn.Conv3d(channels, channels, (3, 1, 1), padding=(1, 0, 0))


def for_each(value: Any, count: int, name: str) -> tuple[Any, ...]:
    """One of a config's values for each of ``count`` levels or layers, if it is one for all.

    Raises ValueError if there are more or fewer.
    """
    values = value if isinstance(value, tuple | list) else (value,) * count
    if len(values) != count:
        raise ValueError(f"got {name} = {value}, expected one or {count}")
    return tuple(values)
