"""The same arithmetic in other forms: faster on CPUs, or in less memory.

Parameters and their names stay as they are.
"""

from __future__ import annotations

import types
from functools import partial
from typing import Any

import torch.nn.functional as F
from diffusers.models.resnet import SpatioTemporalResBlock
from diffusers.models.transformers.transformer_temporal import TransformerSpatioTemporalModel
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def flatten_temporal_convolutions(network: nn.Module) -> None:
    """Run every 3x1x1 convolution as a two-dimensional one over (time, pixels).

    The result is the same. On CPUs the three-dimensional form is slow, and in bfloat16 the gradient
    of its weights may be garbage (seen in torch 2.13: not a number now and then).
    """
    for module in network.modules():
        if isinstance(module, nn.Conv3d) and module.kernel_size[1:] == (1, 1):
            module.forward = types.MethodType(_convolve, module)


def collapse_cross_attention(unet: nn.Module) -> None:
    """Skip the softmax over the single CLIP token: it is always 1.

    Only for training: the network then takes no other number of tokens.
    """
    for name, module in unet.named_modules():
        if name.endswith(".attn2"):
            module.forward = types.MethodType(_attend, module)


def recompute_blocks(unet: nn.Module, enabled: bool) -> None:
    """Keep each residual and attention unit's input alone, and compute the rest again backwards.

    The library's own gradient checkpointing leaves out the temporal half of attention, which at
    110 frames is most of the memory.
    """
    for module in unet.modules():
        if isinstance(module, SpatioTemporalResBlock | TransformerSpatioTemporalModel):
            plain = partial(type(module).forward, module)
            module.forward = partial(checkpoint, plain, use_reentrant=False) if enabled else plain


def _convolve(module: nn.Conv3d, video: Tensor) -> Tensor:
    flat = video.flatten(3)  # [B, C, T, H * W]
    padding = (int(module.padding[0]), 0)
    mixed = F.conv2d(flat, module.weight.flatten(3), module.bias, padding=padding)
    return mixed.unflatten(3, video.shape[3:])


def _attend(
    module: Any, hidden_states: Tensor, encoder_hidden_states: Tensor, **_: object
) -> Tensor:
    """[n, 1, c], which the residual connection spreads over all tokens of ``hidden_states``."""
    output, _dropout = module.to_out
    return output(module.to_v(encoder_hidden_states))
