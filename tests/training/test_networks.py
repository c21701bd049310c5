"""Networks built from a recipe survive their folder, and the autoencoder's loss reaches them."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from training_steps import DRAWN, stage_config

from depthcrafter_cli.datasets.clip import ClipSize as Size
from depthcrafter_cli.datasets.generated import GeneratedClips
from depthcrafter_cli.errors import UsageError
from depthcrafter_cli.models.loading import load_components
from depthcrafter_cli.training.config import (
    ImageEncoderConfig,
    ObjectiveConfig,
    Optimisation,
    StageConfig,
    UnetConfig,
    VaeConfig,
)
from depthcrafter_cli.training.data.batches import Piece, Share, Steps, StreamedClips
from depthcrafter_cli.training.data.cache import CachedClips, fill_cache
from depthcrafter_cli.training.data.clips import ClipCache
from depthcrafter_cli.training.data.latents import Encoder
from depthcrafter_cli.training.networks import (
    build_image_encoder,
    build_unet,
    build_vae,
    save_foundation,
)
from depthcrafter_cli.training.precision import Precision
from depthcrafter_cli.training.shortcuts import (
    collapse_cross_attention,
    flatten_temporal_convolutions,
)
from depthcrafter_cli.training.stages.denoiser import DenoiserStage
from depthcrafter_cli.training.stages.image_encoder import ImageEncoderStage
from depthcrafter_cli.training.stages.vae import VaeStage

PLAN = Optimisation(steps=1, learning_rate=1e-3)
VAE = VaeConfig(PLAN, channels=[32, 32, 32, 32], frames=2, pictures=2)
TOWER = ImageEncoderConfig(PLAN, hidden=32, layers=1, heads=2, embedding=32, frames=2)
UNET = UnetConfig([32, 64], [2, 4])
OBJECTIVE = ObjectiveConfig(levels=[700.0, 0.678, 0.002], level_shares=[0.4, 0.5, 0.1], rollout=0.5)
STAGE = StageConfig(
    name="1", trains="all", sources={"drawn": 1.0}, frames=[1, 2], batch=2, steps=1,
    learning_rate=1e-3,
)  # fmt: skip
EXACT = Precision("fp32", torch.device("cpu"))


@pytest.mark.parametrize(
    ("attention", "attending"), [([], [True, False]), ([False, True], [False, True])]
)
def test_exported_folder_loads_through_the_product(tmp_path, attention, attending):
    unet = build_unet(replace(UNET, attention=attention), embedding=32)
    assert [hasattr(block, "attentions") for block in unet.down_blocks] == attending
    assert [hasattr(block, "attentions") for block in unet.up_blocks] == attending[::-1]
    vae, tower = build_vae(VAE), build_image_encoder(TOWER)
    save_foundation(tmp_path, unet, vae, tower)
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
def drawn():
    """Two square clips of four frames."""
    return GeneratedClips(2, [Size(4, 64, 64)])


@pytest.fixture(scope="module")
def kept(drawn, tmp_path_factory):
    """The same clips on disk."""
    return ClipCache(tmp_path_factory.mktemp("clips"), drawn)


def test_autoencoder_loss_reaches_encoder_and_decoder(kept):
    torch.manual_seed(0)
    stage = VaeStage(VAE, kept, 0, EXACT)
    stage.batch_loss(np.random.default_rng(0)).backward()
    for part in (stage.vae.encoder.conv_in, stage.vae.decoder.conv_in, stage.head[0]):
        assert part.weight.grad.abs().max() > 0


def test_image_encoder_learns_the_layout_of_two_clips(kept):
    torch.manual_seed(0)
    stage = ImageEncoderStage(TOWER, kept, 0, EXACT)
    optimizer = torch.optim.AdamW(stage.parameters(), lr=3e-3)
    losses = []
    for step in range(30):
        losses.append(stage.batch_loss(np.random.default_rng(step)))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


@pytest.mark.slow
def test_denoiser_learns_two_encoded_clips(drawn, tmp_path):
    torch.manual_seed(0)
    encoder = Encoder(build_vae(VAE).eval(), build_image_encoder(TOWER).eval(), torch.float32)
    fill_cache(tmp_path, drawn, encoder)
    cached = CachedClips(tmp_path, drawn, encoder)
    assert cached.shapes() == [(4, 8, 8)] * 2
    steps = Steps(STAGE, {"drawn": cached}, 0, Share())
    stage = DenoiserStage(STAGE, build_unet(UNET, 32), encoder, OBJECTIVE, steps, EXACT)
    optimizer = torch.optim.AdamW(stage.network.parameters(), lr=1e-3)

    def loss(step):
        (piece,) = steps[step]
        return stage.loss(stage.network, piece)

    def error():
        with torch.no_grad():
            return sum(loss(1000 + i).item() for i in range(20))

    before = error()
    for step in range(60):
        optimizer.zero_grad()
        loss(step).backward()
        optimizer.step()
    assert error() < 0.7 * before


@pytest.mark.slow
def test_error_as_depth_adds_to_the_loss_and_teaches_the_denoiser(drawn, tmp_path):
    torch.manual_seed(0)
    vae = build_vae(VAE).eval()
    encoder = Encoder(vae, build_image_encoder(TOWER).eval(), torch.float32)
    fill_cache(tmp_path, drawn, encoder)
    clips = {"drawn": CachedClips(tmp_path, drawn, encoder)}
    unet = build_unet(UNET, 32)

    def stage(share, **objective):
        plan = ObjectiveConfig(levels=[700.0], level_shares=[1.0], **objective)
        return DenoiserStage(STAGE, unet, encoder, plan, Steps(STAGE, clips, 0, share), EXACT)

    alone, second = stage(Share(), depth=3.0), stage(Share(1, 2), depth=3.0)
    piece, other = Steps(STAGE, clips, 0, Share())[0][0], Steps(STAGE, clips, 0, Share(1, 2))[0][0]
    assert alone.loss(unet, piece) > stage(Share()).loss(unet, piece)
    # All processes read depth alike, whatever their share of the clips.
    assert torch.equal(alone.loss(unet, other), second.loss(unet, other))
    optimizer = torch.optim.AdamW(unet.parameters(), lr=1e-3)
    losses = []
    for _ in range(40):
        losses.append(alone.loss(unet, piece))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.7 * losses[0]


def test_latents_of_another_version_are_refused_in_a_sentence(drawn, tmp_path):
    encoder = Encoder(build_vae(VAE).eval(), build_image_encoder(TOWER).eval(), torch.float32)
    fill_cache(tmp_path, drawn, encoder)
    path = tmp_path / "000001.npz"
    with np.load(path) as arrays:
        old = {name: array for name, array in arrays.items() if name != "inverse_depth"}
    np.savez(path, **old)
    with pytest.raises(UsageError, match=r"no item named .inverse_depth.*delete"):
        CachedClips(tmp_path, drawn, encoder)


class Watched(nn.Module):
    """A network that notes what it is shown."""

    def forward(self, sample, _label, embeds, _ids):
        self.noisy, self.image = sample[:, :, :4], sample[:, :, 4:]
        self.embeds = embeds.view(*sample.shape[:2], -1)
        return torch.zeros_like(self.noisy)


def test_a_stage_drops_the_condition_and_samples_the_truth_as_it_says(tiny):
    encoder = Encoder(tiny.vae, tiny.image_encoder, torch.float32)

    piece = Piece([DRAWN.read(0, range(1))] * 8, [[0, k] for k in range(8)], 1.0, 8)

    def shown(**switch):
        config = stage_config("all", **switch)
        steps = Steps(config, {"drawn": StreamedClips(DRAWN)}, 0, Share())
        network = Watched()
        DenoiserStage(config, tiny.unet, encoder, OBJECTIVE, steps, EXACT).loss(network, piece)
        return network

    plain, dropped, sampled = shown(), shown(condition_dropout=0.5), shown(sampled_truth=True)
    has_image = dropped.image.flatten(1).any(dim=1)
    assert plain.image.flatten(1).any(dim=1).all() and 0 < has_image.sum() < 8
    assert torch.equal(dropped.embeds.flatten(1).any(dim=1), has_image)
    assert torch.equal(dropped.image[has_image], plain.image[has_image])
    assert torch.equal(dropped.noisy, plain.noisy)
    assert torch.equal(sampled.image, plain.image)
    assert not torch.allclose(sampled.noisy, plain.noisy)
    assert torch.equal(sampled.noisy, shown(sampled_truth=True).noisy)


def test_a_stage_withholds_the_skips_of_the_finest_levels_as_it_says(tiny):
    encoder = Encoder(tiny.vae, tiny.image_encoder, torch.float32)
    piece = Piece([DRAWN.read(0, range(2))] * 2, [[0, k] for k in range(2)], 1.0, 4)

    def skips_used(shares):
        """Of the resnets of each way up, from the finest, whether weights of skips learn."""
        config = stage_config("all", skip_dropout=shares)
        steps = Steps(config, {"drawn": StreamedClips(DRAWN)}, 0, Share())
        unet = deepcopy(tiny.unet).requires_grad_(True)
        stage = DenoiserStage(config, unet, encoder, OBJECTIVE, steps, EXACT)
        stage.loss(unet, piece).backward()
        last = [block.resnets[-1].spatial_res_block for block in reversed(unet.up_blocks)]
        # Past the norm, which mixes channels.
        weights = [(one.conv_shortcut.weight.grad, one.conv1.out_channels) for one in last]
        return [bool(gradient[:, hidden:].any()) for gradient, hidden in weights]

    every = skips_used([])
    assert all(every) and len(every) > 1
    assert skips_used([0.0] * len(every)) == every
    assert skips_used([0.999999]) == [False, *every[1:]]
    assert not any(skips_used([0.999999] * len(every)))
    with pytest.raises(UsageError, match="skip_dropout"):
        skips_used([0.5] * (len(every) + 1))
