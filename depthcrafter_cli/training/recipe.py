"""Reading a recipe: TOML to checked values. Unknown, missing and ill-typed keys are errors."""

from pathlib import Path

from depthcrafter_cli.errors import UsageError
from depthcrafter_cli.structured import content_errors, toml_table, typed
from depthcrafter_cli.training.checks import check_recipe
from depthcrafter_cli.training.config import TrainingConfig


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
