"""Networks built from a recipe survive their folder, and the autoencoder's loss reaches them."""

import numpy as np
import pytest
import torch
from depthcrafter_cli.training.clips import ClipCache, clip_path, fill_cache, shape_of
from depthcrafter_cli.training.latents import LatentCache, encode_clips
from depthcrafter_cli.training.stages.unet import UnetStage

from depthcrafter_cli.models.loading import load_components
from depthcrafter_cli.training.config import (
    ImageEncoderConfig,
    Optimisation,
    UnetConfig,
    VaeConfig,
)
from depthcrafter_cli.training.networks import (
    build_image_encoder,
    build_unet,
    build_vae,
    export,
)
from depthcrafter_cli.training.shortcuts import (
    collapse_cross_attention,
    flatten_temporal_convolutions,
)
from depthcrafter_cli.training.stages.image_encoder import ImageEncoderStage
from depthcrafter_cli.training.stages.vae import VaeStage

PLAN = Optimisation(steps=1, learning_rate=1e-3, frames=2)
VAE = VaeConfig(PLAN, channels=[32, 32, 32, 32], pictures=2)
TOWER = ImageEncoderConfig(PLAN, hidden=32, layers=1, heads=2, embedding=32)
UNET = UnetConfig(
    PLAN, [32, 64], [2, 4], [700.0, 0.678, 0.002], [0.4, 0.5, 0.1], [1, 2], [0.5, 0.5]
)


def test_exported_folder_loads_through_the_product(tmp_path):
    unet = build_unet(UNET, embedding=32)
    vae, tower = build_vae(VAE), build_image_encoder(TOWER)
    export(tmp_path, unet, vae, tower)
    loaded = load_components(tmp_path, device=torch.device("cpu"), dtype=torch.float32)
    for ours, theirs in ((unet, loaded.unet), (vae, loaded.vae), (tower, loaded.image_encoder)):
        read = theirs.state_dict()
        for name, tensor in ours.state_dict().items():
            if tensor.is_floating_point():
                assert torch.equal(tensor.half().float(), read[name]), name


def test_flattened_temporal_convolutions_give_the_same_picture():
    torch.manual_seed(0)
    vae, latents = build_vae(VAE).eval(), torch.randn(3, 4, 8, 8)
    with torch.no_grad():
        plain = vae.decode(latents, num_frames=3).sample
        flatten_temporal_convolutions(vae)
        assert torch.allclose(vae.decode(latents, num_frames=3).sample, plain, atol=1e-5)


def test_collapsed_cross_attention_gives_the_same_velocity():
    torch.manual_seed(0)
    unet, sample = build_unet(UNET, embedding=32).eval(), torch.randn(2, 3, 8, 8, 8)
    rest = torch.randn(2), torch.randn(6, 1, 32), torch.tensor([[7.0, 127.0, 0.02]]).expand(2, -1)
    with torch.no_grad():
        plain = unet(sample, *rest)
        flatten_temporal_convolutions(unet)
        collapse_cross_attention(unet)
        assert torch.allclose(unet(sample, *rest), plain, atol=1e-5)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A cache of two square clips."""
    folder = tmp_path_factory.mktemp("clips")
    seeds = [seed for seed in range(1000) if shape_of(seed) == (4, 128, 128)][:2]
    fill_cache(folder, seeds)
    assert all(clip_path(folder, seed).exists() for seed in seeds)
    return folder, seeds


def test_autoencoder_loss_reaches_encoder_and_decoder(drawn):
    torch.manual_seed(0)
    stage = VaeStage(VAE, ClipCache(drawn[0], 1000), mixed_precision=False)
    stage.loss(np.random.default_rng(0)).backward()
    for part in (stage.vae.encoder.conv_in, stage.vae.decoder.conv_in, stage.head[0]):
        assert part.weight.grad.abs().max() > 0


def test_image_encoder_learns_the_layout_of_two_clips(drawn):
    torch.manual_seed(0)
    stage = ImageEncoderStage(TOWER, ClipCache(drawn[0], 1000), mixed_precision=False)
    optimizer = torch.optim.AdamW(stage.parameters(), lr=3e-3)
    losses = []
    for step in range(30):
        losses.append(stage.loss(np.random.default_rng(step)))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


def test_denoiser_learns_two_encoded_clips(drawn, tmp_path):
    torch.manual_seed(0)
    vae, tower = build_vae(VAE).eval(), build_image_encoder(TOWER).eval()
    encode_clips(*(drawn[0], tmp_path, drawn[1]), vae, tower, mixed_precision=False)
    latents = LatentCache(tmp_path)
    batch = latents.batch(np.random.default_rng(0), clips=3, frames=9)
    assert (batch.image.shape, batch.embeds.shape) == ((3, 4, 4, 16, 16), (3, 4, 32))
    stage = UnetStage(UNET, 32, latents, mixed_precision=False)
    optimizer = torch.optim.AdamW(stage.network.parameters(), lr=1e-3)

    def error():
        with torch.no_grad():
            return sum(stage.loss(np.random.default_rng(1000 + i)).item() for i in range(20))

    before = error()
    for step in range(60):
        optimizer.zero_grad()
        stage.loss(np.random.default_rng(step)).backward()
        optimizer.step()
    assert error() < 0.7 * before
