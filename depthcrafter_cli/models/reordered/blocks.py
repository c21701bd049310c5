"""The two building blocks of SVD's networks: residual blocks and transformers in space and time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from depthcrafter_cli.models.reordered.layers import (
    ImageSize,
    Moments,
    attend,
    chunks,
    convolve,
    convolve_time,
    feed_forward,
    group_norm,
    normalize,
    silu,
)

Source = Callable[[slice], Tensor]
"""Gives some frames of a block's input, [n, h * w, C]; it may compute or fetch them just then."""

Context = list[tuple[Tensor, Tensor]]
"""What cross-attention adds, per layer: [T, 1, c] in space and [1, 1, c] in time."""


def residual_in_space(
    block: Any, source: Source, frames: int, size: ImageSize, level: Tensor | None, values: int
) -> tuple[Tensor, Moments]:
    """The spatial half of a SpatioTemporalResBlock: [T, h * w, C], and its moments.

    The temporal half is a call of its own, so that the input can be dropped before. ``level``
    [1, d] is the noise level's embedding, the same for all frames; ``values``: see MemoryPlan.
    """
    spatial, groups = block.spatial_res_block, block.temporal_res_block.norm1.num_groups
    widest = max(spatial.conv1.in_channels, spatial.conv1.out_channels)
    result: Tensor | None = None
    moments: Moments | None = None
    for span in chunks(frames, size[0] * size[1] * widest, values):
        part = _in_space(spatial, source(span), size, level)
        if result is None:
            result = part.new_empty(frames, *part.shape[1:])
        result[span] = part
        piece = Moments.of(part, groups, together=True)
        moments = piece if moments is None else moments.merged(piece)
    assert result is not None and moments is not None
    return result, moments


def residual_in_time(
    block: Any, hidden: Tensor, moments: Moments, level: Tensor | None, values: int
) -> None:
    """The temporal half, in place on ``hidden`` [T, h * w, C] of the given moments.

    Mixing s with s + r is s plus a share of r, so the spatial result need not be kept.
    """
    temporal, share = block.temporal_res_block, _share_of_time(block.time_mixer)
    frames, area, channels = hidden.shape
    spans = chunks(area, frames * channels, values)
    between = torch.empty_like(hidden)
    gathered: Moments | None = None
    for span in spans:
        part = normalize(hidden[:, span], temporal.norm1, moments)
        part = convolve_time(silu(part), temporal.conv1)
        if level is not None:
            part = part + temporal.time_emb_proj(F.silu(level))
        between[:, span] = part
        piece = Moments.of(part, temporal.norm2.num_groups, together=True)
        gathered = piece if gathered is None else gathered.merged(piece)
    assert gathered is not None
    for span in spans:
        part = normalize(between[:, span], temporal.norm2, gathered)
        hidden[:, span].add_(convolve_time(silu(part), temporal.conv2), alpha=share)


def _in_space(block: Any, tokens: Tensor, size: ImageSize, level: Tensor | None) -> Tensor:
    hidden = convolve(silu(group_norm(tokens, block.norm1)), block.conv1, size)
    if level is not None:
        hidden = hidden + block.time_emb_proj(F.silu(level))
    hidden = convolve(silu(group_norm(hidden, block.norm2)), block.conv2, size)
    if block.conv_shortcut is not None:
        shortcut = block.conv_shortcut
        tokens = F.linear(tokens, shortcut.weight.flatten(1), shortcut.bias)
    return hidden.add_(tokens)


def transformer(model: Any, hidden: Tensor, context: Context, values: int) -> None:
    """A TransformerSpatioTemporalModel on ``hidden`` [T, h * w, C], in place."""
    frames, area, _ = hidden.shape
    share = _share_of_time(model.time_mixer)
    positions = _frame_embedding(model, hidden)
    inner = hidden.new_empty(frames, area, model.proj_in.out_features)
    frame_spans = chunks(frames, area * inner.shape[2], values)
    pixel_spans = chunks(area, frames * inner.shape[2], values)
    for span in frame_spans:
        inner[span] = model.proj_in(group_norm(hidden[span], model.norm))
    layers = zip(model.transformer_blocks, model.temporal_transformer_blocks, context, strict=True)
    for spatial, temporal, (in_space, in_time) in layers:
        for span in frame_spans:
            inner[span] = _attend_in_space(spatial, inner[span], in_space[span])
        for span in pixel_spans:
            part = inner[:, span]
            seen = (part + positions).transpose(0, 1)
            seen = _attend_in_time(temporal, seen, in_time).transpose(0, 1)
            part.lerp_(seen, share)
    for span in pixel_spans:
        hidden[:, span] += model.proj_out(inner[:, span])


def _attend_in_space(block: Any, tokens: Tensor, context: Tensor) -> Tensor:
    tokens = attend(block.norm1(tokens), block.attn1).add_(tokens).add_(context)
    return feed_forward(block.norm3(tokens), block.ff).add_(tokens)


def _attend_in_time(block: Any, tokens: Tensor, context: Tensor) -> Tensor:
    """Tokens [p, T, c]: all frames of some pixels."""
    lifted = feed_forward(block.norm_in(tokens), block.ff_in)
    tokens = lifted.add_(tokens) if block.is_res else lifted
    tokens = attend(block.norm1(tokens), block.attn1).add_(tokens).add_(context)
    lifted = feed_forward(block.norm3(tokens), block.ff)
    return lifted.add_(tokens) if block.is_res else lifted


def cross_attention(model: Any, embeds: Tensor) -> Context:
    """What a transformer's cross-attention adds, per layer; ``embeds`` [T, 1, e].

    One key makes every softmax 1, so attention is a linear map of that key, the same for all
    queries and at all noise levels. In time the key is the first frame's.
    """
    return [
        (_of_one_key(spatial.attn2, embeds), _of_one_key(temporal.attn2, embeds[:1]))
        for spatial, temporal in zip(
            model.transformer_blocks, model.temporal_transformer_blocks, strict=True
        )
    ]


def _of_one_key(attention: Any, key: Tensor) -> Tensor:
    return attention.to_out[0](attention.to_v(key))


def _frame_embedding(model: Any, hidden: Tensor) -> Tensor:
    """[T, 1, c], the embedding of frame numbers."""
    numbers = torch.arange(len(hidden), device=hidden.device)
    return model.time_pos_embed(model.time_proj(numbers).to(hidden.dtype))[:, None]


def _share_of_time(mixer: Any) -> float:
    """How much of the temporal branch an AlphaBlender takes."""
    learned = mixer.merge_strategy != "fixed"
    share = float(mixer.mix_factor.sigmoid() if learned else mixer.mix_factor)
    return share if mixer.switch_spatial_to_temporal_mix else 1 - share
