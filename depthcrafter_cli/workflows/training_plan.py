"""What a recipe will take of a machine, told without training and without weights."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from depthcrafter_cli.progress import Warn, ignore

if TYPE_CHECKING:
    from depthcrafter_cli.datasets.clip import ClipSource
    from depthcrafter_cli.models.unet import DepthUNet
    from depthcrafter_cli.training.config import StageConfig, TrainingConfig
    from depthcrafter_cli.training.memory import StageMemory, Step


@dataclass(frozen=True)
class StagePlan:
    """A stage with its memory; ``step`` is the largest that goes through the network together.

    Both are None for a stage of the decoder, whose memory is not counted. ``clips`` are those that
    are long enough for it, ``longest`` the frames of the longest.
    """

    config: "StageConfig"
    clips: int
    longest: int
    step: "Step | None"
    memory: "StageMemory | None"


@dataclass(frozen=True)
class TrainingPlan:
    """A recipe's model and stages; ``frozen`` are the bytes of the networks that do not learn."""

    model: str
    precision: str
    processes: int
    frozen: int
    stages: tuple[StagePlan, ...]

    def bytes_of(self, memory: "StageMemory") -> tuple[int, int]:
        """What a stage takes of the device, at least and at most."""
        low, high = memory.working
        fixed = self.frozen + memory.kept
        return fixed + (high if self.precision == "fp32" else low), fixed + high

    @property
    def disk(self) -> int:
        """About what checkpoints take of the work folder, one of them being replaced."""
        memories = [(each.config, each.memory) for each in self.stages if each.memory]
        kept = [memory.checkpoint * (1 + stage.keep_last) for stage, memory in memories]
        return sum(kept) + max((memory.checkpoint for _stage, memory in memories), default=0)

    def details(self) -> dict[str, Any]:
        """Return the plan as plain values."""
        return {
            "model": self.model,
            "precision": self.precision,
            "processes": self.processes,
            "disk_bytes": self.disk,
            "stages": list(map(self._details, self.stages)),
        }

    def _details(self, stage: StagePlan) -> dict[str, Any]:
        told = {"name": stage.config.name, "clips": stage.clips, "longest_clip": stage.longest}
        if stage.memory is None or stage.step is None:
            return told
        return {
            **told,
            "clips_at_once": stage.step.clips,
            "frames": stage.step.frames,
            "trained_parameters": stage.memory.trained,
            "kept_bytes": stage.memory.kept,
            "host_bytes": stage.memory.on_host,
            "step_bytes": list(stage.memory.working),
            "device_bytes": list(self.bytes_of(stage.memory)),
        }


def plan_training(
    config: "TrainingConfig", processes: int = 1, warn: Warn = ignore
) -> TrainingPlan:
    """Count what a recipe will take; ``warn`` is told of clips that are left out, as by `train`.

    Raises:
        UsageError, InputError, WeightsError: as `train` does.
    """
    from depthcrafter_cli.models.weights import find_configs
    from depthcrafter_cli.training.adapter import require_adapters
    from depthcrafter_cli.training.data.rejects import Rejects
    from depthcrafter_cli.training.data.sources import open_sources

    clips = open_sources(config, Rejects(config.bad_clips, warn))
    if config.foundation is None:
        start = find_configs(config.weights)
        build, channels, cell, frozen = _published(start.path, config.precision)
        model = start.spec.title
    else:
        build, channels, cell, frozen = _new(config)
        model = "a new model"
    require_adapters(config)
    if config.adapter is not None:
        build = partial(_adapted, build, config)
    stages = tuple(
        _stage(stage, config, clips, build, channels, cell, processes) for stage in config.stages
    )
    return TrainingPlan(model, config.precision, processes, frozen, stages)


def _published(folder: Path, precision: str) -> tuple[Callable[[], "DepthUNet"], int, int, int]:
    """What makes the denoiser of a model folder, its latents' channels and side, and frozen bytes.

    What encodes works in the recipe's precision, the rest is kept in float32.
    """
    import torch
    from diffusers import AutoencoderKLTemporalDecoder
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    from depthcrafter_cli.models.layout import network_configs
    from depthcrafter_cli.models.unet import DepthUNet

    configs = network_configs(folder)
    with torch.device("meta"):
        vae = AutoencoderKLTemporalDecoder.from_config(configs["vae"])
        tower = CLIPVisionModelWithProjection(CLIPVisionConfig(**configs["image_encoder"]))
    encodes = sum(p.numel() for part in (vae.encoder, tower) for p in part.parameters())
    decodes = sum(p.numel() for p in vae.decoder.parameters())
    frozen = encodes * (4 if precision == "fp32" else 2) + 4 * decodes
    cell = 2 ** (len(vae.config.block_out_channels) - 1)
    build = partial(DepthUNet.from_config, configs["unet"])
    return build, vae.config.latent_channels, cell, frozen


def _adapted(build: Callable[[], "DepthUNet"], config: "TrainingConfig") -> "DepthUNet":
    """A denoiser with the recipe's adapter."""
    from depthcrafter_cli.training.adapter import add_adapter

    unet = build()
    assert config.adapter is not None
    add_adapter(unet, config.adapter, config.seed)
    return unet


def _new(config: "TrainingConfig") -> tuple[Callable[[], "DepthUNet"], int, int, int]:
    """As :func:`_published`, of a recipe's own networks; those that do not learn are small."""
    from depthcrafter_cli.models.layout import read_json
    from depthcrafter_cli.models.weights import find_configs
    from depthcrafter_cli.training.networks import build_unet

    foundation = config.foundation
    assert foundation is not None
    if foundation.image_encoder is not None:
        embedding = foundation.image_encoder.embedding
    else:
        tower = find_configs(foundation.tower).path / "image_encoder" / "config.json"
        embedding = int(read_json(tower)["projection_dim"])
    channels, cell = (4, 8) if foundation.vae is not None else (3, 1)
    return partial(build_unet, foundation.unet, embedding, channels), channels, cell, 0


def _stage(
    stage: "StageConfig",
    config: "TrainingConfig",
    clips: "dict[str, ClipSource]",
    build: Callable[[], "DepthUNet"],
    channels: int,
    cell: int,
    processes: int,
) -> StagePlan:
    from depthcrafter_cli.training.memory import Step, stage_memory

    shapes = [shape for name in stage.sources for shape in _shapes(clips[name])]
    shapes = [shape for shape in shapes if shape[0] >= stage.frames[0]]
    longest = max(length for length, _height, _width in shapes)
    if stage.trains == "decoder":
        return StagePlan(stage, len(shapes), longest, None, None)
    frames = min(longest, stage.frames[1])
    sizes = [(height, width) for _length, height, width in shapes]
    if stage.views is not None:
        sizes = [(size.height, size.width) for size in stage.views.sizes]
    height, width = max(sizes, key=lambda size: size[0] * size[1])
    total = max(1, stage.batch_frames // frames) if stage.batch_frames else stage.batch
    own = -(-total // processes)
    at_once = min(stage.micro_batch or own, own)
    step = Step(at_once, frames, channels, height // cell, width // cell)
    memory = stage_memory(build, stage, config.frozen, processes, step)
    return StagePlan(stage, len(shapes), longest, step, memory)


def _shapes(source: "ClipSource") -> Iterator[tuple[int, int, int]]:
    return (source.shape(index) for index in range(len(source)))
