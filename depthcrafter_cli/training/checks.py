"""What no single key of a recipe can know: whether its parts fit together and can be trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from depthcrafter_cli.errors import UsageError
from depthcrafter_cli.models.manifest import SETTINGS
from depthcrafter_cli.pipeline.config import PipelineConfig
from depthcrafter_cli.text import parts_below
from depthcrafter_cli.training.config import (
    AdapterConfig,
    FoundationConfig,
    ImageEncoderConfig,
    ObjectiveConfig,
    Optimisation,
    SourceConfig,
    StageConfig,
    TrainingConfig,
    VaeConfig,
    ViewsConfig,
)

Require = Callable[[bool, str, str], None]
"""Told whether something is fine, what is wrong if it is not, and what to do about it."""

_GROUPS = 32  # the networks normalise their channels in that many groups
_VAE_LEVELS = 4  # so that a latent cell is 8 x 8 pixels
_MOST = 1_000_000_000  # of steps, clips or frames
_MOST_DRAWN = 1_000_000  # clips of a source
_MOST_CHANNELS = 1 << 14
_LARGEST_SIDE = 1 << 14  # of a picture, in pixels
_MOST_PIXELS = 1 << 34  # that a step may see: 50 GB of pictures
_LEAST_DEPTH = 1e-3  # below it the protocol of evaluation knows no depth


def check_recipe(recipe: TrainingConfig, where: str) -> None:
    """Refuse what would fail later; ``where`` names the recipe in messages.

    Raises:
        UsageError: its parts do not fit together, or a value cannot work.
    """

    def require(fine: bool, fault: str, remedy: str) -> None:
        if not fine:
            raise UsageError(f"{where} {fault}: {remedy}.")

    _check_parts(recipe, require)
    _check_settings(recipe.settings, require)
    starts_well = recipe.start_share == 0 or (0 < recipe.start_share < 1 and bool(recipe.weights))
    for key, fine, expected in (
        ("seed", recipe.seed >= 0, "0 or more"),
        ("workers", recipe.workers >= 0, "0 or more"),
        ("start_share", starts_well, "0, or for a recipe with weights less than 1"),
        ("bad_clips", 0 <= recipe.bad_clips < 1, "a share from 0 to less than 1"),
    ):
        require(fine, f"has {key} = {getattr(recipe, key)}, expected {expected}", "correct it")
    _check_objective(recipe.objective, require)
    if recipe.adapter:
        _check_adapter(recipe, recipe.adapter, require)
    if recipe.foundation:
        _check_foundation(recipe.foundation, require)
        _check_validated_sizes(recipe, recipe.foundation, require)
    if checks := recipe.validation:
        _require_counts(checks, ("every", "clips", "frames"), "[validation]", require)
        require(
            checks.max_depth > _LEAST_DEPTH,
            f"has max_depth = {checks.max_depth} in [validation], expected over {_LEAST_DEPTH}",
            "raise it",
        )
    for name, source in recipe.sources.items():
        _check_source(name, source, require)
    for stage in recipe.stages:
        _check_stage(stage, require)
        require(
            stage.keep == "last" or recipe.validation is not None,
            f'has keep = "best" in stage {stage.name!r}, expected [validation], which tells it',
            "add one",
        )
        if stage.views:
            _check_views(recipe, stage.name, stage.views, require)
        _check_step(recipe, stage, require)
        require(
            not stage.sampled_truth or recipe.latents == "streamed" or stage.trains == "decoder",
            f"has sampled_truth in stage {stage.name!r} and latents = {recipe.latents!r}, expected "
            "streamed ones, for each sample is encoded anew",
            "set it",
        )
        require(
            stage.trains != "decoder" or recipe.settings.get("steps") == 1,
            f"trains the decoder in stage {stage.name!r} on estimates of one step, expected "
            "steps = 1 in [settings]",
            "set it, or leave the stage out",
        )


def levels_apart(recipe: TrainingConfig) -> Iterator[str]:
    """A sentence where a model of one step is trained at levels that it never samples at."""
    trains = any(stage.trains != "decoder" for stage in recipe.stages)
    if trains and recipe.settings.get("steps") == 1 and not recipe.objective.levels:
        yield (
            "The model samples in one step, at the noise level 700 alone, and is trained at all "
            "levels: levels = [700.0] and level_shares = [1.0] in [objective] train what it does."
        )


def _check_parts(recipe: TrainingConfig, require: Require) -> None:
    require(
        bool(recipe.weights) != bool(recipe.foundation),
        "must start from either weights or a [foundation], and has both or neither",
        "keep one of them",
    )
    require(bool(recipe.stages), "has no [[stages]], expected at least one", "add one")
    names = recipe.stage_names
    require(len({*names}) == len(names), f"names stages {names}, expected different names", "mend")
    used = {source for stage in recipe.stages for source in stage.sources}
    used |= recipe.other_sources
    require(
        used <= set(recipe.sources),
        f"uses the sources {sorted(used - set(recipe.sources))}, which it does not define",
        "add them under [sources]",
    )


def _check_settings(settings: dict[str, int], require: Require) -> None:
    unknown = sorted(set(settings) - set(SETTINGS))
    require(
        not unknown, f"has {unknown} in [settings], expected only {list(SETTINGS)}", "remove them"
    )
    for key, least in SETTINGS.items():
        value = settings.get(key, least)
        fault = f"has {key} = {value} in [settings], expected {least} or more"
        require(value >= least, fault, "raise it")
    window = settings.get("window", PipelineConfig.window)
    overlap = settings.get("overlap", PipelineConfig.overlap)
    require(
        overlap < window,
        f"comes to overlap = {overlap} and window = {window} in [settings], expected an overlap "
        "below the window",
        "give both",
    )


def _check_objective(objective: ObjectiveConfig, require: Require) -> None:
    levels, shares = objective.levels, objective.level_shares
    require(len(levels) == len(shares), "needs as many level_shares as levels", "mend [objective]")
    require(
        all(level > 0 for level in levels)
        and all(share >= 0 for share in shares)
        and (not shares or any(shares)),
        f"has levels = {levels} and level_shares = {shares} in [objective], expected levels above "
        "0, and shares of which none is below 0 and one above",
        "mend them",
    )
    for key in ("far", "depth"):
        require(getattr(objective, key) >= 0, f"has {key} below 0 in [objective]", "raise it")


def _check_source(name: str, source: SourceConfig, require: Require) -> None:
    require(
        parts_below(name) == (name,),
        f"has a source {name!r}, which becomes the name of a folder, expected one without slashes "
        "and not ..",
        "rename it",
    )
    sides = [source.height, source.width]
    sides += [side for size in source.sizes for side in (size.height, size.width)]
    require(
        all(0 < side <= _LARGEST_SIDE and side % 8 == 0 for side in sides),
        f"has sides {sides} in the source {name!r}, expected multiples of 8 up to {_LARGEST_SIDE}",
        "correct them",
    )
    fault = f"has clips = {source.clips} in the source {name!r}, expected 0 to {_MOST_DRAWN}"
    require(0 <= source.clips <= _MOST_DRAWN, fault, "correct it")
    fault = f"has first_seed = {source.first_seed} in the source {name!r}, expected 0 or more"
    require(source.first_seed >= 0, fault, "raise it")
    fault = f"has sizes = {source.sizes} in the source {name!r}, expected frames and shares above 0"
    require(all(s.frames > 0 and s.share > 0 for s in source.sizes), fault, "raise them")


def _check_adapter(recipe: TrainingConfig, adapter: AdapterConfig, require: Require) -> None:
    require(
        1 <= adapter.rank <= _MOST_CHANNELS and adapter.alpha >= 0 and bool(adapter.targets),
        f"has rank = {adapter.rank}, alpha = {adapter.alpha} and targets = {adapter.targets} in "
        f"[adapter], expected a rank of 1 to {_MOST_CHANNELS}, an alpha from 0 on, and targets",
        "correct them",
    )
    require(
        bool(recipe.weights) and all(stage.trains != "decoder" for stage in recipe.stages),
        "has an [adapter], expected one for stages of the denoiser that start from weights",
        "leave it out",
    )


def _check_foundation(foundation: FoundationConfig, require: Require) -> None:
    unet = foundation.unet
    for name, part in foundation.trained.items():
        _check_optimisation(part.optimisation, f"[foundation.{name}]", require)
    require(
        bool(foundation.image_encoder) != bool(foundation.tower),
        "needs an [foundation.image_encoder] or a tower in [foundation], and has both or neither",
        "keep one of them",
    )
    require(
        (foundation.source is None) != bool(foundation.trained),
        f"has source = {foundation.source!r} in [foundation], expected one where a network of it "
        "is trained, and none elsewhere",
        "mend it",
    )
    if foundation.image_encoder:
        _check_tower(foundation.image_encoder, require)
    if foundation.vae:
        _check_vae(foundation.vae, require)
    require(
        bool(unet.channels)
        and len(unet.heads) == len(unet.channels)
        and len(unet.attention) in (0, len(unet.heads)),
        f"has {len(unet.channels)} channels, {len(unet.heads)} heads and "
        f"{len(unet.attention)} attention in [foundation.unet], expected one of each a level",
        "mend it",
    )
    require(
        all(0 < count <= _MOST_CHANNELS and count % _GROUPS == 0 for count in unet.channels),
        f"has the channels {unet.channels} in [foundation.unet], expected multiples of {_GROUPS} "
        f"up to {_MOST_CHANNELS}",
        "correct them",
    )
    require(
        all(heads > 0 for heads in unet.heads),
        f"has heads = {unet.heads} in [foundation.unet], expected each to be at least 1",
        "raise them",
    )


def _check_tower(tower: ImageEncoderConfig, require: Require) -> None:
    keys = ("hidden", "layers", "heads", "embedding", "frames")
    _require_counts(tower, keys, "[foundation.image_encoder]", require)
    require(
        tower.hidden % tower.heads == 0,
        f"has hidden = {tower.hidden} and heads = {tower.heads} in [foundation.image_encoder], "
        "expected a multiple of the heads",
        "round it",
    )


def _check_vae(vae: VaeConfig, require: Require) -> None:
    _require_counts(vae, ("frames", "pictures", "crop"), "[foundation.vae]", require)
    fault = f"has crop = {vae.crop} in [foundation.vae], expected a multiple of 8"
    require(vae.crop % 8 == 0, fault, "round it")
    require(
        len(vae.channels) == _VAE_LEVELS,
        f"has channels = {vae.channels} in [foundation.vae], expected {_VAE_LEVELS} of them",
        "mend it",
    )
    require(
        all(0 < count <= _MOST_CHANNELS and count % _GROUPS == 0 for count in vae.channels),
        f"has the channels {vae.channels} in [foundation.vae], expected multiples of {_GROUPS} up "
        f"to {_MOST_CHANNELS}",
        "correct them",
    )


def _check_validated_sizes(
    recipe: TrainingConfig, foundation: FoundationConfig, require: Require
) -> None:
    """The network does not exist yet that would refuse them, after hours of training others."""
    levels = _VAE_LEVELS if foundation.vae else 1
    multiple = 2 ** (levels - 1 + len(foundation.unet.channels) - 1)
    rounded = recipe.settings.get("multiple", multiple)
    require(
        rounded % multiple == 0,
        f"has multiple = {rounded} in [settings], expected a multiple of {multiple} for the "
        "network of [foundation]",
        "raise it",
    )
    for name in recipe.validation.sources if recipe.validation else []:
        source = recipe.sources[name]
        own = [] if source.kind in ("generated", "stacks") else [(source.height, source.width)]
        sizes = [(size.height, size.width) for size in source.sizes] or own
        require(
            all(side % multiple == 0 for size in sizes for side in size),
            f"has the sides {sizes} in the source {name!r} of [validation], expected multiples of "
            f"{multiple} for the network of [foundation]",
            "round them",
        )


def _check_stage(stage: StageConfig, require: Require) -> None:
    name = f"stage {stage.name!r}"
    require(
        len(stage.frames) == 2 and 1 <= stage.frames[0] <= stage.frames[1],
        f"{name} has frames = {stage.frames}, expected [least, most] from 1 up",
        "mend it",
    )
    require(
        bool(stage.sources) and all(share > 0 for share in stage.sources.values()),
        f"{name} has sources {stage.sources}, expected at least one, each with a share above 0",
        "mend it",
    )
    _require_counts(stage, ("batch",), name, require)
    _check_optimisation(stage, name, require)
    require(
        all(1 <= stride <= _MOST for stride in stage.strides),
        f"{name} has strides = {stage.strides}, expected numbers of frames from 1 up",
        "mend them",
    )
    require(
        stage.micro_batch >= 0 and stage.batch_frames >= 0,
        f"{name} has micro_batch = {stage.micro_batch} and batch_frames = {stage.batch_frames}, "
        "expected neither below 0",
        "raise them",
    )
    dropped = stage.condition_dropout
    require(
        dropped == 0 or (0 < dropped < 1 and stage.trains != "decoder"),
        f"{name} has condition_dropout = {dropped}, expected 0, or for a stage of the denoiser a "
        "share of less than 1",
        "mend it",
    )
    require(
        all(0 <= share < 1 for share in stage.skip_dropout)
        and not (stage.skip_dropout and stage.trains == "decoder"),
        f"{name} has skip_dropout = {stage.skip_dropout}, expected shares below 1, of the denoiser",
        "mend it",
    )
    require(
        stage.name.replace("-", "").replace("_", "").isalnum(),
        f"{name} becomes a file name, expected letters, digits, - and _ only",
        "rename it",
    )


def _check_views(recipe: TrainingConfig, name: str, views: ViewsConfig, require: Require) -> None:
    require(
        recipe.latents == "streamed",
        f"has views in stage {name!r} and latents = {recipe.latents!r}, expected streamed ones, "
        "for each view is encoded anew",
        "set it",
    )
    require(
        bool(views.sizes)
        and all(0 < side <= _LARGEST_SIDE for s in views.sizes for side in (s.height, s.width))
        and all(size.share > 0 for size in views.sizes),
        f"has views of the sizes {views.sizes} in stage {name!r}, expected at least one, of sides "
        f"from 1 to {_LARGEST_SIDE} and a share above 0",
        "mend them",
    )
    require(
        len(views.scales) == 2 and 0 < views.scales[0] <= views.scales[1],
        f"has views of the scales {views.scales} in stage {name!r}, expected [least, most] above 0",
        "mend them",
    )


def _check_step(recipe: TrainingConfig, stage: StageConfig, require: Require) -> None:
    """A step that no memory holds is refused here, not by the system after hours."""
    extents = [extent for name in stage.sources for extent in recipe.sources[name].extents]
    if stage.views:
        extents = [(size.height, size.width) for size in stage.views.sizes]
    areas = [height * width for height, width in extents]
    frames = max(stage.batch_frames, stage.batch * stage.frames[1])
    require(
        frames * max(areas) <= _MOST_PIXELS,
        f"stage {stage.name!r} shows {frames} frames of up to {max(areas)} pixels a step, expected "
        f"at most {_MOST_PIXELS} pixels",
        "lower batch, frames or the sides",
    )


def _check_optimisation(plan: Optimisation, name: str, require: Require) -> None:
    _require_counts(plan, ("steps", "save_every"), name, require)
    fault = f"{name} has keep_last = {plan.keep_last}, expected 0 or more"
    require(plan.keep_last >= 0, fault, "raise it")
    require(0 <= plan.ema < 1, f"{name} has ema {plan.ema}, expected 0 <= ema < 1", "mend it")
    rates = plan.learning_rate, plan.clip_norm
    require(
        min(rates) > 0 and plan.weight_decay >= 0,
        f"{name} has learning_rate = {rates[0]}, clip_norm = {rates[1]} and weight_decay = "
        f"{plan.weight_decay}, expected the first two above 0 and the last not below",
        "mend them (a large clip_norm clips nothing)",
    )
    require(
        all(0 < share <= 1 for share in plan.rates.values()),
        f"{name} has rates = {plan.rates}, expected shares of the learning rate above 0, up to 1",
        "mend them (what is not to learn is frozen)",
    )
    require(
        len(plan.betas) == 2 and all(0 <= beta < 1 for beta in plan.betas),
        f"{name} has betas = {plan.betas}, expected two from 0 to less than 1",
        "mend them",
    )


def _require_counts(table: Any, keys: Sequence[str], name: str, require: Require) -> None:
    wrong = [key for key in keys if not 1 <= getattr(table, key) <= _MOST]
    require(not wrong, f"has {wrong} in {name}, expected 1 to {_MOST}", "correct them")
