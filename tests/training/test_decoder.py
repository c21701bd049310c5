"""The decoder's stage: what it changes, what it leaves, and that it lowers the error of depth."""

import json
from shutil import copyfile, copytree

import pytest
import torch
from safetensors.torch import load_file
from training_steps import CPU, DRAWN, session, stage_config, three_stages, write_clip

from depthcrafter_cli.models.loading import load_components
from depthcrafter_cli.training.config import SourceConfig, TrainingConfig
from depthcrafter_cli.training.data.latents import Encoder
from depthcrafter_cli.training.layers import trained_names
from depthcrafter_cli.training.networks import save_trained, trainable_networks
from depthcrafter_cli.training.precision import Precision
from depthcrafter_cli.training.stages.decoder import train_decoder

STAGE = """
[[stages]]
name = "4"
trains = "decoder"
sources = { mine = 1 }
frames = [1, 2]
batch = 2
steps = 2
warmup = 1
learning_rate = 1e-3
"""
SETTINGS = """
[settings]
steps = 1
"""
VAE = "vae/diffusion_pytorch_model.safetensors"


@pytest.mark.slow
def test_decoding_gets_better_as_depth_and_only_the_decoder_changes(tiny_folder, tmp_path):
    networks = load_components(
        tiny_folder, device=CPU, dtype=torch.float32, build=trainable_networks
    )
    parts = {"unet": networks.unet, "vae": networks.vae, "image": networks.image_encoder}
    before = {
        (part, name): tensor.clone()
        for part, network in parts.items()
        for name, tensor in network.state_dict().items()
    }
    stage = stage_config("decoder", steps=40, frames=[1, 1], batch=1, learning_rate=1e-2)
    recipe = TrainingConfig(sources={"drawn": SourceConfig("generated")}, stages=[stage])
    encoder = Encoder(networks.vae, networks.image_encoder, torch.float32)
    run = session(tmp_path)
    train_decoder(stage, recipe, networks, encoder, {"drawn": DRAWN}, Precision("fp32", CPU), run)

    losses = [json.loads(line)["loss"] for line in (tmp_path / "log.jsonl").open()]
    assert losses[-1] < 0.95 * losses[0]
    changed = {
        key
        for key, tensor in before.items()
        if not torch.equal(tensor, parts[key[0]].state_dict()[key[1]])
    }
    names = [name for name, _ in networks.vae.decoder.named_parameters()]
    trained = trained_names(names, "decoder", [])
    assert changed == {("vae", f"decoder.{name}") for name in trained}
    kept = set(names) - set(trained)
    assert kept and all("time" in name or "temporal" in name for name in kept)


@pytest.mark.slow
def test_a_run_delivers_the_tuned_decoder_and_all_else_as_it_was(cli, tiny_folder, tmp_path):
    write_clip(tmp_path / "clips" / "0", 0)
    recipe, out = tmp_path / "recipe.toml", tmp_path / "model"
    three = three_stages(tiny_folder, tmp_path / "clips", steps=1)
    recipe.write_text(three.replace("[objective]", f"{SETTINGS}\n[objective]") + STAGE)
    done = cli("train", recipe, "--out", out, "--work-dir", tmp_path / "work", "--device", "cpu")
    assert done.code == 0, done.err
    start, third, end = (
        load_file(home / VAE) for home in (tiny_folder, tmp_path / "work" / "after-3", out)
    )
    assert third.keys() == start.keys()
    changed = set()
    for name, tensor in start.items():
        assert end[name].dtype == tensor.dtype
        assert torch.equal(tensor, third[name]), name
        if not torch.equal(tensor, end[name]):
            changed.add(name)
    assert changed and all(name.startswith("decoder.") for name in changed)
    unet = "unet/diffusion_pytorch_model.safetensors"
    assert (out / unet).read_bytes() == (tmp_path / "work" / "after-3" / unet).read_bytes()
    assert cli("weights", "verify", out).code == 0


@pytest.mark.parametrize("settings", ["", SETTINGS.replace("1", "5")])
def test_a_decoder_stage_of_a_model_of_many_steps_is_refused(cli, tiny_folder, tmp_path, settings):
    recipe = tmp_path / "recipe.toml"
    text = three_stages(tiny_folder, tmp_path / "clips", steps=1) + STAGE
    recipe.write_text(text.replace("[objective]", f"{settings}\n[objective]"))
    refused = cli("train", recipe, "--out", tmp_path / "model", "--work-dir", tmp_path / "work")
    assert refused.code == 2
    assert "decoder" in refused.err and "steps = 1" in refused.err


def test_of_weights_kept_twice_only_what_is_loaded_is_delivered(tiny_folder, tmp_path):
    start, out = tmp_path / "start", tmp_path / "out"
    copytree(tiny_folder, start)
    half = "vae/diffusion_pytorch_model.fp16.safetensors"
    copyfile(start / VAE, start / half)
    networks = load_components(start, device=CPU, dtype=torch.float32, build=trainable_networks)
    save_trained(out, start, networks.unet, networks.vae.decoder)
    assert (out / VAE).is_file() and not (out / half).exists()
    load_components(out, device=CPU, dtype=torch.float32)
