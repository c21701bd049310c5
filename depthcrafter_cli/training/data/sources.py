"""From a recipe's ``[sources]`` to clips."""

from __future__ import annotations

from depthcrafter_cli.datasets.clip import ClipSource
from depthcrafter_cli.datasets.generated import GeneratedClips
from depthcrafter_cli.datasets.recorded import RecordedClips
from depthcrafter_cli.datasets.registry import DATASETS
from depthcrafter_cli.datasets.stacks import StackedFrames
from depthcrafter_cli.errors import InputError, UsageError
from depthcrafter_cli.text import expanded
from depthcrafter_cli.training.config import (
    FoundationConfig,
    SourceConfig,
    StageConfig,
    TrainingConfig,
)
from depthcrafter_cli.training.data.clips import LARGEST, clips_for_foundation
from depthcrafter_cli.types import Size


def open_sources(recipe: TrainingConfig) -> dict[str, ClipSource]:
    """All sources of a recipe that are used, opened before any time is spent on the first.

    Raises:
        UsageError: a source is of an unknown kind.
        InputError: a source has no clips, or one that is not complete, or none long enough, or
            none of a size that the foundation can learn from.
    """
    used = {name for stage in recipe.stages for name in stage.sources}
    used |= recipe.other_sources
    sources = {name: open_source(recipe.sources[name]) for name in sorted(used)}
    for stage in recipe.stages:
        for name in stage.sources:
            _require_length(stage, name, sources[name])
    for name in recipe.validation.sources if recipe.validation else []:
        if not len(sources[name]):
            raise InputError(
                f"got no clip in the source {name!r}, expected some for [validation]: give it "
                "clips."
            )
    if recipe.foundation and recipe.foundation.source is not None:
        _require_sizes(recipe.foundation, sources[recipe.foundation.source])
    return sources


def _require_length(stage: StageConfig, name: str, source: ClipSource) -> None:
    longest = max((source.shape(index)[0] for index in range(len(source))), default=0)
    if longest < stage.frames[0]:
        raise InputError(
            f"got clips of at most {longest} frames in the source {name!r}, expected at least "
            f"{stage.frames[0]} for stage {stage.name!r}: add longer ones or lower its frames."
        )


def _require_sizes(foundation: FoundationConfig, source: ClipSource) -> None:
    name, crop = foundation.source, foundation.vae.crop if foundation.vae else 1
    sizes = {(width, height) for _, height, width in clips_for_foundation(source)}
    if not sizes:
        raise InputError(
            f"got no clip of at most {LARGEST} pixels in the source {name!r}, expected some for "
            "[foundation], such as 256x128: add smaller ones or name another source."
        )
    width, height = min(sizes, key=min)
    if min(width, height) < crop:
        raise InputError(
            f"got clips of {width}x{height} pixels in the source {name!r}, expected sides of at "
            f"least the {crop} of crop in [foundation.vae]: lower it or take larger clips."
        )


def open_source(config: SourceConfig) -> ClipSource:
    """The clips a recipe names.

    Raises:
        UsageError: the kind is unknown.
        InputError: there are no clips, or one of them is not complete.
    """
    if config.kind == "generated":
        return GeneratedClips(
            config.clips, config.sizes, first_seed=config.first_seed, style=config.style
        )
    if config.kind == "stacks":
        return StackedFrames(expanded(config.path))
    if config.kind not in DATASETS:
        raise UsageError(
            f"got a source of kind {config.kind!r}, expected one of "
            f"{['generated', 'stacks', *DATASETS]}: choose one."
        )
    root = expanded(config.path)
    return RecordedClips(DATASETS[config.kind].clips(root), Size(config.height, config.width), root)
