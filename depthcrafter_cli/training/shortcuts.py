"""The same arithmetic in forms CPUs are fast at. Parameters and their names stay as they are."""

from __future__ import annotations

import types
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn


def flatten_temporal_convolutions(network: nn.Module) -> None:
    """Run every 3x1x1 convolution as a two-dimensional one over (time, pixels).

    The result is the same; oneDNN has no fast path for the three-dimensional form.
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
