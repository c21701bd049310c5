"""The temporal VAE decoder's forward pass, over chunks."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from depthcrafter_cli.models.reordered.hidden import HiddenLayer
from depthcrafter_cli.models.reordered.layers import (
    attend,
    chunks,
    convolve,
    convolve_time,
    group_norm,
    silu,
    to_images,
    to_tokens,
)
from depthcrafter_cli.models.residency import Residency


def decode_latents(decoder: Any, latents: Tensor, values: int) -> Tensor:
    """Pictures [n, 3, H, W] of scaled latents [n, 4, h, w], decoded together.

    ``decoder`` is diffusers' TemporalDecoder; for ``values`` see MemoryPlan.
    """
    layer = HiddenLayer(
        lambda span: to_tokens(decoder.conv_in(latents[span])),
        len(latents),
        (latents.shape[2], latents.shape[3]),
        values,
        Residency(latents.device, hosted=False),
    )
    middle = decoder.mid_block
    layer.residual(middle.resnets[0])
    for attention, block in zip(middle.attentions, middle.resnets[1:], strict=False):
        _attend(attention, layer)
        layer.residual(block)
    for stage in decoder.up_blocks:
        for block in stage.resnets:
            layer.residual(block)
        for sampler in stage.upsamplers or ():
            layer.enlarge(sampler, (2 * layer.size[0], 2 * layer.size[1]))
    return _leave(decoder, layer)


def _attend(attention: Any, layer: HiddenLayer) -> None:
    """Attention within each frame."""
    tokens = layer.tokens
    for span in chunks(len(tokens), tokens[0].numel(), layer.values):
        tokens[span] += attend(group_norm(tokens[span], attention.group_norm), attention)


def _leave(decoder: Any, layer: HiddenLayer) -> Tensor:
    """The last convolutions, in space and in time."""
    tokens = layer.tokens
    colours = tokens.new_empty(*tokens.shape[:2], decoder.conv_out.out_channels)
    for span in chunks(len(tokens), tokens[0].numel(), layer.values):
        part = silu(group_norm(tokens[span], decoder.conv_norm_out))
        colours[span] = convolve(part, decoder.conv_out, layer.size)
    return to_images(convolve_time(colours, decoder.time_conv_out), layer.size)
