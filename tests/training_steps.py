"""Training steps of real networks, for tests that compare weights before and after."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from depthcrafter_cli.datasets.clip import ClipSize as Size
from depthcrafter_cli.datasets.generated import GeneratedClips
from depthcrafter_cli.models.components import Components
from depthcrafter_cli.progress import ignore
from depthcrafter_cli.training.config import (
    LayerGroup,
    ObjectiveConfig,
    StageConfig,
)
from depthcrafter_cli.training.data.batches import Share, Steps, StreamedClips
from depthcrafter_cli.training.data.latents import Encoder
from depthcrafter_cli.training.journal import Journal
from depthcrafter_cli.training.layers import select_layers
from depthcrafter_cli.training.precision import Precision
from depthcrafter_cli.training.stages.denoiser import DenoiserStage
from depthcrafter_cli.training.trainer import Session, train

CPU = torch.device("cpu")
DRAWN = GeneratedClips(2, [Size(4, 64, 64)])


def stage_config(trains: LayerGroup, **changes: object) -> StageConfig:
    """A stage of one step on drawn clips."""
    settings = {
        "name": trains, "trains": trains, "sources": {"drawn": 1.0}, "frames": [2, 3],
        "batch": 2, "steps": 1, "learning_rate": 1e-3, "warmup": 1, "ema": 0.0,
    }  # fmt: skip
    return StageConfig(**(settings | changes))


def session(folder: Path) -> Session:
    """A run in this process."""
    return Session(Accelerator(cpu=True), folder, Journal(folder), 3, ignore)


def train_once(
    networks: Components,
    config: StageConfig,
    folder: Path,
    frozen: Sequence[str] = (),
    objective: ObjectiveConfig = ObjectiveConfig(),  # noqa: B008
    precision: str = "fp32",
) -> None:
    """Take a UNet through a stage on drawn clips, encoded as they come."""
    chosen = Precision(precision, CPU)
    encoder = Encoder(networks.vae, networks.image_encoder, chosen.dtype)
    steps = Steps(config, {"drawn": StreamedClips(DRAWN)}, 0, Share())
    select_layers(networks.unet, config.trains, frozen)
    train(
        DenoiserStage(config, networks.unet, encoder, objective, steps, chosen),
        config,
        session(folder),
    )


def write_clip(home: Path, seed: int, frames: int = 3, side: int = 64) -> NDArray[np.float32]:
    """A clip in our own folder layout, pictures as PNG; returns its disparity [T, H, W]."""
    rng = np.random.default_rng(seed)
    (home / "rgb").mkdir(parents=True)
    ramp = np.linspace(0.1, 1.0, side, dtype=np.float32)
    disparity = ramp[:, None] * rng.uniform(0.5, 1.5, (frames, 1, side)).astype(np.float32)
    for number in range(frames):
        shade = (255 * disparity[number] / disparity.max()).astype(np.uint8)
        picture = np.stack([shade, 255 - shade, rng.integers(0, 255, shade.shape, np.uint8)], -1)
        Image.fromarray(picture).save(home / "rgb" / f"{number}.png")
    np.savez(home / "disparity.npz", disparity=disparity)
    return disparity


def three_stages(weights: Path, clips: Path, steps: int) -> str:
    """A recipe that takes a model through all three stages, quickly, on a folder of clips."""
    recipe = f"""
weights = '{weights}'
seed = 5
precision = "fp32"
latents = "streamed"
frozen = ["time_pos_embed"]

[objective]
levels = [700.0, 0.678, 0.002]
level_shares = [0.4, 0.5, 0.1]
rollout = 0.5

[sources.mine]
kind = "folder"
path = '{clips}'
height = 64
width = 64
"""
    for name, trains, frames in (
        ("1", "all", "[1, 3]"),
        ("2", "temporal", "[1, 4]"),
        ("3", "spatial", "[3, 3]"),
    ):
        recipe += f"""
[[stages]]
name = "{name}"
trains = "{trains}"
sources = {{ mine = 1 }}
frames = {frames}
batch = 3
micro_batch = 2
steps = {steps}
warmup = 1
learning_rate = 1e-3
save_every = 2
"""
    return recipe


def trained_weights(folder: Path) -> dict[str, Tensor]:
    """What a finished run delivers."""
    return load_file(folder / "unet" / "diffusion_pytorch_model.safetensors")
