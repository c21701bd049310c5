"""A model of pixels, from a recipe alone: its data, its views, what learns and what never does."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from depthcrafter_cli import disk
from depthcrafter_cli.datasets.clip import Sample
from depthcrafter_cli.datasets.stacks import StackedFrames
from depthcrafter_cli.errors import InputError
from depthcrafter_cli.models.manifest import read_manifest, write_manifest
from depthcrafter_cli.models.silent import is_silent, silent_layers
from depthcrafter_cli.training.config import (
    ImageEncoderConfig,
    Optimisation,
    UnetConfig,
    ViewsConfig,
    ViewSize,
)
from depthcrafter_cli.training.data.origin import is_same
from depthcrafter_cli.training.data.views import view
from depthcrafter_cli.training.layers import select_layers
from depthcrafter_cli.training.networks import (
    build_image_encoder,
    build_unet,
    identity_vae,
    save_foundation,
)
from depthcrafter_cli.training.shortcuts import recompute_blocks

EXAMPLES = Path(__file__).parents[2] / "examples"
ASLEEP = ["temporal_", "time_mixer", "time_pos_embed"]
RECIPE = """
seed = 1
precision = "fp32"
latents = "streamed"
frozen = ["temporal_", "time_mixer", "time_pos_embed"]
settings = { max_res = 64, multiple = 2, window = 4, overlap = 1, steps = 1 }
objective = { levels = [700.0], level_shares = [1.0], level_spread = 0.0, depth = 3.0 }
validation = { source = "drawn", also = ["stacks"], every = 2, clips = 1, frames = 1 }

[foundation]
tower = "nano"
unet = { channels = [32, 32], heads = [1, 1], asleep = true, deterministic = true }

[sources]
stacks = { kind = "stacks", path = "PLACE" }
drawn = { kind = "generated", clips = 2, sizes = [{ frames = 1, height = 32, width = 64 }] }

[[stages]]
name = "1"
trains = "all"
sources = { stacks = 0.5, drawn = 0.5 }
frames = [1, 1]
batch = 2
steps = 3
optimizer = "muon"
learning_rate = 1e-3
views = { sizes = [{ height = 16, width = 32 }], scales = [0.3, 0.8] }
"""


@pytest.fixture
def stacks(tmp_path):
    """Two stacks, of three frames and of one, whose red tells the disparity."""
    rng = np.random.default_rng(0)
    for name, frames in (("a", 3), ("b", 1)):
        home = tmp_path / "stacks" / name
        home.mkdir(parents=True)
        near = rng.integers(1, 250, (frames, 8, 16)).repeat(6, 1).repeat(6, 2).astype(np.uint8)
        np.save(home / "rgb.npy", np.stack([near, near // 2, near * 0 + 9], 3))
        np.save(home / "disparity.npy", near.astype(np.float16))
    return tmp_path / "stacks"


@pytest.mark.skipif(disk.WINDOWS, reason="a mapped file is written anew here")
def test_stacks_are_read_frame_by_frame(stacks):
    known = np.load(stacks / "b" / "disparity.npy")
    known[0, 0, 0] = -1
    np.save(stacks / "b" / "disparity.npy", known)
    source = StackedFrames(stacks)
    assert len(source) == 4 and source.shape(3) == (1, 48, 96)
    clip = source.read(2, range(1))
    assert torch.equal(clip.rgb[..., 0].float(), clip.disparity) and clip.valid.all()
    last = source.read(3, range(1))
    assert not last.valid[0, 0, 0] and last.valid.sum() == 48 * 96 - 1
    np.save(stacks / "b" / "rgb.npy", np.zeros((2, 48, 96, 3), np.uint8))
    assert "expected rgb" in StackedFrames(stacks).rejected["b"]
    shutil.rmtree(stacks / "a")
    with pytest.raises(InputError, match="expected rgb"):
        StackedFrames(stacks)
    with pytest.raises(InputError, match="expected stacks of frames"):
        StackedFrames(stacks / "b")


def test_a_view_shows_the_same_part_of_picture_and_depth(stacks):
    source, plan = StackedFrames(stacks), ViewsConfig([ViewSize(12, 24)], [0.5, 1.0], False)
    rng, seen = np.random.default_rng(3), set()
    for _ in range(40):
        whole = source.read(int(rng.integers(4)), range(1))
        part = view(whole, plan.sizes[0], plan, rng)
        assert part.rgb.shape == (1, 12, 24, 3) and part.valid.all()
        apart = (part.rgb[..., 0].float() - part.disparity).abs()
        assert apart.median() < 12  # of 250; of two parts that differ it is some 80
        seen.add(len(part.disparity.unique()))
    assert max(seen) > 1.5 * min(seen)  # at several scales


def test_colours_change_and_depth_does_not(stacks):
    plan = ViewsConfig([ViewSize(48, 96)], [1.0, 1.0], True)
    whole = StackedFrames(stacks).read(0, range(1))
    views = [view(whole, plan.sizes[0], plan, np.random.default_rng(seed)) for seed in range(6)]
    assert all(torch.equal(part.disparity, whole.disparity) for part in views)
    assert len({part.rgb.sum().item() for part in views}) > 3
    clip = Sample(
        whole.rgb.repeat(3, 1, 1, 1), *(x.repeat(3, 1, 1) for x in (whole.disparity, whole.valid))
    )
    part = view(
        clip, plan.sizes[0], ViewsConfig(plan.sizes, [1.0, 1.0], True), np.random.default_rng(1)
    )
    assert part.rgb.shape == (3, 48, 96, 3)


def test_what_sleeps_is_left_out_of_training_without_a_change():
    torch.manual_seed(0)
    unet = build_unet(UnetConfig([32, 64], [1, 2], [True, True], asleep=True), 24, 3)
    sample, embeds = torch.randn(2, 1, 6, 9, 14), torch.randn(2, 1, 24)
    inputs = sample, torch.tensor([1.6]), embeds, torch.tensor([[7.0, 127.0, 0.02]]).expand(2, -1)
    plain = unet(*inputs)
    select_layers(unet, "all", ASLEEP)
    recompute_blocks(unet, False)
    assert (unet(*inputs) - plain).abs().max() < 1e-5
    unet.down_blocks[0].resnets[0].temporal_res_block.conv1.weight.data.fill_(torch.nan)
    assert unet(*inputs).isfinite().all()
    select_layers(unet, "temporal", [])
    assert not is_silent(unet.down_blocks[0].resnets[0].temporal_res_block.conv2)


def test_a_stage_wakes_what_slept_and_no_more():
    torch.manual_seed(0)
    unet = build_unet(UnetConfig([32, 32], [1, 1], [False, True], asleep=True), 24, 3)
    fine = ["down_blocks.0", "up_blocks.1", "time_pos_embed"]
    select_layers(unet, "temporal", fine)
    recompute_blocks(unet, False)
    optimizer = torch.optim.SGD([p for p in unet.parameters() if p.requires_grad], 1.0)
    embeds, ids = torch.randn(6, 1, 24), torch.tensor([[7.0, 127.0, 0.02]]).expand(2, -1)
    for _ in range(2):
        estimate = unet(torch.randn(2, 3, 6, 8, 8), torch.tensor([1.6]), embeds, ids)
        estimate.diff(dim=1).square().mean().backward()
        optimizer.step()
    select_layers(unet, "spatial", [])
    asleep = {name for name, part in unet.named_modules() if getattr(part, "silent", False)}
    residuals = {name for name in asleep if name.endswith("temporal_res_block.conv2")}
    assert residuals == {
        f"{block}.resnets.{number}.temporal_res_block.conv2"
        for block, count in (("down_blocks.0", 1), ("up_blocks.1", 2)) for number in range(count)
    }  # fmt: skip
    assert not any("mid_block.attentions.0.temporal_transformer" in name for name in asleep)


@pytest.mark.slow
def test_a_model_of_pixels_comes_from_a_recipe_alone(cli, tmp_path, stacks, clip):
    (tmp_path / "pixels.toml").write_text(RECIPE.replace("PLACE", str(stacks)))
    done = cli(
        "train", tmp_path / "pixels.toml", "--out", tmp_path / "model", "--work-dir", tmp_path / "w"
    )
    assert done.code == 0, done.err
    unet = load_file(tmp_path / "model" / "unet" / "diffusion_pytorch_model.safetensors")
    assert not unet["conv_in.weight"][:, :3].any() and unet["conv_in.weight"][:, 3:].any()
    start = load_file(
        tmp_path / "w" / "foundation" / "unet" / "diffusion_pytorch_model.safetensors"
    )
    moved = {name for name in unet if not torch.equal(unet[name], start[name])}
    assert "mid_block.resnets.0.spatial_res_block.conv1.weight" in moved
    assert not any("temporal" in name for name in moved)
    assert "mid_block.resnets.1.temporal_res_block.conv2" in silent_layers(
        tmp_path / "model", "unet"
    )
    lines = [json.loads(line) for line in (tmp_path / "w" / "log.jsonl").read_text().splitlines()]
    assert {"abs_rel", "delta1", "stacks.abs_rel", "stacks.delta1"} <= {*lines[0]}
    options = "--weights", tmp_path / "model", "--max-res", 51, "--max-frames", 5
    done = cli("run", clip, "--out", tmp_path / "depth.npz", *options)
    assert done.code == 0, done.err
    assert "up to 50" in done.err and "50x50" in (tmp_path / "depth.npz.json").read_text()


def test_settings_that_an_older_version_did_not_know_count_as_not_set():
    assert is_same({"a": 1}, {"a": 1, "views": None, "asleep": False, "tower": ""})
    assert not is_same({"a": 1}, {"a": 1, "tower": "nano"})
    assert not is_same({"a": [1, 2]}, {"a": [1]}) and not is_same(1, 2)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="PyTorch has it from 2.9 on")
def test_a_timed_run_saves_a_model_that_goes_on_from_what_was_reached(tmp_path, stacks):
    """A rehearsal of the script for machines that are there for minutes only."""
    tower = build_image_encoder(
        ImageEncoderConfig(Optimisation(steps=1, learning_rate=1), 32, 1, 2, 24)
    )
    unet = build_unet(UnetConfig([32, 32], [1, 1], asleep=True, deterministic=True), 24, 3)
    save_foundation(tmp_path / "start", unet, identity_vae(), tower)
    write_manifest(tmp_path / "start", "pixels", settings={"max_res": 64, "multiple": 2})
    command = [sys.executable, str(EXAMPLES / "train_timed.py"), str(tmp_path / "start")]
    command += [str(tmp_path / "out"), "--stacks", str(stacks), "--device", "cpu", "--batch", "4"]
    command += ["--minutes", "0.1", "--save-every", "2", "--workers", "1", "--height", "18"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert "views" in done.stdout
    model = tmp_path / "out" / "model"
    assert read_manifest(model).settings == {"max_res": 64, "multiple": 2}
    trained, before = (
        load_file(folder / "unet" / "diffusion_pytorch_model.safetensors")
        for folder in (model, tmp_path / "start")
    )
    assert not torch.equal(trained["conv_out.weight"], before["conv_out.weight"])
    assert not trained["conv_in.weight"][:, :3].any()
    assert silent_layers(model, "unet") == silent_layers(tmp_path / "start", "unet")
