"""From a recipe to a model folder: a start, its data, every stage in order, export.

Everything finished stays in the work folder, so that a run that was killed goes on from there.
"""

import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from depthcrafter_cli.disk import make_folder, remove_parts
from depthcrafter_cli.errors import DepthCrafterError, MemoryLimitError, OutputError, UsageError
from depthcrafter_cli.memory.budget import shares_memory
from depthcrafter_cli.progress import Observer, Warn, ignore

if TYPE_CHECKING:
    import torch

    from depthcrafter_cli.datasets.clip import ClipSource
    from depthcrafter_cli.models.components import Components
    from depthcrafter_cli.models.registry import ModelSpec
    from depthcrafter_cli.models.weights import InstalledModel
    from depthcrafter_cli.training.config import StageConfig, TrainingConfig
    from depthcrafter_cli.training.precision import Precision
    from depthcrafter_cli.training.trainer import Session
    from depthcrafter_cli.workflows.training_request import TrainingRequest


_SHARDED = "ACCELERATE_USE_FSDP"
# Other ways to share the model, and a setting of this one, that are not ours.
_UNKNOWN = ("ACCELERATE_USE_DEEPSPEED", "ACCELERATE_USE_MEGATRON_LM", "FSDP_OFFLOAD_PARAMS")
_LAUNCHED = "ACCELERATE_MIXED_PRECISION"  # set by accelerate launch


def train(
    config: "TrainingConfig", request: "TrainingRequest", observer: Observer, warn: Warn = ignore
) -> "ModelSpec":
    """Carry out ``config``, the recipe of ``request``: a model, and one after every stage.

    What is returned is known of the weights that it began as, and whose licences it has.

    Started by ``accelerate launch`` or ``torchrun``, processes share the batch, with
    ``share_model`` the network too. ``warn`` is told of a GPU that is there and not used. With
    ``export`` nothing is trained. The model's card holds the recipe's text.

    Raises:
        Interrupted: it was asked to stop; the step it was at is saved.
        MemoryLimitError: memory ran out; what was saved before is kept.
        OutputError: ``out`` is not free, or another run is at work in ``work_dir`` or on ``out``.
        UsageError: ``resume`` and ``work_dir`` holds no checkpoint, or it was begun with other data
            or stages, or a package or PyTorch lacks what is asked for, or processes cannot share
            the network.
        InputError: clips that any of the stages needs are missing or not complete.
        WeightsError: the weights to start from are missing or damaged.
    """
    from depthcrafter_cli.media.files import claimed
    from depthcrafter_cli.training.adapter import require_adapters
    from depthcrafter_cli.training.checkpoint import require_same_stages
    from depthcrafter_cli.training.data.origin import require_origin
    from depthcrafter_cli.training.data.rejects import Rejects
    from depthcrafter_cli.training.data.sources import leaks, notes, open_sources
    from depthcrafter_cli.training.journal import require_tensorboard
    from depthcrafter_cli.training.optimizers import require_optimizers

    if int(os.environ.get("RANK", "0")):
        warn = ignore  # one of several processes speaks for all
    _require_free(request.out, request.work_dir)
    out, work = request.out.resolve(), request.work_dir.resolve()
    request = replace(request, out=out, work_dir=work)
    recipe = request.recipe.read_text(encoding="utf-8")
    if request.resume and not any((work / f"{name}.ckpt").exists() for name in config.stage_names):
        raise UsageError(
            f"got `resume=True`, expected a checkpoint in {work}, and there is none: leave it out."
        )
    require_optimizers(config)
    require_adapters(config)
    if request.tensorboard:
        require_tensorboard()
    rejects = Rejects(config.bad_clips, warn)
    clips = open_sources(config, rejects)
    for sentence in (*leaks(config), *notes(config, clips)):
        warn(sentence)
    session = replace(
        _session(config, request, observer, warn),
        rejects=rejects,
        deadline=time.monotonic() + (request.time_limit or math.inf),
        export=request.export,
    )
    with claimed([work, out] if session.leads else []):
        require_origin(work, config, note=False)
        for sentence in require_same_stages(work, config) if session.leads else ():
            warn(sentence)
        if request.export is not None:
            config = _until_exported(config, request.export, work)
        began_as = _carry_out(config, request, recipe, clips, session, warn)
        if names := _of_all_processes(rejects.names):
            warn(f"Left out in all, for they cannot be used: {', '.join(names)}.")
        if session.leads:
            remove_parts(work)  # what a run that was killed left, of files that were not due again
    session.accelerator.wait_for_everyone()
    return began_as


def _carry_out(
    config: "TrainingConfig",
    request: "TrainingRequest",
    recipe: str,
    clips: "dict[str, ClipSource]",
    session: "Session",
    warn: Warn,
) -> "ModelSpec":
    from depthcrafter_cli.models.manifest import MANIFEST_NAME
    from depthcrafter_cli.models.registry import base_of
    from depthcrafter_cli.training.adapter import add_adapter, save_adapter
    from depthcrafter_cli.training.card import model_card
    from depthcrafter_cli.training.checks import levels_apart
    from depthcrafter_cli.training.data.latents import Encoder
    from depthcrafter_cli.training.model_folder import date_as, is_dated_as, write_model
    from depthcrafter_cli.training.networks import average_with_start, save_trained
    from depthcrafter_cli.training.precision import suited_precision
    from depthcrafter_cli.training.recipe import suited
    from depthcrafter_cli.training.stages.decoder import train_decoder
    from depthcrafter_cli.training.stages.denoiser import train_denoiser
    from depthcrafter_cli.workflows.validation import validator

    precision = suited_precision(config.precision, session.accelerator.device, warn)
    start = _start(config, clips, precision, session)
    if config.foundation is None:
        config = suited(config, start.settings)
    for sentence in levels_apart(config):
        warn(sentence)
    networks = _load(start.path, precision)
    if config.adapter is not None:
        add_adapter(networks.unet, config.adapter, config.seed)
    encoder = Encoder(networks.vae, networks.image_encoder, precision.dtype, config.objective.far)
    if config.validation:
        show = session.journal.show if session.journal.has_pictures else None
        validate = validator(config, networks, clips, session.rejects, show)
        session = session.validated(validate, config.validation.every)
    tuned = any(stage.trains == "decoder" for stage in config.stages)
    decoder = networks.vae.decoder if tuned else None
    name = request.recipe.stem
    manifest = {"model": name, "settings": config.settings, "base": base_of(start.spec)}

    def save(folder: Path, share: float) -> None:
        if config.adapter is not None:
            save_adapter(folder, networks.unet, config.adapter, share)
            return
        if share:
            average_with_start(networks.unet, start.path, share)
        save_trained(folder, start.path, networks.unet, decoder)

    def deliver(folder: Path, *, share: float = 0.0, overwrite: bool = False) -> None:
        of_adapter = config.adapter is not None
        card = model_card(name, start.spec, recipe, session.journal.lines(), of_adapter)
        write_model(partial(save, share=share), manifest, card, folder, overwrite=overwrite)

    for stage in config.stages:
        shown = {name: clips[name] for name in stage.sources}
        with memory_errors(stage, session.accelerator.device):
            if stage.trains == "decoder":
                train_decoder(stage, config, networks, encoder, shown, precision, session)
            else:
                train_denoiser(stage, config, networks.unet, encoder, shown, precision, session)
        if session.export is not None:
            continue
        after = session.folder / f"after-{stage.name}"
        checkpoint = session.folder / f"{stage.name}.ckpt"
        if session.leads and not is_dated_as(checkpoint, after / MANIFEST_NAME):
            deliver(after, overwrite=True)
            date_as(checkpoint, after)
    if session.leads:
        deliver(request.out, share=config.start_share)
    return start.spec


def _of_all_processes(names: list[str]) -> list[str]:
    from accelerate.utils import gather_object

    gathered: list[str] = gather_object(names)
    return sorted({*gathered})


def _until_exported(config: "TrainingConfig", export: Path, work: Path) -> "TrainingConfig":
    """The recipe up to the stage of a checkpoint. Raises UsageError where one before lacks steps.

    Its stages before must be done, for its weights go on from theirs.
    """
    from depthcrafter_cli.training.checkpoint import stage_of, steps_done

    names, name = [stage.name for stage in config.stages], stage_of(export)
    if name not in names:
        raise UsageError(
            f"got the checkpoint {export} of a stage {name!r}, expected one of the recipe's "
            f"({', '.join(names)}): give the recipe that it was made by."
        )
    stages = config.stages[: names.index(name) + 1]
    for stage in stages[:-1]:
        path = work / f"{stage.name}.ckpt"
        if not path.exists() or steps_done(path) < stage.steps:
            raise UsageError(
                f"got the checkpoint {export}, whose stage goes on from {stage.name!r}, expected "
                f"{path} with its {stage.steps} steps: give the work folder that it was made in."
            )
    return replace(config, stages=stages)


@contextmanager
def memory_errors(stage: "StageConfig", device: "torch.device") -> Iterator[None]:
    """Turns memory that ran out in a stage into one sentence, which says what takes less."""
    try:
        yield
    except Exception as error:
        from depthcrafter_cli.models.device_memory import out_of_memory

        shortage = None if isinstance(error, DepthCrafterError) else out_of_memory(error, device)
        if shortage is None:
            raise
        lower = [f"frames below {stage.frames[1]}"]
        lower += [] if stage.micro_batch == 1 else ["micro_batch = 1"]
        lower += [] if stage.checkpointing else ["checkpointing = true"]
        if not shares_memory(device.type):
            lower += ['ema_on = "host"'] * (stage.ema > 0 and stage.ema_on == "device")
            movable = stage.optimizer == "adamw" and stage.optimizer_on == "device"
            lower += ['optimizer_on = "host"'] * movable
        raise MemoryLimitError(
            f"stage {stage.name!r} does not fit into memory ({shortage.words}), expected room for "
            f"its step of up to {stage.frames[1]} frames: set {' or '.join(lower)} in the recipe "
            "and start the same command again, which goes on from what is saved.",
            shortage.words,
        ) from error


def _require_free(out: Path, work: Path) -> None:
    from depthcrafter_cli.media.files import output_errors, require_folder

    with output_errors(out):
        is_taken = out.exists() and (not out.is_dir() or any(out.iterdir()))
    if is_taken:
        raise OutputError(
            f"got `out` {out}, which holds something, expected a free folder: choose another `out`."
        )
    for place in (out, work):
        require_folder(place, place, is_made=True)
    if out.resolve() == Path.cwd():
        raise OutputError(
            f"got `out` {out}, the folder you are in, which a finished model would take the place "
            "of, expected another: name a new one."
        )
    if work.resolve().is_relative_to(out.resolve()):
        raise OutputError(
            f"got `out` {out}, which the work folder {work} is in, expected one of its own: choose "
            "another `out`."
        )


def _session(
    config: "TrainingConfig", request: "TrainingRequest", observer: Observer, warn: Warn
) -> "Session":
    from accelerate import Accelerator
    from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs

    from depthcrafter_cli.models.devices import make_current, pick_device
    from depthcrafter_cli.training.journal import Journal
    from depthcrafter_cli.training.sharding import require_sharding
    from depthcrafter_cli.training.trainer import Session

    for name in _UNKNOWN:
        if os.environ.get(name, "").lower() == "true":
            raise UsageError(
                f"got {name}, expected processes that share the batch, or the model by FSDP alone: "
                "launch it without."
            )
    share_model = request.share_model or os.environ.get(_SHARDED, "").lower() == "true"
    os.environ.pop(_SHARDED, None)  # or accelerate would do it, in its own way
    warnings: list[str] = []
    chosen = pick_device(request.device, warnings.append)
    make_current(chosen)
    # Cross-attention to one token gives its queries no gradient (training/shortcuts.py).
    spread = DistributedDataParallelKwargs(find_unused_parameters=True)
    # While one process validates or encodes its clips, the others wait for it.
    patience = InitProcessGroupKwargs(timeout=timedelta(hours=12))
    accelerator = Accelerator(
        cpu=chosen.type == "cpu",
        mixed_precision="no",  # the recipe's precision rules, not that of accelerate's own config
        kwargs_handlers=[spread, patience],
    )
    if share_model:
        require_sharding(config, accelerator.num_processes)
    leads = accelerator.is_main_process
    if chosen.type == "cpu" and accelerator.num_processes == 1 and _LAUNCHED in os.environ:
        warnings.append(
            "Training runs in one process: on a CPU accelerate launch starts no more, expected for "
            "several: start them with torchrun (docs/training.md)."
        )
    for sentence in warnings if leads else ():
        warn(sentence)
    work = request.work_dir
    make_folder(work)
    journal = Journal(work, active=leads, tensorboard=request.tensorboard)
    return Session(accelerator, work, journal, config.seed, observer, shares_model=share_model)


def _start(
    config: "TrainingConfig",
    clips: "dict[str, ClipSource]",
    precision: "Precision",
    session: "Session",
) -> "InstalledModel":
    """The model that the denoiser's stages start from."""
    from depthcrafter_cli.models.weights import find_weights
    from depthcrafter_cli.training.data.origin import require_origin
    from depthcrafter_cli.training.foundation import make_foundation

    note = partial(require_origin, session.folder, config, note=session.leads)
    if config.foundation is None:
        found = find_weights(config.weights)
        if found.adapter is not None:
            raise UsageError(
                f'got weights = "{config.weights}" in the recipe, a model with an adapter, '
                "expected a model alone: leave the adapter out."
            )
        note()
        return found
    note()
    name = config.foundation.source
    source = None if name is None else clips[name]
    mirror = name is None or config.sources[name].mirror
    made = make_foundation(config.foundation, source, precision, session, mirror=mirror)
    return find_weights(str(made))


def _load(start: Path, precision: "Precision") -> "Components":
    import torch

    from depthcrafter_cli.models.loading import load_components
    from depthcrafter_cli.training.networks import trainable_networks
    from depthcrafter_cli.training.shortcuts import (
        collapse_cross_attention,
        flatten_temporal_convolutions,
    )

    networks = load_components(
        start, device=precision.device, dtype=torch.float32, build=trainable_networks
    )
    for network in (networks.unet, networks.vae.decoder):
        for parameter in network.parameters():
            parameter.data = parameter.data.clone()  # it may be a view of the file
        flatten_temporal_convolutions(network)
    collapse_cross_attention(networks.unet)
    return networks
