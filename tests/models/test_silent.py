"""Branches that end in zeros are left out: no result changes, and the planner knows."""

from itertools import product

import pytest
import torch
from safetensors.torch import load_file, save_file
from simulation import Simulation
from torch import nn

from depthcrafter_cli.memory.architecture import Architecture
from depthcrafter_cli.memory.estimate import Workload, estimate
from depthcrafter_cli.memory.work import operations
from depthcrafter_cli.models.layout import network_configs
from depthcrafter_cli.models.loading import load_components
from depthcrafter_cli.models.reordered.decoder import decode_latents
from depthcrafter_cli.models.reordered.encoder import encode_images
from depthcrafter_cli.models.reordered.unet import WindowForward
from depthcrafter_cli.models.residency import Residency
from depthcrafter_cli.models.silent import mark_silent, silent_layers
from depthcrafter_cli.training.config import ImageEncoderConfig, Optimisation, UnetConfig
from depthcrafter_cli.training.networks import (
    build_image_encoder,
    build_unet,
    identity_vae,
    save_foundation,
)
from depthcrafter_cli.types import MemoryPlan, Size
from tests.models.test_reordered import inputs

CPU = torch.device("cpu")
PLANS = [
    MemoryPlan(values, offload_blocks=stream, offload_skips=stream, encode_by_rows=stream)
    for values, stream in product((3000, 10**8), (False, True))
]
SHAPE = UnetConfig([32, 64, 64], [1, 1, 2], [False, True, True], asleep=True, deterministic=True)
TOWER = ImageEncoderConfig(Optimisation(steps=1, learning_rate=1e-3), 32, 1, 2, 24)


@torch.no_grad()
def is_identity(vae):
    """Whether latents are the pixels themselves, found out by encoding and decoding a picture."""
    if vae.config.latent_channels != 3 or len(vae.config.block_out_channels) != 1:
        return False
    weight = vae.encoder.conv_in.weight
    picture = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0)).to(weight) * 2 - 1
    latents = vae.encode(picture).latent_dist.mode()
    picture, decoder = picture.float(), vae.decoder
    seen = decoder(latents.to(decoder.conv_in.weight), latents.new_zeros(1, 1), num_frames=1)
    near = 1e-4 if weight.dtype == torch.float32 else 2e-2
    return all(bool((one.float() - picture).abs().max() < near) for one in (latents, seen))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model of pixels whose temporal halves are asleep, one spatial branch of each sort too."""
    torch.manual_seed(0)
    unet = build_unet(SHAPE, embedding=24, latents=3)
    nn.init.normal_(unet.conv_out.bias)
    spatial = unet.down_blocks[1].attentions[0].transformer_blocks[0]
    for layer in (unet.mid_block.resnets[0].spatial_res_block.conv2, spatial.attn1.to_out[0],
                  unet.up_blocks[0].resnets[0].spatial_res_block.conv2,
                  unet.mid_block.attentions[0].transformer_blocks[0].ff.net[2],
                  unet.up_blocks[0].attentions[1].proj_out):  # fmt: skip
        for parameter in layer.parameters():
            nn.init.zeros_(parameter)
    place = tmp_path_factory.mktemp("pixels")
    save_foundation(place, unet, identity_vae(), build_image_encoder(TOWER))
    return place


@pytest.fixture
def model(folder):
    return load_components(folder, device=CPU, dtype=torch.float32)


def test_the_latents_of_the_identity_are_the_pixels_in_every_precision():
    vae = identity_vae().eval()
    mark_silent(vae, _ends(vae))
    pictures = torch.rand(3, 3, 24, 40, generator=torch.Generator().manual_seed(1)) * 2 - 1
    pictures[1] = pictures[1] * 0.01 + 0.5
    pictures[2] = 0
    with torch.inference_mode():
        for plan in PLANS:
            vae.decoder.float()
            latents = encode_images(vae, pictures, plan)
            assert (latents - pictures).abs().max() < 1e-5
            for dtype, limit in (
                (torch.float32, 1e-5), (torch.float16, 2e-3), (torch.bfloat16, 1.2e-2),
            ):  # fmt: skip
                decoded = decode_latents(vae.decoder.to(dtype), pictures.to(dtype), plan)
                assert (decoded.float() - pictures).abs().max() < limit
        assert is_identity(vae.float()) and is_identity(vae.bfloat16())
        plain = vae.float().decoder(pictures, torch.zeros(1, 3), num_frames=3)
        assert (plain - pictures).abs().max() < 1e-5  # its weights are exact in bfloat16, too
    nn.init.constant_(vae.decoder.conv_out.bias, 0.1)
    assert not is_identity(vae)


def test_an_identity_is_left_out_and_gives_what_it_computed(model):
    pictures = torch.rand(3, 3, 24, 40, generator=torch.Generator().manual_seed(1)) * 2 - 1
    vae, plan = model.vae, PLANS[0]

    def results():
        with torch.inference_mode():
            return encode_images(vae, pictures, plan), decode_latents(vae.decoder, pictures, plan)

    given = results()
    assert torch.equal(given[0], pictures) and torch.equal(given[1], pictures)
    mark_silent(vae, _ends(vae))
    for left_out, computed in zip(given, results(), strict=True):
        assert 0 < (left_out - computed).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("changed", "left"),
    [
        ("encoder.conv_in.weight", "decoder"),
        ("quant_conv.bias", "decoder"),
        ("decoder.time_conv_out.weight", "encoder"),
        ("decoder.up_blocks.0.resnets.0.temporal_res_block.conv2.bias", "encoder"),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_an_identity_is_known_by_every_weight_that_matters(folder, tmp_path, changed, left, dtype):
    (tmp_path / "vae").mkdir()
    name = "vae/diffusion_pytorch_model.safetensors"
    tensors = {key: tensor.to(dtype) for key, tensor in load_file(folder / name).items()}
    save_file(tensors, tmp_path / name)
    assert {"encoder", "decoder"} <= silent_layers(tmp_path, "vae")
    tensors[changed].flatten()[-1] += 0.01
    save_file(tensors, tmp_path / name)
    assert silent_layers(tmp_path, "vae") & {"encoder", "decoder"} == {left}


def test_an_autoencoder_of_several_levels_is_no_identity(folder, tmp_path):
    """Whatever its ends are: it halves and enlarges."""
    (tmp_path / "vae").mkdir()
    name = "vae/diffusion_pytorch_model.safetensors"
    tensors = load_file(folder / name)
    for part in ("encoder.down_blocks.0.down", "decoder.up_blocks.0.up"):
        tensors[f"{part}samplers.0.conv.weight"] = torch.zeros(4, 4, 3, 3)
    save_file(tensors, tmp_path / name)
    assert not silent_layers(tmp_path, "vae") & {"encoder", "decoder"}


@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_what_is_left_out_changes_no_bit(model, plan):
    """The layers before a silent one may hold anything: they are not asked."""
    unet = model.unet
    _, timestep, embeds, ids = inputs(4, 8, 12, torch.float32)
    sample = torch.randn(4, 6, 8, 12, generator=torch.Generator().manual_seed(2))

    def result():
        with torch.inference_mode():
            forward = WindowForward(unet, embeds, plan, Residency(CPU, plan.offload_blocks))
            return forward(sample, timestep, ids)

    heard = result()
    silent = _ends(unet)
    mark_silent(unet, ())
    assert torch.equal(heard, result())
    mark_silent(unet, silent)
    poisoned = [part for name, part in unet.named_modules() if "temporal_res_block.conv1" in name]
    poisoned += [unet.mid_block.resnets[0].spatial_res_block.conv1]
    poisoned += [unet.down_blocks[1].attentions[0].transformer_blocks[0].attn1.to_q]
    poisoned += [block.ff.net[0].proj for module in unet.modules()
                 for block in getattr(module, "temporal_transformer_blocks", ())]  # fmt: skip
    for layer in poisoned:
        nn.init.constant_(layer.weight, torch.nan)
    assert torch.equal(heard, result())


def test_only_layers_that_are_all_zero_are_silent(folder, tmp_path):
    known = silent_layers(folder, "unet")
    assert "up_blocks.0.attentions.1.proj_out" in known
    assert "mid_block.resnets.1.spatial_res_block.conv2" not in known
    weight = torch.zeros(4, 4)
    tensors = {"a.conv2.weight": weight, "a.conv2.bias": torch.zeros(4)}
    tensors |= {"b.conv2.weight": weight.clone(), "b.conv2.bias": torch.zeros(4)}
    tensors |= {"c.conv2.weight": weight.clone(), "c.conv2.bias": torch.zeros(4)}
    tensors["b.conv2.weight"][3, 3] = 1e-7
    tensors["c.conv2.bias"][3] = -1.0
    (tmp_path / "vae").mkdir()
    save_file(tensors, tmp_path / "vae" / "diffusion_pytorch_model.safetensors")
    assert silent_layers(tmp_path, "vae") == {"a.conv2"}


@pytest.mark.parametrize(
    "plan",
    [
        MemoryPlan(1 << 20, 4),
        MemoryPlan(1 << 18, 2, offload_networks=True, offload_skips=True, recompute_decode=True),
        MemoryPlan(1 << 19, 1, offload_blocks=True, encode_by_rows=True),
    ],
    ids=str,
)
def test_the_planner_predicts_the_memory_of_what_is_computed(folder, plan):
    simulation, workload = Simulation(folder), Workload(Size(96, 160), 8, 4, 2)
    predicted = estimate(simulation.architecture, workload, plan)
    for stage, peak in simulation.peaks(workload, plan).items():
        assert getattr(predicted, stage) == pytest.approx(peak, rel=0.1), stage


def test_the_planner_counts_no_operation_that_is_left_out(folder):
    configs = network_configs(folder)
    silent = {name: silent_layers(folder, name) for name in ("unet", "vae")}
    every, heard = Architecture.of(**configs), Architecture.of(**configs, silent=silent)
    assert every.factor == 1 and every.latent_channels == 3
    assert operations(heard.unet, 4, 64, 64) < 0.7 * operations(every.unet, 4, 64, 64)
    assert operations(heard.encoder, 1, 64, 64, temporal=False) == 0
    assert operations(heard.decoder, 4, 64, 64) == 0 < operations(every.decoder, 4, 64, 64)


def _ends(network):
    """Names of the layers that are all zero, from the network itself."""
    names = {name.rpartition(".")[0] for name, _ in network.named_parameters()}
    return {
        name for name in names
        if not any(p.any() for p in network.get_submodule(name).parameters())
    }  # fmt: skip
