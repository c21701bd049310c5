"""Reading a recipe: TOML to checked values. Unknown, missing and ill-typed keys are errors."""

from __future__ import annotations

import sys
import types
from collections.abc import Sequence
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from depthcrafter_cli.errors import UsageError
from depthcrafter_cli.training.config import StageConfig, TrainingConfig

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def load_recipe(path: Path) -> TrainingConfig:
    """Read a recipe.

    Raises:
        UsageError: the file is missing, no TOML, has unknown, missing or ill-typed keys, or its
            parts do not fit together.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {path} ({error.strerror}): name a recipe file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is no TOML ({error}): mend the file") from error
    recipe: TrainingConfig = _value(TrainingConfig, table, path.name)
    _check(recipe, path.name)
    return recipe


def _value(expected: Any, value: Any, where: str) -> Any:
    """``value`` as the type ``expected``; ``where`` names it in messages."""
    origin, inner = get_origin(expected), get_args(expected)
    if is_dataclass(expected) and isinstance(value, dict):
        return _table(expected, value, where)
    if origin in (Union, types.UnionType):
        return _value(inner[0], value, where)
    if origin is Literal:
        if value in inner:
            return value
        raise UsageError(f"{where} is {value!r}, expected one of {list(inner)}: choose one")
    if origin is list and isinstance(value, list):
        return [_value(inner[0], item, f"{where}[{i}]") for i, item in enumerate(value)]
    if origin is dict and isinstance(value, dict):
        return {key: _value(inner[1], item, f"{where}.{key}") for key, item in value.items()}
    if expected is float and type(value) is int:
        return float(value)
    if type(value) is not expected:
        name = getattr(origin or expected, "__name__", expected)
        if is_dataclass(expected):
            name = "table"
        raise UsageError(f"{where} is a {type(value).__name__}, expected a {name}: mend it")
    return value


def _table(kind: Any, table: dict[str, Any], where: str) -> Any:
    hints = get_type_hints(kind)
    if unknown := sorted(set(table) - set(hints)):
        raise UsageError(
            f"{where} has unknown keys {unknown}, expected only {sorted(hints)}: remove them"
        )
    values = {key: _value(hints[key], item, f"{where}: {key}") for key, item in table.items()}
    needed = {f.name for f in fields(kind) if f.default is f.default_factory is MISSING}
    if lacking := sorted(needed - set(table)):
        raise UsageError(f"{where} lacks the keys {lacking}, expected {sorted(needed)}: add them")
    return kind(**values)


def _check(recipe: TrainingConfig, where: str) -> None:
    """What no single key can know."""

    def require(fine: bool, fault: str, remedy: str) -> None:
        if not fine:
            raise UsageError(f"{where} {fault}: {remedy}")

    require(
        bool(recipe.weights) != bool(recipe.foundation),
        "must start from either weights or a [foundation], and has both or neither",
        "keep one of them",
    )
    require(bool(recipe.stages), "has no [[stages]], expected at least one", "add one")
    names = recipe.stage_names
    require(len({*names}) == len(names), f"names stages {names}, expected different names", "mend")
    used = {source for stage in recipe.stages for source in stage.sources}
    used |= {recipe.validation.source} if recipe.validation else set()
    used |= {recipe.foundation.source} if recipe.foundation else set()
    require(
        used <= set(recipe.sources),
        f"uses the sources {sorted(used - set(recipe.sources))}, which it does not define",
        "add them under [sources]",
    )
    levels, shares = recipe.objective.levels, recipe.objective.level_shares
    require(len(levels) == len(shares), "needs as many level_shares as levels", "mend [objective]")
    require(recipe.objective.far >= 0, "has far below 0 in [objective]", "raise it")
    require(recipe.workers >= 0, f"has workers = {recipe.workers}, expected 0 or more", "raise it")
    if recipe.foundation:
        unet = recipe.foundation.unet
        require(
            len(unet.heads) == len(unet.channels) and len(unet.attention) in (0, len(unet.heads)),
            f"has {len(unet.channels)} channels, {len(unet.heads)} heads and "
            f"{len(unet.attention)} attention in [foundation.unet], expected one of each a level",
            "mend it",
        )
    if checks := recipe.validation:
        _require_counts(checks, ("every", "clips", "frames"), "[validation]", require)
    for name, source in recipe.sources.items():
        sides = [source.height, source.width]
        sides += [side for size in source.sizes for side in (size.height, size.width)]
        require(
            all(side > 0 and side % 8 == 0 for side in sides),
            f"has sides {sides} in the source {name!r}, expected multiples of 8",
            "round them",
        )
    for stage in recipe.stages:
        _check_stage(stage, require)


def _check_stage(stage: StageConfig, require: Any) -> None:
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
    _require_counts(stage, ("steps", "batch", "save_every"), name, require)
    require(
        stage.micro_batch >= 0 and stage.batch_frames >= 0,
        f"{name} has micro_batch = {stage.micro_batch} and batch_frames = {stage.batch_frames}, "
        "expected neither below 0",
        "raise them",
    )
    require(
        stage.name.replace("-", "").replace("_", "").isalnum(),
        f"{name} becomes a file name, expected letters, digits, - and _ only",
        "rename it",
    )
    require(0 <= stage.ema < 1, f"{name} has ema {stage.ema}, expected 0 <= ema < 1", "mend it")


def _require_counts(table: Any, keys: Sequence[str], name: str, require: Any) -> None:
    low = [key for key in keys if getattr(table, key) < 1]
    require(not low, f"has {low} in {name} below 1, expected at least 1", "raise them")
