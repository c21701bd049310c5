"""Reading a recipe: TOML to checked values. Unknown, missing and ill-typed keys are errors."""

from __future__ import annotations

import sys
import types
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from depthcrafter_cli.errors import UsageError
from depthcrafter_cli.training.checks import check_recipe
from depthcrafter_cli.training.config import TrainingConfig

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
    check_recipe(recipe, path.name)
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
