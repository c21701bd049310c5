"""The reordered networks give what diffusers' own forward gives."""

from functools import cache
from itertools import product

import pytest
import torch
from diffusers import AutoencoderKLTemporalDecoder

from depthcrafter_cli.models.reordered.blocks import note_shares
from depthcrafter_cli.models.reordered.decoder import decode_latents
from depthcrafter_cli.models.reordered.encoder import encode_images
from depthcrafter_cli.models.reordered.unet import WindowForward
from depthcrafter_cli.models.residency import Residency
from depthcrafter_cli.models.unet import DepthUNet
from depthcrafter_cli.types import MemoryPlan

CPU = torch.device("cpu")
PLANS = [
    MemoryPlan(values, offload_blocks=stream, offload_skips=park)
    for values, stream, park in product((2000, 15_000, 10**8), (False, True), (False, True))
]


@cache
def random_unet(levels: int, dtype: torch.dtype) -> DepthUNet:
    """Random weights everywhere, mixing factors and affine parameters included.

    Four levels attend as the published model does, three as examples/nano.toml: at the deep ones.
    """
    torch.manual_seed(levels)
    attends = {4: (1, 1, 1, 0), 3: (0, 1, 1), 2: (1, 0)}[levels]
    kinds = ["CrossAttn" if attend else "" for attend in attends]
    unet = DepthUNet(
        block_out_channels=(32, 64, 64, 96)[:levels],
        down_block_types=tuple(f"{kind}DownBlockSpatioTemporal" for kind in kinds),
        up_block_types=tuple(f"{kind}UpBlockSpatioTemporal" for kind in reversed(kinds)),
        num_attention_heads=(2, 4, 4, 6)[:levels],
        cross_attention_dim=24,
        layers_per_block=2,
        addition_time_embed_dim=16,
        projection_class_embeddings_input_dim=48,
        num_frames=5,
    )
    for name, parameter in unet.named_parameters():
        if parameter.dim() == 1:
            torch.nn.init.normal_(parameter, mean=float("norm" in name), std=0.5)
    note_shares(unet.to(dtype).eval().requires_grad_(False))
    return unet


@cache
def plain_unet(levels: int, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    sample, timestep, embeds, ids = inputs(*shape, dtype)
    with torch.inference_mode():
        return random_unet(levels, dtype)(sample[None], timestep, embeds, ids)[0]


def inputs(frames: int, height: int, width: int, dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    sample = torch.randn(frames, 8, height, width, generator=generator).to(dtype)
    embeds = torch.randn(frames, 1, 24, generator=generator).to(dtype)
    ids = torch.tensor([[7.0, 127.0, 0.02]], dtype=dtype)
    return sample, torch.tensor([1.3], dtype=dtype), embeds, ids


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize(
    ("levels", "shape"),
    [(4, (5, 8, 24)), (4, (3, 9, 14)), (3, (3, 9, 14)), (2, (1, 8, 8))],
)
@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_unet_equals_the_plain_forward(levels, shape, plan, dtype, limit):
    unet = random_unet(levels, dtype)
    sample, timestep, embeds, ids = inputs(*shape, dtype)
    with torch.inference_mode():
        plain = plain_unet(levels, shape, dtype)
        before = [parameter.data_ptr() for parameter in unet.parameters()]
        blocks = Residency(CPU, plan.offload_blocks)
        window = WindowForward(unet, embeds, plan, blocks)
        ours = window(sample, timestep, ids)
        # From the second step on, offloaded blocks are sent for ahead.
        assert torch.equal(window(sample, timestep, ids), ours)
    assert [parameter.data_ptr() for parameter in unet.parameters()] == before
    assert ours.shape == plain.shape
    assert (ours - plain).abs().max() <= limit * plain.abs().max()


@cache
def random_vae(layers: int, dtype: torch.dtype) -> AutoencoderKLTemporalDecoder:
    torch.manual_seed(layers)
    vae = AutoencoderKLTemporalDecoder(
        block_out_channels=(32, 32, 64),
        down_block_types=("DownEncoderBlock2D",) * 3,
        layers_per_block=layers,
        latent_channels=4,
    )
    for name, parameter in vae.named_parameters():
        if parameter.dim() == 1:
            torch.nn.init.normal_(parameter, mean=float("norm" in name), std=0.5)
    note_shares(vae.to(dtype).eval().requires_grad_(False))
    return vae


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize(("layers", "shape"), [(2, (3, 4, 4, 6)), (1, (1, 4, 5, 4))])
@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("values", [1, 6000, 10**8])
def test_decoder_equals_the_plain_forward(layers, shape, values, recompute, dtype, limit):
    decoder = random_vae(layers, dtype).decoder
    latents = torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    indicator = torch.zeros(1, len(latents), dtype=dtype)
    with torch.inference_mode():
        plain = decoder(latents, indicator, num_frames=len(latents))
        ours = decode_latents(decoder, latents, MemoryPlan(values, recompute_decode=recompute))
    assert ours.shape == plain.shape
    assert (ours - plain).abs().max() <= limit * plain.abs().max()


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize(("layers", "shape"), [(2, (3, 3, 24, 20)), (1, (1, 3, 20, 16))])
@pytest.mark.parametrize("values", [1, 6000, 10**8])
def test_encoder_equals_the_plain_forward(layers, shape, values, dtype, limit):
    vae = random_vae(layers, dtype)
    images = torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    with torch.inference_mode():
        plain = vae.encode(images).latent_dist.mode()
        ours = encode_images(vae, images, MemoryPlan(values, encode_by_rows=True))
    assert ours.shape == plain.shape
    assert (ours - plain).abs().max() <= limit * plain.abs().max()
