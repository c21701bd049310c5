"""The VAE encoder's forward pass, over chunks."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from depthcrafter_cli.models.devices import attends_in_pieces
from depthcrafter_cli.models.offload import Offload
from depthcrafter_cli.models.reordered.hidden import HiddenLayer
from depthcrafter_cli.models.reordered.layers import to_images, to_tokens
from depthcrafter_cli.models.residency import Residency
from depthcrafter_cli.models.silent import is_silent
from depthcrafter_cli.types import MemoryPlan


def encode_images(vae: Any, images: Tensor, plan: MemoryPlan) -> Tensor:
    """Modes of the posterior [n, c, h, w] of ``images`` [n, 3, H, W] in [-1, 1].

    The encoder of ``vae`` sees each frame on its own. Its own forward runs where memory allows: in
    float32 on a CPU, PyTorch's GroupNorm of large pictures is off by 1e-4, ours is not, and
    published results contain that error. Where attention forms all products, memory does not allow
    it; branches that add nothing it would compute. Where latents are the pixels nothing runs, and
    the result is ``images``.
    """
    if is_silent(vae.encoder):
        return images
    whole = not any(map(is_silent, vae.encoder.modules()))
    if whole and not (plan.encode_by_rows or attends_in_pieces(images.device)):
        return _mode(vae, vae.encoder(images))
    encoder = vae.encoder
    layer = HiddenLayer(
        lambda span: to_tokens(encoder.conv_in(images[span])),
        len(images),
        (images.shape[2], images.shape[3]),
        plan.chunk_values,
        Residency(images.device, offloaded=False),
        Offload(images.device),
    )
    layer.compute(encoder.conv_in.out_channels)
    for stage in encoder.down_blocks:
        for block in stage.resnets:
            layer.residual_per_frame(block)
        for sampler in stage.downsamplers or ():
            layer.halve(sampler)
    middle = encoder.mid_block
    layer.residual_per_frame(middle.resnets[0])
    for attention, block in zip(middle.attentions, middle.resnets[1:], strict=False):
        layer.attend(attention)
        layer.residual_per_frame(block)
    moments = layer.leave(encoder.conv_norm_out, encoder.conv_out)
    return _mode(vae, to_images(moments, layer.size))


def _mode(vae: Any, encoded: Tensor) -> Tensor:
    mean, _log_variance = vae.quant_conv(encoded).chunk(2, dim=1)
    return mean
