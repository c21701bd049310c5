"""Which parameters every stage trains, at full size, and that the others stay as they are."""

import pytest
import torch
from accelerate import init_empty_weights
from training_steps import stage_config, train_once

from depthcrafter_cli.errors import UsageError
from depthcrafter_cli.models.layout import read_json
from depthcrafter_cli.models.loading import load_components
from depthcrafter_cli.models.unet import DepthUNet
from depthcrafter_cli.models.weights import find_configs
from depthcrafter_cli.training.layers import group_of, select_layers, trained_names
from depthcrafter_cli.training.networks import trainable_networks


@pytest.fixture(scope="module")
def published():
    """The published UNet without its weights: 1.5 billion parameters that take no memory."""
    config = read_json(find_configs("depthcrafter").path / "unet" / "config.json")
    with init_empty_weights():
        return DepthUNet.from_config(config)


def count(unet, names):
    sizes = {name: parameter.numel() for name, parameter in unet.named_parameters()}
    return sum(sizes[name] for name in names)


def test_every_parameter_is_in_one_group(published):
    names = [name for name, _ in published.named_parameters()]
    groups = {name: group_of(name) for name in names}
    shared = {name.split(".")[0] for name, group in groups.items() if group == "shared"}
    assert shared == {"conv_in", "time_embedding", "add_embedding", "conv_norm_out", "conv_out"}
    for name, group in groups.items():
        temporal = any(word in name for word in ("temporal_", "time_mixer", "time_pos_embed"))
        assert (group == "temporal") == temporal, name


def test_stages_train_the_layers_of_the_paper(published):
    names = [name for name, _ in published.named_parameters()]
    every, temporal, spatial = (
        trained_names(names, group, []) for group in ("all", "temporal", "spatial")
    )
    assert every == names
    assert not set(temporal) & set(spatial)
    assert count(published, every) == 1_524_623_082
    # Blattmann et al. give 656 M for the temporal layers they put into Stable Diffusion 2.1.
    assert 0.6e9 < count(published, temporal) < 0.7e9
    # Stable Diffusion 2.1 itself has 866 M; its single-token context is smaller here.
    assert 0.8e9 < count(published, spatial) < 0.87e9
    block = "down_blocks.0.attentions.0."
    assert {name for name in temporal if name.startswith(block)} == {
        name
        for name in names
        if name.startswith(block)
        and name.removeprefix(block).split(".")[0]
        in ("temporal_transformer_blocks", "time_pos_embed", "time_mixer")
    }
    resnet = "mid_block.resnets.0."
    assert {name.removeprefix(resnet).split(".")[0] for name in spatial if resnet in name} == {
        "spatial_res_block"
    }


def test_unknown_parameter_is_refused():
    with pytest.raises(ValueError, match="adapter"):
        group_of("down_blocks.0.adapter.weight")


def test_stage_that_would_train_nothing_is_refused(tiny):
    with pytest.raises(UsageError, match="frozen"):
        select_layers(tiny.unet, "temporal", ["block"])


@pytest.mark.parametrize("trains", ["all", "temporal", "spatial"])
def test_a_step_changes_what_is_trained_and_nothing_else(trains, tiny_folder, tmp_path):
    networks = load_components(
        tiny_folder, device=torch.device("cpu"), dtype=torch.float32, build=trainable_networks
    )
    before = {name: tensor.clone() for name, tensor in networks.unet.state_dict().items()}
    train_once(networks, stage_config(trains), tmp_path, frozen=["time_pos_embed"])
    after = networks.unet.state_dict()
    names = set(trained_names(before, trains, ["time_pos_embed"]))
    assert names and all("time_pos_embed" not in name for name in names)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed <= names
    # Attention to the single CLIP token gives its queries and keys no gradient.
    idle = {name for name in names if "attn2.to_q" in name or "attn2.to_k" in name}
    idle |= {name for name in names if ".norm2." in name and "transformer_blocks" in name}
    assert names - idle <= changed
