"""From a recipe's ``[sources]`` to clips."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from depthcrafter_cli.datasets.clip import ClipSource
from depthcrafter_cli.datasets.generated import GeneratedClips
from depthcrafter_cli.datasets.index import lengths
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
from depthcrafter_cli.training.data.rejects import Rejects
from depthcrafter_cli.types import Size

_TOLD = 0.02  # of a clip's pictures: what is cropped less of need not be said


def open_sources(recipe: TrainingConfig, rejects: Rejects) -> dict[str, ClipSource]:
    """All sources of a recipe that are used, opened before any time is spent on the first.

    Raises:
        UsageError: a source is of an unknown kind.
        InputError: a source has no clips, or more that are not complete than ``rejects`` takes, or
            none long enough, or none of a size that the foundation can learn from.
    """
    used = {name for stage in recipe.stages for name in stage.sources}
    used |= recipe.other_sources
    sources = {name: open_source(recipe.sources[name]) for name in sorted(used)}
    for name, source in sources.items():
        rejects.add_rejected(name, source)
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


def leaks(recipe: TrainingConfig) -> Iterator[str]:
    """A sentence for each test set that the recipe trains on."""
    for name in sorted({name for stage in recipe.stages for name in stage.sources}):
        known = DATASETS.get(recipe.sources[name].kind)
        if known is not None and known.is_test:
            yield (
                f"The source {name} is the test set {recipe.sources[name].kind}: results of the "
                "trained model on it can be compared with nobody's. Use it for [validation] alone."
            )


def notes(recipe: TrainingConfig, sources: Mapping[str, ClipSource]) -> Iterator[str]:
    """Sentences on what is done to clips, and on those that are shorter than what is asked for."""
    for name, source in sources.items():
        lost = source.cropped_share() if isinstance(source, RecordedClips) else 0
        if lost >= _TOLD:
            how = (
                "cropped" if recipe.sources[name].keep_aspect else "squeezed (keep_aspect = false)"
            )
            yield (
                f"The clips of the source {name} are of another shape than its width and height: "
                f"{lost:.0%} of the first one is {how}."
            )
    for stage in recipe.stages:
        for name in stage.sources:
            longest = _longest(sources[name])
            if longest < stage.frames[1]:
                yield (
                    f"Stage {stage.name} asks for up to {stage.frames[1]} frames, and the longest "
                    f"clip of the source {name} has {longest}."
                )


def _longest(source: ClipSource) -> int:
    return max((source.shape(index)[0] for index in range(len(source))), default=0)


def _require_length(stage: StageConfig, name: str, source: ClipSource) -> None:
    longest = _longest(source)
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
        InputError: there are no clips, or none of them is complete.
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
    places, size = DATASETS[config.kind].places(root), Size(config.height, config.width)
    frames = lengths(places, config.kind, root)
    return RecordedClips(places, frames, size, root, keeps_aspect=config.keep_aspect)
