"""The two building blocks of SVD's networks: residual blocks and transformers in space and time."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from depthcrafter_cli.models.reordered.layers import (
    ImageSize,
    Moments,
    add_normalize,
    attend,
    chunks,
    convolve_normalized,
    convolve_time,
    feed_forward,
    linear,
    mix,
    normalize,
)
from depthcrafter_cli.models.silent import is_silent

Source = Callable[[slice], Tensor]
"""Gives some frames of a block's input, [n, h * w, C]; it may compute or fetch them just then."""

Context = list[tuple[Tensor, Tensor]]
"""What cross-attention adds, per layer: [T, 1, c] in space and [1, 1, c] in time."""


def residual_in_space(
    block: Any,
    source: Source,
    result: Tensor,
    size: ImageSize,
    level: Tensor | None,
    chunk_values: int,
    groups: int | None,
) -> Moments | None:
    """A ResnetBlock2D on every frame, into ``result`` [T, h * w, C']; its moments for ``groups``.

    None if moments are not needed. ``result`` may be what ``source`` reads. ``level`` [1, d] is the
    noise level's embedding, the same for all frames; ``chunk_values``: see MemoryPlan.
    """
    widest = max(block.conv1.in_channels, block.conv1.out_channels)
    offset, pieces = _told(block, level), list[Moments]()
    for span in chunks(len(result), size[0] * size[1] * widest, chunk_values):
        _in_space(block, source(span), size, offset, chunk_values, result[span])
        if groups is not None:
            pieces.append(Moments.gathered(result[span], groups, chunk_values, together=True))
    return Moments.joined(pieces) if pieces else None


def residual_in_time(
    block: Any,
    hidden: Tensor,
    moments: Moments,
    level: Tensor | None,
    chunk_values: int,
    recompute: bool,
) -> None:
    """The temporal half of a SpatioTemporalResBlock, in place on ``hidden`` of given moments.

    It is a call of its own, so that the spatial half's input can be dropped before. Mixing s with
    s + r is s plus a share of r, so the spatial result need not be kept. ``recompute`` computes the
    first convolution again instead of keeping its result, as large as ``hidden``.
    """
    temporal, share = block.temporal_res_block, block.time_mixer.share_of_time
    frames, area, channels = hidden.shape
    spans, offset = chunks(area, frames * channels, chunk_values), _told(temporal, level)

    def between(span: slice) -> Tensor:
        part = normalize(hidden[:, span], temporal.norm1, moments, silu=True)
        return convolve_time(part, temporal.conv1, offset)

    kept, pieces = list[Tensor](), list[Moments]()
    for span in spans:
        part = between(span)
        pieces.append(Moments.of(part, temporal.norm2.num_groups, together=True))
        if not recompute:
            kept.append(part)
        del part  # or it would lie beside the next one
    gathered = Moments.joined(pieces)
    for span in spans:
        part = kept.pop(0) if kept else between(span)
        part = normalize(part, temporal.norm2, gathered, silu=True)
        hidden[:, span].add_(convolve_time(part, temporal.conv2), alpha=share)


def _told(block: Any, level: Tensor | None) -> Tensor | None:
    """[1, C'], what a residual block adds for the noise level; the VAE's blocks know none."""
    return None if level is None else block.time_emb_proj(F.silu(level))


def _in_space(
    block: Any,
    tokens: Tensor,
    size: ImageSize,
    offset: Tensor | None,
    chunk_values: int,
    result: Tensor,
) -> None:
    """Some frames' result, which may lie where their ``tokens`` do."""
    if is_silent(block.conv2):
        result.copy_(_shortcut(block, tokens))
        return
    hidden = convolve_normalized(tokens, block.norm1, block.conv1, size, chunk_values, offset)
    hidden = convolve_normalized(hidden, block.norm2, block.conv2, size, chunk_values)
    for span in chunks(
        tokens.shape[1], len(tokens) * max(tokens.shape[2], hidden.shape[2]), chunk_values
    ):
        torch.add(hidden[:, span], _shortcut(block, tokens[:, span]), out=result[:, span])


def _shortcut(block: Any, tokens: Tensor) -> Tensor:
    """What a ResnetBlock2D adds its result to."""
    shortcut = block.conv_shortcut
    if shortcut is None:
        return tokens
    return linear(tokens, shortcut.weight.flatten(1), shortcut.bias)


def transformer(model: Any, hidden: Tensor, context: Context, chunk_values: int) -> None:
    """A TransformerSpatioTemporalModel on ``hidden`` [T, h * w, C], in place."""
    frames, area, _ = hidden.shape
    share = model.time_mixer.share_of_time
    still = is_still(model)
    positions = _frame_embedding(model, hidden)
    inner = hidden.new_empty(frames, area, model.proj_in.out_features)
    frame_spans = chunks(frames, area * inner.shape[2], chunk_values)
    pixel_spans = chunks(area, frames * inner.shape[2], chunk_values)
    for span in frame_spans:
        part = hidden[span]
        part = normalize(part, model.norm, Moments.of(part, model.norm.num_groups))
        weight, bias = model.proj_in.weight, model.proj_in.bias
        torch.addmm(bias, part.flatten(0, 1), weight.t(), out=inner[span].flatten(0, 1))
    layers = zip(model.transformer_blocks, model.temporal_transformer_blocks, context, strict=True)
    for spatial, temporal, (in_space, in_time) in layers:
        for span in frame_spans:
            part = inner[span]
            _attend_in_space(spatial, part, in_space[span], chunk_values, part)
        for span in [] if still else pixel_spans:
            _attend_in_time(temporal, inner[:, span], positions, in_time, share, chunk_values)
    for span in pixel_spans:
        hidden[:, span] += linear(inner[:, span], model.proj_out.weight, model.proj_out.bias)


def is_still(model: Any) -> bool:
    """Whether the temporal half of a transformer gives back what it is given."""
    blocks = model.temporal_transformer_blocks
    ends = (
        (block.ff_in.net[2], block.attn1.to_out[0], block.attn2.to_out[0], block.ff.net[2])
        for block in blocks
    )
    embedding = model.time_pos_embed.linear_2
    return is_silent(embedding, *chain(*ends)) and all(block.is_res for block in blocks)


def _attend_in_space(
    block: Any, tokens: Tensor, context: Tensor, chunk_values: int, result: Tensor
) -> None:
    """Some frames' ``tokens``, into ``result``, which may lie where they do."""
    tokens, normed = _attended(block, tokens, block.norm1(tokens), context, chunk_values)
    if is_silent(block.ff.net[2]):
        result.copy_(tokens)
    else:
        torch.add(feed_forward(normed, block.ff), tokens, out=result)


def _attend_in_time(
    block: Any, hidden: Tensor, positions: Tensor, context: Tensor, share: float, chunk_values: int
) -> None:
    """All frames of some pixels, ``hidden`` [T, p, c], take a ``share`` of the result, in place.

    ``positions`` [T, 1, c] are of the frames.
    """
    tokens, normed = add_normalize(None, hidden, positions, block.norm_in)
    lifted = _lifted(normed, block.ff_in, block.is_res)
    if block.is_res:
        tokens, normed = add_normalize(lifted, tokens, None, block.norm1)
    else:
        tokens, normed = lifted, block.norm1(lifted)
    del lifted  # or it would lie beside what follows
    tokens, normed = _attended(block, tokens, normed, context, chunk_values, in_time=True)
    lifted = _lifted(normed, block.ff, block.is_res)
    if block.is_res:
        mix(hidden, tokens, lifted, share)
    else:
        mix(hidden, lifted, None, share)


def _attended(
    block: Any, tokens: Tensor, normed: Tensor, context: Tensor, chunk_values: int,
    *, in_time: bool = False,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Tokens after attention, and after the norm that follows; ``normed`` are those before it."""
    silent = is_silent(block.attn1.to_out[0])
    mixed = None if silent else attend(normed, block.attn1, chunk_values, in_time=in_time)
    return add_normalize(mixed, tokens, context, block.norm3)


def _lifted(normed: Tensor, layer: Any, is_added: bool) -> Tensor | None:
    """What a feed-forward layer gives; None if that is nothing, and only added to something."""
    return None if is_added and is_silent(layer.net[2]) else feed_forward(normed, layer)


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


def note_shares(network: nn.Module) -> None:
    """Keep, with each AlphaBlender of a network, its ``share_of_time`` as a number.

    Once, when its weights are loaded: asked of a GPU in every block, it would be waited for.
    """
    for module in network.modules():
        if hasattr(module, "mix_factor"):
            module.share_of_time = _share_of_time(module)


def _share_of_time(mixer: Any) -> float:
    """How much of the temporal branch an AlphaBlender takes."""
    learned = mixer.merge_strategy != "fixed"
    share = float(mixer.mix_factor.sigmoid() if learned else mixer.mix_factor)
    return share if mixer.switch_spatial_to_temporal_mix else 1 - share
