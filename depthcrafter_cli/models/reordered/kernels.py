"""Norms and gates as Triton kernels: statistics in one pass over memory, the rest in another.

A LayerNorm, whose statistics are of one token, takes one pass with the sums before it; so does the
mix of a temporal branch.

Importing this needs Triton; :mod:`depthcrafter_cli.models.fused` decides where it is used. Tokens
are [n, s, C] of any strides and of at most 32 bits a value; all sums are in float32. The names in
the kernels' annotations are quoted: Triton reads them as code.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor, nn

_ROWS, _CHANNELS = 32, 128  # of a tile
_VALUES = 256  # of blocks and channels, gathered at a time
_PROGRAMS, _MOST_TILES = 1024, 16  # so many programs keep a large GPU busy


def moments(tokens: Tensor, groups: int, *, together: bool) -> tuple[Tensor, Tensor]:
    """Mean and sum of squared differences from it, of each group of channels.

    Both are [n, groups], of all items ``together`` [1, groups].
    """
    items, each, channels = tokens.shape
    counted = (1, items * each) if together else (items, each)
    across = triton.cdiv(channels, _CHANNELS)
    tiles = triton.cdiv(counted[1], _ROWS) * counted[0] * across
    rows = _ROWS * min(_MOST_TILES, max(1, tiles // _PROGRAMS))
    blocks = triton.cdiv(counted[1], rows)
    by_channel = tokens.new_empty(counted[0], blocks, 2, channels, dtype=torch.float32)
    _by_channel[(blocks, across, counted[0])](
        tokens, by_channel, each, counted[1], channels, *tokens.stride(),
        TOGETHER=together, TILES=rows // _ROWS, ROWS=_ROWS, CHANNELS=_CHANNELS,
    )  # fmt: skip
    mean, m2 = tokens.new_empty(2, counted[0], groups, dtype=torch.float32)
    _by_group[(counted[0], groups)](
        by_channel, mean, m2, blocks, rows, counted[1], channels, channels // groups,
        VALUES=_VALUES,
    )  # fmt: skip
    return mean, m2


def normalize(
    tokens: Tensor, norm: nn.GroupNorm, count: int, mean: Tensor, m2: Tensor, *, silu: bool
) -> Tensor:
    """Apply a GroupNorm whose statistics of ``count`` values are known, and SiLU if asked for."""
    items, each, channels = tokens.shape
    result = tokens.new_empty(tokens.shape)
    per_item = 0 if len(mean) == 1 else norm.num_groups
    grid = (triton.cdiv(each, _ROWS), triton.cdiv(channels, _CHANNELS), items)
    _normalize[grid](
        tokens, result, mean, m2, norm.weight, norm.bias, each, channels, *tokens.stride(),
        per_item, channels // norm.num_groups, 1 / count, norm.eps,
        SILU=silu, ROWS=_ROWS, CHANNELS=_CHANNELS,
    )  # fmt: skip
    return result


def add_normalize(
    part: Tensor | None, tokens: Tensor, context: Tensor | None, norm: nn.LayerNorm
) -> tuple[Tensor, Tensor]:
    """Sum of ``part``, ``tokens`` and ``context`` [n or 1, 1, C], and its norm.

    ``part`` or ``context`` may be None.
    """
    items, each, channels = tokens.shape
    total, normed = tokens.new_empty(tokens.shape), tokens.new_empty(tokens.shape)
    wide = triton.next_power_of_2(channels)
    rows = max(1, _ROWS * _CHANNELS // wide)
    added = tokens if context is None else context.contiguous()
    per_item = channels if len(added) == items else 0
    _add_normalize[(triton.cdiv(items * each, rows),)](
        tokens if part is None else part.contiguous(), tokens, added, norm.weight, norm.bias,
        total, normed, items * each, each, channels, *tokens.stride(), per_item, norm.eps,
        1 / channels, PART=part is not None, CONTEXT=context is not None, ROWS=rows, CHANNELS=wide,
    )  # fmt: skip
    return total, normed


def mix(hidden: Tensor, part: Tensor, tokens: Tensor, share: float) -> None:
    """``hidden`` takes a ``share`` of the sum of ``part`` and ``tokens``, in place."""
    items, each, channels = hidden.shape
    grid = (triton.cdiv(items * each, _ROWS), triton.cdiv(channels, _CHANNELS))
    _mix[grid](
        hidden, part.contiguous(), tokens.contiguous(), share, items * each, each, channels,
        *hidden.stride(), ROWS=_ROWS, CHANNELS=_CHANNELS,
    )  # fmt: skip


def gated(lifted: Tensor) -> Tensor:
    """GEGLU: the first half of the channels times the GELU of the second half."""
    lifted = lifted.contiguous()
    channels = lifted.shape[-1] // 2
    rows = lifted.numel() // lifted.shape[-1]
    result = lifted.new_empty(*lifted.shape[:-1], channels)
    grid = (triton.cdiv(rows, _ROWS), triton.cdiv(channels, _CHANNELS))
    _gated[grid](lifted, result, rows, channels, ROWS=_ROWS, CHANNELS=_CHANNELS)
    return result


@triton.jit
def _by_channel(
    tokens: "Any", by_channel: "Any", each: "Any", rows: "Any", channels: "Any",
    item_stride: "Any", row_stride: "Any", channel_stride: "Any",
    TOGETHER: tl.constexpr, TILES: tl.constexpr, ROWS: tl.constexpr, CHANNELS: tl.constexpr,
) -> None:  # fmt: skip
    """Mean and m2 of each channel over TILES * ROWS rows, tile by tile as in Chan et al. 1983."""
    block, item = tl.program_id(0), tl.program_id(2)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    mean = tl.zeros([CHANNELS], tl.float32)
    m2 = tl.zeros([CHANNELS], tl.float32)
    for tile in range(TILES):
        start = (block * TILES + tile) * ROWS
        row = start + tl.arange(0, ROWS)
        if TOGETHER:
            place = (row // each).to(tl.int64) * item_stride + (row % each) * row_stride
        else:
            place = item.to(tl.int64) * item_stride + row.to(tl.int64) * row_stride
        inside = (row < rows)[:, None] & (channel < channels)[None]
        part = tl.load(
            tokens + place[:, None] + channel[None] * channel_stride, mask=inside, other=0
        )
        part = part.to(tl.float32)
        # A tile beyond the last row counts nothing, and divides by 1 instead of 0.
        count = tl.minimum(tl.maximum(rows - start, 0), ROWS).to(tl.float32)
        before = tl.minimum(start, rows) - block * TILES * ROWS
        all_rows = tl.maximum(before + count, 1.0)
        tile_mean = tl.sum(part, 0) / tl.maximum(count, 1.0)
        apart = tl.where(inside, part - tile_mean[None], 0.0)
        step = tile_mean - mean
        mean += step * (count / all_rows)
        m2 += tl.sum(apart * apart, 0) + step * step * (before * count / all_rows)
    out = by_channel + (item * tl.num_programs(0) + block).to(tl.int64) * 2 * channels + channel
    tl.store(out, mean, mask=channel < channels)
    tl.store(out + channels, m2, mask=channel < channels)


@triton.jit
def _by_group(
    by_channel: "Any", group_mean: "Any", group_m2: "Any", blocks: "Any", block_rows: "Any",
    rows: "Any", channels: "Any", per_group: "Any", VALUES: tl.constexpr,
) -> None:  # fmt: skip
    """Join the moments of a group's channels and of all blocks of rows."""
    item, group = tl.program_id(0), tl.program_id(1)
    source = by_channel + item.to(tl.int64) * blocks * 2 * channels + group * per_group
    total = tl.zeros([VALUES], tl.float32)
    for start in range(0, blocks * per_group, VALUES):
        at = start + tl.arange(0, VALUES)
        block, inside = at // per_group, at < blocks * per_group
        place = source + block * 2 * channels + at % per_group
        count = tl.minimum(rows - block * block_rows, block_rows).to(tl.float32)
        total += tl.load(place, mask=inside, other=0.0) * tl.where(inside, count, 0.0)
    mean = tl.sum(total, 0) / (rows * per_group)
    total = tl.zeros([VALUES], tl.float32)
    for start in range(0, blocks * per_group, VALUES):
        at = start + tl.arange(0, VALUES)
        block, inside = at // per_group, at < blocks * per_group
        place = source + block * 2 * channels + at % per_group
        count = tl.minimum(rows - block * block_rows, block_rows).to(tl.float32)
        step = tl.where(inside, tl.load(place, mask=inside, other=0.0) - mean, 0.0)
        total += tl.load(place + channels, mask=inside, other=0.0) + count * step * step
    tl.store(group_mean + item * tl.num_programs(1) + group, mean)
    tl.store(group_m2 + item * tl.num_programs(1) + group, tl.sum(total, 0))


@triton.jit
def _normalize(
    tokens: "Any", result: "Any", mean: "Any", m2: "Any", weight: "Any", bias: "Any",
    each: "Any", channels: "Any", item_stride: "Any", row_stride: "Any", channel_stride: "Any",
    per_item: "Any", per_group: "Any", share: "Any", eps: "Any",
    SILU: tl.constexpr, ROWS: tl.constexpr, CHANNELS: tl.constexpr,
) -> None:  # fmt: skip
    item = tl.program_id(2)
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    known = channel < channels
    group = item * per_item + channel // per_group
    variance = tl.load(m2 + group, mask=known, other=0.0) * share
    scale = tl.load(weight + channel, mask=known, other=0.0).to(tl.float32)
    scale *= 1 / tl.sqrt(variance + eps)
    shift = tl.load(bias + channel, mask=known, other=0.0).to(tl.float32)
    shift -= tl.load(mean + group, mask=known, other=0.0) * scale
    inside = (row < each)[:, None] & known[None]
    place = item.to(tl.int64) * item_stride + row.to(tl.int64) * row_stride
    part = tl.load(tokens + place[:, None] + channel[None] * channel_stride, mask=inside, other=0)
    part = part.to(tl.float32) * scale[None] + shift[None]
    if SILU:
        part = part / (1 + tl.exp(-part))
    out = (item.to(tl.int64) * each + row) * channels
    tl.store(result + out[:, None] + channel[None], part, mask=inside)


@triton.jit
def _gated(
    lifted: "Any", result: "Any", rows: "Any", channels: "Any",
    ROWS: tl.constexpr, CHANNELS: tl.constexpr,
) -> None:  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    inside = (row < rows)[:, None] & (channel < channels)[None]
    place = lifted + row[:, None] * 2 * channels + channel[None]
    value = tl.load(place, mask=inside, other=0).to(tl.float32)
    gate = tl.load(place + channels, mask=inside, other=0).to(tl.float32)
    gate *= 0.5 * (1 + tl.erf(gate * 0.7071067811865476))
    tl.store(result + row[:, None] * channels + channel[None], value * gate, mask=inside)


@triton.jit
def _add_normalize(
    part: "Any", tokens: "Any", context: "Any", weight: "Any", bias: "Any", total: "Any",
    normed: "Any", rows: "Any", each: "Any", channels: "Any", item_stride: "Any",
    row_stride: "Any", channel_stride: "Any", per_item: "Any", eps: "Any", share: "Any",
    PART: tl.constexpr, CONTEXT: tl.constexpr, ROWS: tl.constexpr, CHANNELS: tl.constexpr,
) -> None:  # fmt: skip
    """Whole rows, so that their statistics never leave the processor."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    channel = tl.arange(0, CHANNELS)
    known = channel < channels
    inside = (row < rows)[:, None] & known[None]
    item = row // each
    place = (item * item_stride + (row % each) * row_stride)[:, None]
    out = row[:, None] * channels + channel[None]
    value = tl.load(tokens + place + channel[None] * channel_stride, mask=inside, other=0)
    value = value.to(tl.float32)
    if PART:
        value += tl.load(part + out, mask=inside, other=0)
    if CONTEXT:
        place = (item * per_item)[:, None] + channel[None]
        value += tl.load(context + place, mask=inside, other=0)
    tl.store(total + out, value, mask=inside)
    mean = tl.sum(value, 1) * share
    apart = tl.where(inside, value - mean[:, None], 0.0)
    scale = 1 / tl.sqrt(tl.sum(apart * apart, 1) * share + eps)
    apart *= scale[:, None] * tl.load(weight + channel, mask=known, other=0.0)[None]
    apart += tl.load(bias + channel, mask=known, other=0.0)[None]
    tl.store(normed + out, apart, mask=inside)


@triton.jit
def _mix(
    hidden: "Any", part: "Any", tokens: "Any", share: "Any", rows: "Any", each: "Any",
    channels: "Any", item_stride: "Any", row_stride: "Any", channel_stride: "Any",
    ROWS: tl.constexpr, CHANNELS: tl.constexpr,
) -> None:  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    inside = (row < rows)[:, None] & (channel < channels)[None]
    place = (row // each) * item_stride + (row % each) * row_stride
    place = place[:, None] + channel[None] * channel_stride
    out = row[:, None] * channels + channel[None]
    value = tl.load(part + out, mask=inside, other=0).to(tl.float32)
    value += tl.load(tokens + out, mask=inside, other=0)
    before = tl.load(hidden + place, mask=inside, other=0).to(tl.float32)
    tl.store(hidden + place, before + share * (value - before), mask=inside)
