"""What a recipe takes, as `plan` counts it, is what training then takes."""

import json
from dataclasses import replace

import pytest
import torch
from training_steps import stage_config, three_stages, write_clip

from depthcrafter_cli.models.layout import network_configs
from depthcrafter_cli.models.unet import DepthUNet
from depthcrafter_cli.training.adapter import add_adapter
from depthcrafter_cli.training.config import AdapterConfig
from depthcrafter_cli.training.data.rejects import Rejects
from depthcrafter_cli.training.data.sources import open_sources
from depthcrafter_cli.training.ema import MovingAverage
from depthcrafter_cli.training.layers import select_layers
from depthcrafter_cli.training.memory import Step, stage_memory
from depthcrafter_cli.training.optimizers import optimizer_of
from depthcrafter_cli.training.recipe import load_recipe
from depthcrafter_cli.training.shortcuts import (
    collapse_cross_attention,
    flatten_temporal_convolutions,
    recompute_blocks,
)
from depthcrafter_cli.training.tracker import Tracker
from depthcrafter_cli.workflows.training_plan import plan_training
from depthcrafter_cli.workflows.validation import validator

STEP = Step(clips=2, frames=6, channels=4, height=32, width=48)


def taken(config, unet) -> int:
    """Bytes at most of two real steps on the CPU, everything counted that they allocate."""
    with Tracker("cpu") as tracker:
        for parameter in unet.parameters():
            parameter.data = parameter.data.clone()
        recompute_blocks(unet.train(), config.checkpointing)
        flatten_temporal_convolutions(unet)
        collapse_cross_attention(unet)
        select_layers(unet, config.trains, [])
        optimizer = optimizer_of(config, [p for p in unet.parameters() if p.requires_grad])
        average = MovingAverage(unet, config.ema)
        for step in range(2):
            optimizer.zero_grad(set_to_none=False)
            sample = torch.randn(STEP.clips, STEP.frames, 8, STEP.height, STEP.width)
            embeds = torch.randn(STEP.clips * STEP.frames, 1, unet.config.cross_attention_dim)
            ids = torch.ones(STEP.clips, 3)
            unet(sample, torch.ones(STEP.clips), embeds, ids).square().mean().backward()
            optimizer.step()
            average.update(step + 1)
        return tracker.peak


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [{}, {"checkpointing": True, "ema": 0.9}, {"trains": "temporal", "ema": 0.9}],
    ids=["whole", "checkpointing", "temporal"],
)
def test_what_is_counted_is_what_training_takes(tiny_folder, changes):
    config = replace(stage_config("all"), **changes)
    configs = network_configs(tiny_folder)["unet"]
    memory = stage_memory(lambda: DepthUNet.from_config(configs), config, [], step=STEP)
    counted = memory.kept + memory.working[1]
    assert counted == pytest.approx(taken(config, DepthUNet.from_config(configs)), rel=0.1)


def test_what_is_kept_on_the_host_is_counted_there(tiny_folder):
    configs = network_configs(tiny_folder)["unet"]
    plan = replace(stage_config("all"), ema=0.9)
    usual, hosted = (
        stage_memory(lambda: DepthUNet.from_config(configs), each, [])
        for each in (plan, replace(plan, optimizer_on="host", ema_on="host"))
    )
    moved = usual.optimizer + usual.average
    assert hosted.kept == usual.kept - moved
    assert hosted.on_host == moved + 4 * usual.trained  # with a copy of the weights
    assert hosted.checkpoint == usual.checkpoint == moved + 4 * usual.trained


@pytest.mark.slow
def test_what_is_counted_of_an_adapter_is_what_its_training_takes(tiny_folder):
    pytest.importorskip("peft", reason="the extra lora is not installed")
    config = replace(stage_config("all"), checkpointing=True, ema=0.9)
    configs = network_configs(tiny_folder)["unet"]

    def adapted():
        unet = DepthUNet.from_config(configs)
        add_adapter(unet, AdapterConfig(rank=4), seed=0)
        return unet

    memory = stage_memory(adapted, config, [], step=STEP)
    assert memory.trained < 0.05 * memory.weights / 4
    assert memory.kept + memory.working[1] == pytest.approx(taken(config, adapted()), rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize(("frames", "side"), [(8, 64), (16, 128)])
def test_what_is_counted_of_validation_is_what_it_takes(tiny, tiny_folder, tmp_path, frames, side):
    write_clip(tmp_path / "clips" / "a", 0, frames, side)
    text = three_stages(tiny_folder, tmp_path / "clips", steps=1)
    text = text.replace("height = 64\nwidth = 64", f"height = {side}\nwidth = {side}")
    text += f'[validation]\nsource = "mine"\nframes = {frames}\n'
    text += "[settings]\nwindow = 6\noverlap = 2\nsteps = 1\n"
    (tmp_path / "recipe.toml").write_text(text)
    recipe = load_recipe(tmp_path / "recipe.toml")
    planned = plan_training(recipe, device="cpu")
    rejects = Rejects(0)
    validate = validator(recipe, tiny, open_sources(recipe, rejects), rejects)
    with Tracker("cpu") as tracker:
        validate()
    networks = sum(
        p.nbytes for part in (tiny.unet, tiny.vae, tiny.image_encoder) for p in part.parameters()
    )
    assert networks + planned.validation.working == pytest.approx(networks + tracker.peak, rel=0.1)


@pytest.mark.slow
def test_a_recipe_is_planned_before_it_starts(cli, tiny_folder, tmp_path):
    write_clip(tmp_path / "clips" / "a", 0)
    recipe = tmp_path / "recipe.toml"
    scored = '[validation]\nsource = "mine"\nclips = 1\nframes = 3\n'
    recipe.write_text(three_stages(tiny_folder, tmp_path / "clips", steps=1) + scored)
    planned = cli("plan", recipe, "--json")
    assert planned.code == 0, planned.err
    told = json.loads(planned.out.splitlines()[-1])
    assert [stage["name"] for stage in told["stages"]] == ["1", "2", "3"]
    assert told["stages"][0]["clips_at_once"] == 2 and told["stages"][2]["frames"] == 3
    low, high = told["stages"][0]["device_bytes"]
    assert low == high > told["stages"][0]["kept_bytes"] > 0
    assert told["stages"][0]["validation_bytes"] > told["stages"][0]["kept_bytes"]
    assert told["stages"][0]["validation_in_steps"] > 0
    by = told["stages"][0]["shared_device_bytes"]
    assert high > by["2"] > by["4"] > by["8"] > 0
    lines = cli("plan", recipe).out
    assert "while it validates" in lines and "with --share-model" in lines
    assert "warmup = 1 ends after its last step" in lines and "MB for checkpoints" in lines
    assert lines.count("asks for longer ones than there are") == 1  # of stage 2 alone
    refused = cli("plan", recipe, "--steps", "3")
    assert refused.code == 2 and "--steps with the recipe" in refused.err
