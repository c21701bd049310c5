"""What makes our stages faster than diffusers' modules, each on its own, on the first level."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from side_by_side import Work, compare
from torch import Tensor, nn

from depthcrafter_cli.models.components import Components
from depthcrafter_cli.models.reordered.layers import (
    Moments,
    convolve_normalized,
    convolve_time,
    feed_forward,
    normalize,
    to_images,
)

Shape = tuple[int, int, int]  # frames, height, width of latents


def levers(model: Components, shape: Shape, rounds: int, *, compiled: bool) -> None:
    """All of them; ``compiled`` adds the pointwise operations fused by torch.compile."""
    group_norm(model, shape, rounds, compiled=compiled)
    channels_last(model, shape, rounds)
    temporal_convolution(model, shape, rounds)
    pointwise(model, shape, rounds, compiled=compiled)
    cross_attention(model, shape, rounds)
    encode_precision(model, shape, rounds)


def group_norm(model: Components, shape: Shape, rounds: int, *, compiled: bool) -> None:
    """GroupNorm of a whole window and SiLU: 32 groups are 32 blocks of a GPU, ours are many."""
    norm, channels = _block(model).temporal_res_block.norm1, _channels(model)
    tokens = _random(model, shape[0], shape[1] * shape[2], channels)
    video = tokens.permute(2, 0, 1).contiguous()[None].unflatten(3, shape[1:])
    plain: Work = lambda: _as_tokens(F.silu(norm(video)))  # noqa: E731

    def ours() -> Tensor:
        moments = Moments.of(tokens, norm.num_groups, together=True)
        return normalize(tokens, norm, moments, silu=True)

    compare("GroupNorm+SiLU, split", plain, ours, rounds)
    if compiled:
        compare("  the same, fused", plain, torch.compile(ours), rounds, counted=False)


def channels_last(model: Components, shape: Shape, rounds: int) -> None:
    """A 3x3 convolution in both layouts, then with the norm before it, in ours end to end."""
    block, size = _block(model).spatial_res_block, shape[1:]
    frames = min(shape[0], 16)
    tokens = _random(model, frames, size[0] * size[1], _channels(model))
    last = to_images(tokens, size)
    first, values = last.contiguous(), model.plan.chunk_values
    compare("3x3, channels last", lambda: block.conv1(first), lambda: block.conv1(last), rounds)
    compare(
        "norm, SiLU, 3x3, channels last",
        lambda: block.conv1(F.silu(block.norm1(first))).permute(0, 2, 3, 1).flatten(1, 2),
        lambda: convolve_normalized(tokens, block.norm1, block.conv1, size, values),
        rounds,
    )


def temporal_convolution(model: Components, shape: Shape, rounds: int) -> None:
    """The 3x1x1 convolution as Conv3d, and as a 2-D one over (time, pixels)."""
    conv, channels = _block(model).temporal_res_block.conv1, _channels(model)
    tokens = _random(model, shape[0], shape[1] * shape[2] // 4, channels)
    video = tokens.permute(2, 0, 1).contiguous()[None].unflatten(3, (shape[1] // 2, -1))
    compare(
        "3x1x1 as a 2-D convolution",
        lambda: _as_tokens(conv(video)),
        lambda: convolve_time(tokens, conv),
        rounds,
    )


def pointwise(model: Components, shape: Shape, rounds: int, *, compiled: bool) -> None:
    """The GEGLU feed-forward: 12 values per channel instead of 16, or fused as well."""
    layer = model.unet.down_blocks[0].attentions[0].transformer_blocks[0].ff
    tokens = _random(model, min(shape[0], 4), shape[1] * shape[2], _channels(model))
    plain: Work = lambda: layer(tokens)  # noqa: E731
    compare("GEGLU, in place", plain, lambda: feed_forward(tokens, layer), rounds)
    if compiled:
        fused = torch.compile(feed_forward)
        compare("  the same, fused", plain, lambda: fused(tokens, layer), rounds, counted=False)


def cross_attention(model: Components, shape: Shape, rounds: int) -> None:
    """Its single key as attention, and as the linear map it is."""
    attention = model.unet.down_blocks[0].attentions[0].transformer_blocks[0].attn2
    tokens = _random(model, min(shape[0], 16), shape[1] * shape[2], _channels(model))
    embeds = _random(model, len(tokens), 1, attention.to_v.in_features)
    compare(
        "cross-attention of one key",
        lambda: attention(tokens, encoder_hidden_states=embeds),
        lambda: attention.to_out[0](attention.to_v(embeds)).expand_as(tokens),
        rounds,
    )


def encode_precision(model: Components, shape: Shape, rounds: int) -> None:
    """The VAE's encoder in TF32 and in 16 bits: faster, but not exact; the error is printed."""
    vae, device = model.vae, model.device
    images = torch.rand(8, 3, 8 * shape[1], 8 * shape[2], device=device) * 2 - 1

    def encode(dtype: torch.dtype) -> Work:
        encoder = copy.deepcopy(vae.encoder).to(dtype)
        last = copy.deepcopy(vae.quant_conv).to(dtype)
        return lambda: last(encoder(images.to(dtype))).chunk(2, dim=1)[0].float()

    full = encode(torch.float32)

    def exact() -> Tensor:
        with _tf32(False):
            return full()

    def rounded() -> Tensor:
        with _tf32(True):
            return full()

    if device.type == "cuda":
        compare("encode in TF32 (not exact)", exact, rounded, rounds)
        compare("encode in fp16 (not exact)", exact, encode(torch.float16), rounds)
    compare("encode in bf16 (not exact)", exact, encode(torch.bfloat16), rounds)


@contextmanager
def _tf32(allowed: bool) -> Iterator[None]:
    settings = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [setting.allow_tf32 for setting in settings]
    for setting in settings:
        setting.allow_tf32 = allowed
    try:
        yield
    finally:
        for setting, value in zip(settings, before, strict=True):
            setting.allow_tf32 = value


def _block(model: Components) -> nn.Module:
    """A residual block of the first level, as wide behind as before."""
    return model.unet.down_blocks[0].resnets[0]


def _channels(model: Components) -> int:
    return int(model.unet.config.block_out_channels[0])


def _random(model: Components, *shape: int) -> Tensor:
    return torch.randn(*shape, device=model.device, dtype=model.dtype)


def _as_tokens(result: Tensor) -> Tensor:
    """[1, C, T, h, w] as [T, h * w, C]."""
    return result[0].permute(1, 2, 3, 0).flatten(1, 2)
