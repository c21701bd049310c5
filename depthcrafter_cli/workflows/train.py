"""From a recipe to a model folder: draw clips, train every stage, export.

Everything finished stays in the work folder, so that a run that was killed goes on from there.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from depthcrafter_cli.errors import OutputError
from depthcrafter_cli.progress import Observer

if TYPE_CHECKING:
    from depthcrafter_cli.training.config import Optimisation, TrainingConfig
    from depthcrafter_cli.training.trainer import Stage


def train(
    config: "TrainingConfig", variant: str, work: Path, out: Path, observer: Observer
) -> None:
    """Train a model from nothing and write its folder ``out``.

    Raises:
        OutputError: ``out`` already holds a model.
    """
    from depthcrafter_cli.models.manifest import MANIFEST_NAME, write_manifest
    from depthcrafter_cli.training.clips import ClipCache, fill_cache
    from depthcrafter_cli.training.latents import LatentCache, encode_clips
    from depthcrafter_cli.training.networks import export
    from depthcrafter_cli.training.stages.image_encoder import ImageEncoderStage
    from depthcrafter_cli.training.stages.unet import UnetStage
    from depthcrafter_cli.training.stages.vae import VaeStage

    if (out / MANIFEST_NAME).exists():
        raise OutputError(f"{out} holds a model, expected a free folder: choose another --out.")
    seeds, mixed = range(config.data.clips), config.mixed_precision
    fill_cache(work / "clips", seeds, observer)
    clips = ClipCache(work / "clips", config.data.clips)

    def trained(make: "Callable[[], Stage]", plan: "Optimisation") -> "Stage":
        return _train_stage(make, plan, config.seed, work, observer)

    tower = trained(
        lambda: ImageEncoderStage(config.image_encoder, clips, mixed),
        config.image_encoder.optimisation,
    ).network.tower
    vae = trained(lambda: VaeStage(config.vae, clips, mixed), config.vae.optimisation).network.vae
    encode_clips(work / "clips", work / "latents", seeds, vae, tower, mixed, observer)
    latents = LatentCache(work / "latents")
    vae.register_to_config(scaling_factor=1 / latents.disparity_deviation())
    unet = trained(
        lambda: UnetStage(config.unet, config.image_encoder.embedding, latents, mixed),
        config.unet.optimisation,
    ).network
    export(out, unet, vae, tower)
    write_manifest(out, variant, settings=config.settings)


def _train_stage(
    make: "Callable[[], Stage]", plan: "Optimisation", seed: int, work: Path, observer: Observer
) -> "Stage":
    """A stage trained to its last step, starting from its checkpoint if there is one."""
    import torch

    from depthcrafter_cli.training.trainer import train as train_stage

    torch.manual_seed(seed)
    stage = make()
    train_stage(stage, plan, seed, work / f"{stage.name}.ckpt", observer)
    stage.network.eval().requires_grad_(False)
    return stage
