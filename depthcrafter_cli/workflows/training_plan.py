"""What a recipe will take of a machine, told without training and without weights."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from depthcrafter_cli.progress import Warn, ignore

if TYPE_CHECKING:
    from depthcrafter_cli.datasets.clip import ClipSource
    from depthcrafter_cli.memory.architecture import Architecture
    from depthcrafter_cli.models.unet import DepthUNet
    from depthcrafter_cli.models.weights import InstalledModel
    from depthcrafter_cli.training.config import FoundationConfig, StageConfig, TrainingConfig
    from depthcrafter_cli.training.memory import StageMemory, Step


@dataclass(frozen=True)
class StagePlan:
    """A stage with its memory; ``step`` is the largest that goes through the network together.

    Both are None for a stage of the decoder, whose memory is not counted. ``clips`` are those that
    are long enough for it, ``longest`` the frames of the longest; ``total`` are shown in that step,
    which takes so many ``operations`` of floating-point numbers.
    """

    config: "StageConfig"
    clips: int
    longest: int
    total: int
    operations: float
    step: "Step | None"
    memory: "StageMemory | None"


@dataclass(frozen=True)
class ValidationPlan:
    """So many ``clips`` and ``frames``; ``working`` are the bytes beside what is kept.

    ``operations`` are of floating-point numbers, each time.
    """

    clips: int
    frames: int
    working: int
    operations: float


SHARED_BY = (2, 4, 8)
"""By how many cards a model may be shared, of which the plan tells."""


@dataclass(frozen=True)
class TrainingPlan:
    """A recipe's model and stages; ``frozen`` are the bytes of the networks that do not learn.

    ``shareable`` is whether several processes may share the network that does.
    """

    model: str
    precision: str
    processes: int
    frozen: int
    shareable: bool
    stages: tuple[StagePlan, ...]
    validation: ValidationPlan | None = None

    def bytes_of(self, memory: "StageMemory") -> tuple[int, int]:
        """What a stage takes of the device, at least and at most."""
        low, high = memory.working
        fixed = self.frozen + memory.kept
        return fixed + (high if self.precision == "fp32" else low), fixed + high

    def validates_in(self, memory: "StageMemory") -> int:
        """What validation takes of the device, 0 where there is none."""
        working = 0 if self.validation is None else self.validation.working
        return working and self.frozen + memory.kept + working

    def steps_of_validation(self, stage: StagePlan) -> float:
        """By operations, how many steps of a stage last as long as validation once."""
        return self.validation.operations / stage.operations if self.validation else 0.0

    def shared(self, stage: StagePlan) -> dict[int, int]:
        """By the number of processes that share the network: about what each takes at most."""
        memory, step = stage.memory, stage.step
        if memory is None or step is None or not self.shareable:
            return {}
        most = {count: min(step.clips, -(-stage.total // count)) for count in SHARED_BY}
        return {
            count: self.frozen
            + memory.kept_by_each(count)
            + memory.working[1] * clips // step.clips
            for count, clips in most.items()
        }

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
            "shared_device_bytes": {str(n): taken for n, taken in self.shared(stage).items()},
            "validation_bytes": self.validates_in(stage.memory),
            "validation_in_steps": round(self.steps_of_validation(stage), 2),
        }


def plan_training(
    config: "TrainingConfig", processes: int = 1, warn: Warn = ignore, device: str = "cuda"
) -> TrainingPlan:
    """Count what a recipe will take; ``warn`` is told of clips that are left out, as by `train`.

    ``device`` is the kind that the training is for.

    Raises:
        UsageError, InputError, WeightsError: as `train` does.
    """
    from depthcrafter_cli.models.unet import DepthUNet
    from depthcrafter_cli.models.weights import find_configs
    from depthcrafter_cli.training.adapter import require_adapters
    from depthcrafter_cli.training.data.rejects import Rejects
    from depthcrafter_cli.training.data.sources import open_sources
    from depthcrafter_cli.training.recipe import suited
    from depthcrafter_cli.training.sharding import sharding_obstacle

    clips = open_sources(config, Rejects(config.bad_clips, warn))
    build: Callable[[], DepthUNet]
    if config.foundation is None:
        start = find_configs(config.weights)
        config, name = suited(config, start.settings), start.spec.title
        model, unet = _published(start)
        build = partial(DepthUNet.from_config, unet)
    else:
        model, build = _new(config.foundation)
        name = "a new model"
    require_adapters(config)
    if config.adapter is not None:
        build = partial(_adapted, build, config)
    # What encodes works in the recipe's precision, the rest is kept in float32.
    encodes = model.encoder_parameters + model.image_encoder_parameters
    return TrainingPlan(
        model=name,
        precision=config.precision,
        processes=processes,
        frozen=encodes * (4 if config.precision == "fp32" else 2) + 4 * model.decoder_parameters,
        shareable=not sharding_obstacle(config),
        stages=tuple(
            _stage(each, config, clips, build, model, processes) for each in config.stages
        ),
        validation=_validation(config, clips, model, device),
    )


def _published(start: "InstalledModel") -> "tuple[Architecture, dict[str, Any]]":
    """The networks of a model folder, and its denoiser's config."""
    from depthcrafter_cli.memory.architecture import Architecture
    from depthcrafter_cli.models.layout import network_configs
    from depthcrafter_cli.models.silent import silent_layers

    configs = network_configs(start.path)
    silent = {name: silent_layers(start.path, name) for name in ("unet", "vae")}
    return Architecture.of(**configs, silent=silent), configs["unet"]


def _new(foundation: "FoundationConfig") -> "tuple[Architecture, Callable[[], DepthUNet]]":
    """A recipe's own networks, and what makes the denoiser."""
    import torch

    from depthcrafter_cli.memory.architecture import Architecture
    from depthcrafter_cli.models.layout import network_configs
    from depthcrafter_cli.models.weights import find_configs
    from depthcrafter_cli.training.networks import (
        build_image_encoder,
        build_unet,
        build_vae,
        identity_vae,
    )

    with torch.device("meta"):
        vae = build_vae(foundation.vae) if foundation.vae else identity_vae()
        if foundation.image_encoder is not None:
            tower = build_image_encoder(foundation.image_encoder).config.to_dict()
        else:
            tower = network_configs(find_configs(foundation.tower).path)["image_encoder"]
        embedding, channels = int(tower["projection_dim"]), vae.config.latent_channels
        build = partial(build_unet, foundation.unet, embedding, channels)
        configs = {"unet": build().config, "vae": vae.config, "image_encoder": tower}
    return Architecture.of(**configs), build


def _adapted(build: Callable[[], "DepthUNet"], config: "TrainingConfig") -> "DepthUNet":
    """A denoiser with the recipe's adapter."""
    from depthcrafter_cli.training.adapter import add_adapter

    unet = build()
    assert config.adapter is not None
    add_adapter(unet, config.adapter, config.seed)
    return unet


def _stage(
    stage: "StageConfig",
    config: "TrainingConfig",
    clips: "dict[str, ClipSource]",
    build: Callable[[], "DepthUNet"],
    model: "Architecture",
    processes: int,
) -> StagePlan:
    from depthcrafter_cli.memory.work import operations
    from depthcrafter_cli.training.memory import Step, stage_memory

    shapes = [shape for name in stage.sources for shape in _shapes(clips[name])]
    shapes = [shape for shape in shapes if shape[0] >= stage.frames[0]]
    longest = max(length for length, _height, _width in shapes)
    frames = min(longest, stage.frames[1])
    total = max(1, stage.batch_frames // frames) if stage.batch_frames else stage.batch
    if stage.trains == "decoder":
        return StagePlan(stage, len(shapes), longest, total, 0.0, None, None)
    sizes = [(height, width) for _length, height, width in shapes]
    if stage.views is not None:
        sizes = [(size.height, size.width) for size in stage.views.sizes]
    height, width = max(sizes, key=lambda size: size[0] * size[1])
    inside = height // model.factor, width // model.factor
    own = -(-total // processes)
    step = Step(min(stage.micro_batch or own, own), frames, model.latent_channels, *inside)
    # A pass backwards is two forwards; where blocks are computed again, three.
    work = total * (4 if stage.checkpointing else 3) * operations(model.unet, frames, *inside)
    if config.latents == "streamed":  # of disparity, too
        picture = 2 * operations(model.encoder, 1, height, width, temporal=False)
        work += total * frames * (model.image_encoder_operations + picture)
    memory = stage_memory(build, stage, config.frozen, processes, step)
    return StagePlan(stage, len(shapes), longest, total, work, step, memory)


def _validation(
    config: "TrainingConfig", clips: "dict[str, ClipSource]", model: "Architecture", device: str
) -> ValidationPlan | None:
    """What the pipeline takes for the clips that are held out, all in float32."""
    from depthcrafter_cli.memory.estimate import Weights, Workload, estimate
    from depthcrafter_cli.memory.work import Work
    from depthcrafter_cli.pipeline.windows import count_windows
    from depthcrafter_cli.types import MemoryPlan, Size
    from depthcrafter_cli.workflows.validation import held_out, pipeline_settings

    shown = [shape for _name, _index, shape in held_out(config, clips)]
    settings, working, total = pipeline_settings(config), 0, 0.0
    for frames, height, width in shown:
        window, chunk = min(settings.window, frames), min(settings.decode_chunk, frames)
        workload = Workload(Size(width, height), window, chunk, 4)
        batch = min(settings.encode_batch, frames)
        peaks = estimate(model, workload, replace(MemoryPlan.default(device), encode_batch=batch))
        working = max(working, peaks.device - Weights.of(model, workload).total)
        work = Work.of(model, workload)
        passes = settings.steps * count_windows(frames, settings.window, settings.overlap) * window
        total += frames * (work.image_encoder + work.encode + work.decode) + passes * work.denoise
    return ValidationPlan(len(shown), max(s[0] for s in shown), working, total) if shown else None


def _shapes(source: "ClipSource") -> Iterator[tuple[int, int, int]]:
    return (source.shape(index) for index in range(len(source)))
