"""Layers on channels-last tokens [T, h * w, C], over chunks of frames or of pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from depthcrafter_cli.models.devices import attends_in_pieces, lacks_operations
from depthcrafter_cli.models.fused import fusion

ImageSize = tuple[int, int]  # height, width
_ONEDNN = torch.backends.mkldnn.is_available() and torch.backends.mkl.is_available()


def chunks(length: int, values_each: int, chunk_values: int) -> list[slice]:
    """Slices that cover ``range(length)``: at most ``chunk_values`` values each, never empty."""
    size = max(1, chunk_values // values_each)
    return [slice(start, min(start + size, length)) for start in range(0, length, size)]


def to_images(tokens: Tensor, size: ImageSize) -> Tensor:
    """[n, h * w, C] as images [n, C, h, w] in channels-last memory, without a copy."""
    return tokens.unflatten(1, size).permute(0, 3, 1, 2)


def to_tokens(images: Tensor) -> Tensor:
    """[n, C, h, w] as tokens [n, h * w, C]; without a copy if the memory is channels-last."""
    return images.permute(0, 2, 3, 1).flatten(1, 2)


@dataclass
class Moments:
    """Mean and spread of each group of channels, over ``count`` values, in float32 or better.

    ``mean`` and ``m2`` (sum of squared differences from the mean) are [n, groups].
    """

    count: int
    mean: Tensor
    m2: Tensor

    @staticmethod
    def of(tokens: Tensor, groups: int, *, together: bool = False) -> Moments:
        """Per item of ``tokens`` [n, s, C], or of all items ``together`` (then n = 1)."""
        count = (len(tokens) if together else 1) * tokens[0].numel() // groups
        if kernels := _kernels(tokens):
            return Moments(count, *kernels.moments(tokens, groups, together=together))
        items = tokens.flatten(0, 1)[None] if together else tokens
        centre = items.mean(dim=1, keepdim=True, dtype=_accumulator(tokens))
        spread = _squares(items - centre)
        by_channel = centre[:, 0].unflatten(1, (groups, -1))
        mean = by_channel.mean(dim=2)
        between = (by_channel - mean[..., None]).square().sum(dim=2) * items.shape[1]
        return Moments(count, mean, spread.unflatten(1, (groups, -1)).sum(dim=2) + between)

    @staticmethod
    def gathered(
        tokens: Tensor, groups: int, chunk_values: int, *, together: bool = False
    ) -> Moments:
        """As :meth:`of`, from pieces of at most ``chunk_values`` values."""
        count, area, channels = tokens.shape
        return Moments.joined(
            [
                Moments.of(tokens[:, span], groups, together=together)
                for span in chunks(area, count * channels, chunk_values)
            ]
        )

    @staticmethod
    def joined(pieces: Sequence[Moments]) -> Moments:
        """The moments of all pieces together, which are of one size, but for the last.

        They are merged as in Chan, Golub and LeVeque 1983.
        """
        *equal, last = pieces
        if not equal:
            return last
        whole, count = equal[0], equal[0].count
        if len(equal) > 1:
            means = torch.stack([piece.mean for piece in equal])
            mean = means.mean(dim=0)
            m2 = torch.stack([piece.m2 for piece in equal]).sum(dim=0)
            m2 += (means - mean).square_().sum(dim=0) * count
            whole = Moments(count * len(equal), mean, m2)
        return whole.merged(last)

    def merged(self, other: Moments) -> Moments:
        """Return the moments of both pieces together."""
        count = self.count + other.count
        step = other.mean - self.mean
        mean = self.mean + step * (other.count / count)
        m2 = self.m2 + other.m2 + step.square() * (self.count * other.count / count)
        return Moments(count, mean, m2)


def normalize(
    tokens: Tensor, norm: nn.GroupNorm, moments: Moments, *, silu: bool = False
) -> Tensor:
    """Apply a GroupNorm whose statistics are known, and SiLU if asked for."""
    if kernels := _kernels(tokens):
        known = (moments.count, moments.mean, moments.m2)
        normalized: Tensor = kernels.normalize(tokens, norm, *known, silu=silu)
        return normalized
    deviation = torch.rsqrt(moments.m2 / moments.count + norm.eps)
    per_group = norm.num_channels // norm.num_groups
    scale = deviation.repeat_interleave(per_group, 1) * norm.weight
    shift = norm.bias - moments.mean.repeat_interleave(per_group, 1) * scale
    if lacks_operations(tokens.device):  # of different types, at least
        result = (tokens * scale[:, None]).add_(shift[:, None]).to(tokens.dtype)
    else:
        result = torch.empty_like(tokens)  # so that nothing is written in 32 bits on the way
        torch.addcmul(shift[:, None], tokens, scale[:, None], out=result)
    return F.silu(result, inplace=True) if silu else result


def convolve(
    tokens: Tensor, conv: nn.Conv2d, size: ImageSize, offset: Tensor | None = None
) -> Tensor:
    """A spatial convolution of stride 1 that keeps the size; ``offset`` [1, C'] is added."""
    images = to_images(tokens, size)
    if offset is None:
        return to_tokens(conv(images))
    bias = conv.bias + offset[0]  # so that the sum is no pass of its own
    return to_tokens(F.conv2d(images, conv.weight, bias, padding=conv.padding))


def convolve_normalized(
    tokens: Tensor,
    norm: nn.GroupNorm,
    conv: nn.Conv2d,
    size: ImageSize,
    chunk_values: int,
    offset: Tensor | None = None,
) -> Tensor:
    """GroupNorm of every frame, SiLU, and a 3x3 convolution; [n, h * w, C] to [n, h * w, C'].

    What lies between exists for some rows at a time, each with the rows next to it. ``offset``
    [1, C'] is added to the result.
    """
    moments = Moments.gathered(tokens, norm.num_groups, chunk_values)
    (height, width), (count, area, channels) = size, tokens.shape
    widest = max(channels, conv.out_channels)
    spans = chunks(height, count * width * widest, chunk_values)
    if len(spans) == 1:
        return convolve(normalize(tokens, norm, moments, silu=True), conv, size, offset)
    result = tokens.new_empty(count, area, conv.out_channels)
    for rows in spans:
        top, bottom = max(rows.start - 1, 0), min(rows.stop + 1, height)
        part = normalize(tokens[:, top * width : bottom * width], norm, moments, silu=True)
        part = convolve(part, conv, (bottom - top, width), offset)
        inner = slice((rows.start - top) * width, (rows.stop - top) * width)
        result[:, rows.start * width : rows.stop * width] = part[:, inner]
    return result


def convolve_time(tokens: Tensor, conv: nn.Conv3d, offset: Tensor | None = None) -> Tensor:
    """A 3x1x1 convolution over all frames of some pixels [T, p, C], as a 2-D one over (T, p).

    ``offset`` [1, C'] is added to the result.
    """
    # By its strides it must be channels-last memory, or it is copied to another layout and back.
    video = tokens[None].permute(0, 3, 1, 2)
    padding = (int(conv.padding[0]), 0)
    bias = conv.bias if offset is None else conv.bias + offset[0]
    mixed = F.conv2d(video, conv.weight.flatten(3), bias, padding=padding)
    return mixed[0].permute(1, 2, 0)


def linear(tokens: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """[n, s, C] times the transposed ``weight`` [C', C], and ``bias`` [C'] added.

    On a CPU in float32 as a convolution of one pixel, which oneDNN computes: PyTorch has MKL
    multiply matrices, which is slower on AMD's processors.
    """
    if tokens.device.type != "cpu" or tokens.dtype != torch.float32 or not _ONEDNN:
        return F.linear(tokens, weight, bias)
    images = tokens[None].permute(0, 3, 1, 2)
    return F.conv2d(images, weight[..., None, None], bias).permute(0, 2, 3, 1)[0]


def attend(tokens: Tensor, attention: Any, chunk_values: int, *, in_time: bool = False) -> Tensor:
    """Multi-head self-attention over the middle axis of [n, s, C], ``in_time`` over the first.

    Where PyTorch forms all products of queries and keys, for so many queries at a time that these
    are at most ``chunk_values``, but for one query at least.
    """
    order = (1, 2, 0, 3) if in_time else (0, 2, 1, 3)  # to [items, heads, sequence, width]
    query, key, value = (
        linear(tokens, project.weight, project.bias)
        .unflatten(2, (attention.heads, -1))
        .permute(order)
        for project in (attention.to_q, attention.to_k, attention.to_v)
    )
    if not attends_in_pieces(tokens.device):
        mixed = F.scaled_dot_product_attention(query, key, value)
    else:
        mixed = torch.empty_like(query)
        each = query.shape[0] * query.shape[1] * query.shape[2]
        for span in chunks(query.shape[2], each, chunk_values):
            mixed[:, :, span] = F.scaled_dot_product_attention(query[:, :, span], key, value)
    last = attention.to_out[0]
    back = (2, 0, 1, 3) if in_time else (0, 2, 1, 3)
    return linear(mixed.permute(back).flatten(2), last.weight, last.bias)


def add_normalize(
    part: Tensor | None, tokens: Tensor, context: Tensor | None, norm: nn.LayerNorm
) -> tuple[Tensor, Tensor]:
    """The sum of ``part`` and ``tokens`` [n, s, C] and of ``context`` [n or 1, 1, C], and its norm.

    What is None is left out; ``part`` may be overwritten.
    """
    if part is None and context is None:
        return tokens, norm(tokens)
    if kernels := _kernels(tokens):
        total, normed = kernels.add_normalize(part, tokens, context, norm)
        return total, normed
    total = tokens if part is None else part.add_(tokens)
    if context is not None:
        total = total + context if part is None else total.add_(context)
    return total, norm(total)


def mix(hidden: Tensor, tokens: Tensor, part: Tensor | None, share: float) -> None:
    """``hidden`` [n, s, C] takes a ``share`` of the sum of ``tokens`` and ``part``, in place.

    ``part`` may be None, and may be overwritten.
    """
    if part is None:
        hidden.lerp_(tokens, share)
    elif kernels := _kernels(hidden):
        kernels.mix(hidden, part, tokens, share)
    else:
        hidden.lerp_(part.add_(tokens), share)


def feed_forward(tokens: Tensor, layer: Any) -> Tensor:
    """Return the GEGLU feed-forward layer's result."""
    lift = layer.net[0].proj
    if kernels := _kernels(tokens):
        return layer.net[2](kernels.gated(lift(tokens)))
    # Apart, so that no half is read out of rows of both.
    value, gate = (
        linear(tokens, *half) for half in zip(lift.weight.chunk(2), lift.bias.chunk(2), strict=True)
    )
    return linear(F.gelu(gate).mul_(value), layer.net[2].weight, layer.net[2].bias)


def _kernels(tokens: Tensor) -> Any:
    """The fused kernels for such tokens, None where PyTorch's own operations are used."""
    return None if tokens.dtype == torch.float64 else fusion(tokens.device.type).kernels


def _accumulator(tokens: Tensor) -> torch.dtype:
    return torch.float64 if tokens.dtype == torch.float64 else torch.float32


def _squares(differences: Tensor) -> Tensor:
    """The sum of squares over the middle axis, on a CPU in the order that is exact and fast there.

    Elsewhere in one pass over memory.
    """
    if differences.device.type == "cpu":
        return differences.square_().sum(dim=1)
    return torch.linalg.vector_norm(differences, dim=1).square_()
