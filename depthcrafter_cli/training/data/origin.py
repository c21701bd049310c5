"""What the clips, latents, checkpoints and networks kept in a work folder were made of."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from depthcrafter_cli.errors import UsageError
from depthcrafter_cli.media.files import write_whole
from depthcrafter_cli.structured import content_errors, json_object
from depthcrafter_cli.training.config import TrainingConfig

_NAME = "origin.json"
# What earlier versions did and did not note, where that is not zero, false or empty.
_ALWAYS: dict[str, Any] = {"betas": [0.9, 0.99], "mirror": True}


def require_origin(folder: Path, recipe: TrainingConfig, *, note: bool) -> None:
    """Compare with what ``folder`` was begun with; ``note`` it where nothing is known.

    It is to be noted once something is about to be made, so that a start that failed binds nobody.
    Sources may be added, and a generated one may grow, since its clips are numbered.

    Raises:
        UsageError: the recipe asks for other data than what is kept.
        OutputError: the note cannot be written.
    """
    path, wanted = folder / _NAME, _origin(recipe)
    known: dict[str, Any] = {}
    if path.exists():
        with content_errors(path, UsageError, "expected a note of ours: choose another `work_dir`"):
            known = json_object(path)
    differing = sorted(
        name for name, value in wanted.items() if not is_same(known.get(name, value), value)
    )
    if differing:
        raise UsageError(
            f"{folder} was begun with other values of {', '.join(differing)}, expected those that "
            "what it holds was made with: restore them, or choose another `work_dir`."
        )
    if note and known != {**known, **wanted}:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, (json.dumps({**known, **wanted}, indent=2) + "\n").encode())


def is_same(noted: Any, wanted: Any) -> bool:
    """Whether settings are those that were noted, by a version that may not have known them all.

    What it did not know is as good as not set - zero, false or empty - or what it always did.
    """
    if isinstance(noted, dict) and isinstance(wanted, dict):
        return all(
            is_same(noted.get(key, _ALWAYS.get(key)), value) for key, value in wanted.items()
        )
    if isinstance(noted, list) and isinstance(wanted, list):
        return len(noted) == len(wanted) and all(map(is_same, noted, wanted))
    return bool(noted == wanted) or not (noted or wanted)


def _origin(recipe: TrainingConfig) -> dict[str, Any]:
    values = {
        "seed": recipe.seed,
        "precision": recipe.precision,
        "weights": recipe.weights,
        "foundation": asdict(recipe.foundation) if recipe.foundation else None,
        "adapter": asdict(recipe.adapter) if recipe.adapter else None,
    }
    values |= {f"objective.{key}": value for key, value in asdict(recipe.objective).items()}
    for name, source in recipe.sources.items():
        # More clips may come, and lie elsewhere: what was made of each has its own fingerprint.
        without = ["clips", "path"]
        # An earlier version squeezed all clips, and noted nothing of it.
        without += ["keep_aspect"] if source.kind in ("generated", "stacks") else []
        values[f"sources.{name}"] = {
            key: value for key, value in asdict(source).items() if key not in without
        }
    return values
