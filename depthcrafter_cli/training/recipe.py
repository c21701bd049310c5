"""Reading a recipe: TOML to checked values. Unknown, missing and ill-typed keys are errors."""

from dataclasses import replace
from pathlib import Path

from depthcrafter_cli.errors import UsageError
from depthcrafter_cli.models.manifest import SETTINGS
from depthcrafter_cli.models.registry import ModelSettings
from depthcrafter_cli.pipeline.config import PipelineConfig
from depthcrafter_cli.structured import content_errors, toml_table, typed
from depthcrafter_cli.training.checks import check_recipe
from depthcrafter_cli.training.config import TrainingConfig


def suited(recipe: TrainingConfig, start: ModelSettings) -> TrainingConfig:
    """The recipe with all settings: those of the model it starts from, but for what it says.

    Raises UsageError where they do not fit together.
    """
    settings = {**{name: getattr(start, name) for name in SETTINGS}, **recipe.settings}
    PipelineConfig(**{name: settings[name] for name in ("window", "overlap", "steps")})
    return replace(recipe, settings=settings)


def load_recipe(path: Path) -> TrainingConfig:
    """Read a recipe.

    Raises:
        UsageError: the file is missing, no TOML, has unknown, missing or ill-typed keys, or its
            parts do not fit together.
    """
    with content_errors(path, UsageError, "expected a recipe in TOML: correct it"):
        recipe: TrainingConfig = typed(TrainingConfig, toml_table(path), path.name)
    check_recipe(recipe, path.name)
    return recipe
