"""The layers that are built here are those that diffusers and transformers build, to the bit."""

import json
import shutil

import pytest
import torch
from diffusers.models.embeddings import Timesteps
from torch import nn

from depthcrafter_cli.errors import WeightsError
from depthcrafter_cli.models.layout import PUBLISHED_CONFIGS, network_configs, read_json
from depthcrafter_cli.models.loading import load_components
from depthcrafter_cli.models.published import empty_networks
from depthcrafter_cli.models.published.layers import Waves
from depthcrafter_cli.training.networks import trainable_networks

CPU = torch.device("cpu")
NAMES = ("unet", "vae", "image_encoder")
PUBLISHED = {name: read_json(PUBLISHED_CONFIGS / name / "config.json") for name in NAMES}
PUBLISHED["image_encoder"]["num_hidden_layers"] = 2  # of 32, all alike
# As published files may be: little is said, and what is said is said in lists, or is the default.
TERSE = {
    "unet": {
        "block_out_channels": [64, 96], "num_attention_heads": 5, "layers_per_block": [1, 2],
        "transformer_layers_per_block": [2, 1], "cross_attention_dim": 512,
        "down_block_types": ["DownBlockSpatioTemporal", "CrossAttnDownBlockSpatioTemporal"],
        "up_block_types": ["UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"],
    },
    "vae": {"layers_per_block": 1},
    "image_encoder": {"num_hidden_layers": 1},
}  # fmt: skip


def shapes(network):
    return {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}


def constants(network):
    """What a layer knows beside its weights, as far as results depend on it."""
    kinds = (nn.GroupNorm, nn.LayerNorm, nn.Conv2d, nn.Conv3d)
    told = ("eps", "num_groups", "stride", "padding")
    found = {
        name: [getattr(module, each, None) for each in told]
        for name, module in network.named_modules() if isinstance(module, kinds)
    }  # fmt: skip
    shares = {
        name: (module.switch_spatial_to_temporal_mix, module.merge_strategy != "fixed")
        for name, module in network.named_modules() if hasattr(module, "mix_factor")
    }  # fmt: skip
    heads = {
        name: module.heads for name, module in network.named_modules() if hasattr(module, "to_q")
    }
    return found | shares | heads


@pytest.mark.parametrize("configs", [PUBLISHED, TERSE], ids=["published", "terse"])
def test_networks_have_the_layers_of_the_libraries(configs):
    ours, theirs = empty_networks(configs), trainable_networks(configs)
    for name in NAMES:
        one, other = getattr(ours, name), getattr(theirs, name)
        assert shapes(one) == shapes(other)
        assert constants(one) == constants(other)
        assert all(parameter.is_meta for parameter in one.parameters())


def filled(networks, weights):
    for name, network in networks._asdict().items():
        network.load_state_dict(weights[name], assign=True)
        network.eval().requires_grad_(False)
    return networks


@pytest.mark.parametrize("act", ["gelu", "quick_gelu"])
def test_pictures_are_embedded_and_encoded_to_the_same_bits(tiny_folder, act):
    configs = network_configs(tiny_folder)
    configs["image_encoder"] |= {"hidden_act": act, "num_attention_heads": 2}
    ours, generator = empty_networks(configs), torch.Generator().manual_seed(0)
    weights = {
        name: {
            key: (1.0 if "norm" in key else 0.1) * torch.randn(*shape, generator=generator)
            for key, shape in shapes(network).items()
        }
        for name, network in ours._asdict().items()
    }
    both = [filled(each, weights) for each in (ours, trainable_networks(configs))]
    pictures = torch.randn(2, 3, 224, 224, generator=generator)
    with torch.inference_mode():
        embedded = [each.image_encoder(pictures).image_embeds for each in both]
        encoded = [each.vae.encoder(pictures[:, :, :40, :56]) for each in both]
    assert torch.equal(*embedded)
    assert torch.equal(*encoded)


@pytest.mark.parametrize("width", [32, 33])
def test_noise_levels_are_told_to_the_same_bits(width):
    numbers = torch.tensor([0.0, -1.3, 1.7, 25.0])
    assert torch.equal(Waves(width)(numbers), Timesteps(width, True, 0)(numbers))


@pytest.mark.parametrize(
    ("name", "changes", "sentence"),
    [
        ("unet", {"up_block_types": ["UpBlock3D"] * 2}, "got up_block_types .* expected 2 of"),
        ("unet", {"down_block_types": ["DownBlockSpatioTemporal"]}, "got down_block_types"),
        ("unet", {"num_attention_heads": [1, 2, 3]}, "got num_attention_heads .* one or 2"),
        ("vae", {"down_block_types": ["DownEncoderBlock2D"]}, "got down_block_types"),
        ("image_encoder", {"hidden_act": "tanh"}, "got hidden_act = tanh, expected gelu or"),
        ("image_encoder", {"num_attention_heads": 3}, "expected a multiple of 3 heads"),
    ],
)
def test_networks_of_another_kind_are_refused(tmp_path, tiny_folder, name, changes, sentence):
    shutil.copytree(tiny_folder, tmp_path / "model")
    path = tmp_path / "model" / name / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(WeightsError, match=sentence):
        load_components(tmp_path / "model", device=CPU, dtype=torch.float32)
