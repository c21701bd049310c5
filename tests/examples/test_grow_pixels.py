"""What examples/grow_pixels.py makes of a model of latents has its deep levels."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from depthcrafter_cli import DepthCrafterPipeline
from depthcrafter_cli.models.loading import load_components
from depthcrafter_cli.models.manifest import write_manifest
from depthcrafter_cli.models.published.unet import embed_time
from depthcrafter_cli.models.silent import is_silent
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
    save_foundation,
    trainable_networks,
)

SCRIPT = Path(__file__).parents[2] / "examples" / "grow_pixels.py"
CPU = torch.device("cpu")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="PyTorch has it from 2.9 on"),
]


def loaded(folder):
    return load_components(folder, device=CPU, dtype=torch.float32, build=trainable_networks)


def test_a_model_of_pixels_has_the_deep_levels_of_the_one_it_was_grown_from(tmp_path, monkeypatch):
    plan = Optimisation(steps=1, learning_rate=1e-3)
    torch.manual_seed(0)
    save_foundation(
        tmp_path / "old",
        build_unet(UnetConfig([32, 64], [1, 2]), embedding=32),
        build_vae(VaeConfig(plan, channels=[32, 32, 32, 32])),
        build_image_encoder(ImageEncoderConfig(plan, hidden=32, layers=1, heads=2, embedding=32)),
    )
    write_manifest(tmp_path / "old", "old")
    home = tmp_path / "stacks" / "noise"
    home.mkdir(parents=True)
    rng = np.random.default_rng(0)
    np.save(home / "rgb.npy", rng.integers(0, 256, (3, 144, 256, 3), np.uint8))
    np.save(home / "disparity.npy", np.ones((3, 144, 256), np.float16))
    command = [
        sys.executable,
        SCRIPT,
        "old",
        "new",
        "--stacks",
        "stacks",
        "--down",
        "2",
        "--up",
        "2",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "down 2/2" in done.stdout and "up 2/2" in done.stdout

    old, new = loaded(tmp_path / "old"), loaded(tmp_path / "new")
    ids = torch.tensor([[7.0, 127.0, 0.02]])
    level = embed_time(old.unet, torch.tensor([np.log(700.0) / 4]).float(), ids, torch.float32)
    hidden = torch.rand(1, 32, 8, 16)
    with torch.no_grad():
        theirs = old.unet.down_blocks[0].resnets[0].spatial_res_block(hidden, level)
        ours = new.unet.down_blocks[3].resnets[0].spatial_res_block(hidden, torch.zeros(1, 128))
    assert torch.allclose(ours, theirs, atol=5e-3)  # weights are saved as fp16
    blocks = zip(old.unet.up_blocks, new.unet.up_blocks, strict=False)
    assert all(
        torch.equal(one.resnets[1].spatial_res_block.conv1.weight,
                    other.resnets[1].spatial_res_block.conv1.weight)
        for one, other in blocks
    )  # fmt: skip
    finest = new.unet.up_blocks[-1].resnets[0].spatial_res_block.conv1.weight
    assert finest[:, :32].any() and not finest[:, 32:].any()
    assert is_silent(new.vae.encoder, new.vae.decoder)
    pipeline = DepthCrafterPipeline.from_pretrained(tmp_path / "new", dtype="fp32")
    frames = rng.integers(0, 256, (2, 64, 128, 3), np.uint8)
    depth = pipeline(frames, max_res=128, size="model", steps=1, window=2, overlap=0)
    assert depth.disparity.shape == (2, 64, 128) and np.isfinite(depth.disparity).all()
