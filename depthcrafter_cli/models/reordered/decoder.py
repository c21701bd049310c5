"""The temporal VAE decoder's forward pass, over chunks."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from depthcrafter_cli.models.offload import Offload
from depthcrafter_cli.models.reordered.hidden import HiddenLayer
from depthcrafter_cli.models.reordered.layers import convolve_time, to_images, to_tokens
from depthcrafter_cli.models.residency import Residency
from depthcrafter_cli.models.silent import is_silent
from depthcrafter_cli.types import MemoryPlan


def decode_latents(
    decoder: Any, latents: Tensor, plan: MemoryPlan, offload: Offload | None = None
) -> Tensor:
    """Pictures [n, 3, H, W] of scaled latents [n, c, h, w], decoded together in the decoder's type.

    ``offload`` takes layers that wait on the host. Where latents are the pixels nothing runs, and
    the result is ``latents`` in the type they have.
    """
    if is_silent(decoder):
        return latents
    latents = latents.to(decoder.conv_in.weight.dtype)
    layer = HiddenLayer(
        lambda span: to_tokens(decoder.conv_in(latents[span])),
        len(latents),
        (latents.shape[2], latents.shape[3]),
        plan.chunk_values,
        Residency(latents.device, offloaded=False),
        offload or Offload(latents.device),
        recompute=plan.recompute_decode,
    )
    middle = decoder.mid_block
    layer.residual(middle.resnets[0])
    for attention, block in zip(middle.attentions, middle.resnets[1:], strict=False):
        layer.attend(attention)
        layer.residual(block)
    for stage in decoder.up_blocks:
        for block in stage.resnets:
            layer.residual(block)
        for sampler in stage.upsamplers or ():
            layer.enlarge(sampler, (2 * layer.size[0], 2 * layer.size[1]))
    colours = layer.leave(decoder.conv_norm_out, decoder.conv_out)
    return to_images(convolve_time(colours, decoder.time_conv_out), layer.size)
