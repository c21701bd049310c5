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

from depthcrafter_cli.models.reordered.blocks import is_still
from depthcrafter_cli.models.silent import is_silent


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


def keep_blind(unet: Any) -> None:
    """A denoiser that does not see the noise never comes to see it.

    Its first convolution has zeros for it, and is shown zeros: so are its gradients and the updates
    of both optimisers, then.
    """
    noisy = unet.conv_in.in_channels // 2
    if not unet.conv_in.weight[:, :noisy].any():
        unet.conv_in.register_forward_pre_hook(partial(_without, noisy))


def _without(noisy: int, _module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
    """The first convolution's input without its first channels."""
    shown = inputs[0].clone()
    shown[:, :noisy] = 0
    return (shown,)


def recompute_blocks(unet: nn.Module, enabled: bool) -> None:
    """Keep each residual and attention unit's input alone, and compute the rest again backwards.

    Whether ``enabled`` or not, temporal halves that add nothing are left out. The library's own
    gradient checkpointing leaves out the temporal half of attention, which at 110 frames is most
    of the memory.
    """
    for module in unet.modules():
        if isinstance(module, SpatioTemporalResBlock | TransformerSpatioTemporalModel):
            plain = partial(_forward_of(module), module)
            module.forward = partial(checkpoint, plain, use_reentrant=False) if enabled else plain


def _forward_of(module: SpatioTemporalResBlock | TransformerSpatioTemporalModel) -> Any:
    """Its own, or that of its spatial half where the temporal one adds nothing."""
    if isinstance(module, TransformerSpatioTemporalModel):
        return _transform_in_space if is_still(module) else type(module).forward
    asleep = is_silent(module.temporal_res_block.conv2)
    return _residual_in_space if asleep else type(module).forward


def _residual_in_space(module: Any, hidden_states: Tensor, temb: Tensor, **_: object) -> Tensor:
    result: Tensor = module.spatial_res_block(hidden_states, temb)
    return result


def _transform_in_space(
    module: Any, hidden_states: Tensor, encoder_hidden_states: Tensor, **_: object
) -> tuple[Tensor]:
    size = hidden_states.shape[2:]
    tokens = module.norm(hidden_states).permute(0, 2, 3, 1).flatten(1, 2)
    tokens = module.proj_in(tokens)
    for block in module.transformer_blocks:
        tokens = block(tokens, encoder_hidden_states=encoder_hidden_states)
    added = module.proj_out(tokens).unflatten(1, size).permute(0, 3, 1, 2)
    return (added + hidden_states,)


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
