"""Training steps of real networks, for tests that compare weights before and after."""

from collections.abc import Sequence
from pathlib import Path

import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from torch import Tensor

from depthcrafter_cli.models.components import Components
from depthcrafter_cli.progress import ignore
from depthcrafter_cli.training.config import ClipSize as Size
from depthcrafter_cli.training.config import (
    LayerGroup,
    ObjectiveConfig,
    SourceConfig,
    StageConfig,
)
from depthcrafter_cli.training.data.batches import Share, Steps, StreamedClips
from depthcrafter_cli.training.data.generated import GeneratedClips
from depthcrafter_cli.training.data.latents import Encoder
from depthcrafter_cli.training.journal import Journal
from depthcrafter_cli.training.layers import select_layers
from depthcrafter_cli.training.precision import Precision
from depthcrafter_cli.training.stages.denoiser import DenoiserStage
from depthcrafter_cli.training.trainer import Session, train

CPU = torch.device("cpu")
DRAWN = GeneratedClips(SourceConfig("generated", clips=2, sizes=[Size(4, 64, 64)]))


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


def three_stages(weights: Path, steps: int) -> str:
    """A recipe that takes a model through all three stages, quickly."""
    recipe = f"""
weights = "{weights}"
seed = 5
precision = "fp32"
frozen = ["time_pos_embed"]

[objective]
levels = [700.0, 0.678, 0.002]
level_shares = [0.4, 0.5, 0.1]
rollout = 0.5

[sources.drawn]
kind = "generated"
clips = 3
sizes = [{{ frames = 3, height = 64, width = 64 }}, {{ frames = 2, height = 64, width = 128 }}]
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
sources = {{ drawn = 1 }}
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
