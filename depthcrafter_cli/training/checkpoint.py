"""Checkpoints that are either whole or absent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from depthcrafter_cli.errors import UsageError
from depthcrafter_cli.media.files import replacing
from depthcrafter_cli.structured import archive_errors, content_errors
from depthcrafter_cli.training.config import Optimisation, StageConfig, TrainingConfig
from depthcrafter_cli.training.data.origin import is_same
from depthcrafter_cli.training.ema import MovingAverage

Settings = dict[str, Any]

_KEYS = {"network", "optimizer", "average", "recipe", "step"}
_EXPECTED = (
    "expected a checkpoint of this stage: delete it and all later stages' to train them anew"
)


def settings_of(plan: Optimisation, seed: int, earlier: Sequence[Settings] = ()) -> Settings:
    """What a stage's weights follow from, next to the data and the start, as plain values."""
    return asdict(plan) | {"seed": seed, "earlier_stages": list(earlier)}


def earlier_stages(recipe: TrainingConfig, stage: StageConfig) -> list[Settings]:
    """What made the weights that a stage of a recipe starts from."""
    before = recipe.stages[: recipe.stages.index(stage)]
    return [asdict(one) | {"frozen": recipe.frozen} for one in before]


def require_same_stages(folder: Path, recipe: TrainingConfig) -> None:
    """Compare all checkpoints in ``folder`` with a recipe, before any of its stages is trained.

    Raises:
        UsageError: one was made with other settings, or after other stages.
    """
    for stage in recipe.stages:
        path = folder / f"{stage.name}.ckpt"
        if path.exists():
            content = _content(path, mmap=True)
            wanted = settings_of(stage, recipe.seed, earlier_stages(recipe, stage))
            _require_none(_changed(content["recipe"], wanted), path)


@dataclass
class TrainingState:
    """Everything a stage needs to go on as if never stopped.

    Random numbers need no state: every step draws from a stream seeded by its own number. Nor do
    weights that the stage does not train: they are those of the stage before.
    """

    network: nn.Module
    optimizer: Optimizer
    average: MovingAverage
    recipe: Settings
    step: int = 0

    def save(self, path: Path) -> None:
        """Replace ``path``, which is never half a checkpoint.

        Raises:
            OutputError: it cannot be written.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "network": self._trained(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.state_dict(),
            "recipe": self.recipe,
            "step": self.step,
        }
        with replacing(path) as file:
            try:
                torch.save(content, file)
            except RuntimeError as error:  # torch's own, about the half that is there
                raise error.__context__ or error from None

    def load(self, path: Path) -> None:
        """Go on from a checkpoint.

        Raises:
            UsageError: it was made by another recipe.
        """
        content = _content(path)
        trained = self._trained()
        changed = _changed(content["recipe"], self.recipe)
        if content["network"].keys() != trained.keys():
            changed.add("frozen")
        _require_none(changed, path)
        with content_errors(path, UsageError, _EXPECTED), torch.no_grad():
            for name, tensor in trained.items():
                tensor.copy_(content["network"][name])
            self.optimizer.load_state_dict(content["optimizer"])
            self.average.load_state_dict(content["average"])
            self.step = content["step"]

    def _trained(self) -> dict[str, Tensor]:
        return {
            name: parameter.detach()
            for name, parameter in self.network.named_parameters()
            if parameter.requires_grad
        }


def _content(path: Path, *, mmap: bool = False) -> dict[str, Any]:
    """What :meth:`TrainingState.save` wrote. Raises UsageError for a file that is damaged.

    With ``mmap`` only what is used is read, and tensors are not checked.
    """
    with content_errors(path, UsageError, _EXPECTED):
        with archive_errors():
            if not mmap:
                _require_whole(path)
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
        if not isinstance(content, dict) or content.keys() != _KEYS:
            raise ValueError("it is a checkpoint of something else")
        return content


def _require_whole(path: Path) -> None:
    # PyTorch writes checksums, but does not look at them.
    with ZipFile(path) as archive:
        if damaged := archive.testzip():
            raise ValueError(f"{damaged} in it does not match its checksum")


def _changed(noted: Settings, wanted: Settings) -> set[str]:
    # Where no earlier stages are noted there were none, or that is not known.
    before: Settings = {"earlier_stages": []} | noted
    return {key for key, value in wanted.items() if not is_same(before.get(key), value)}


def _require_none(changed: set[str], path: Path) -> None:
    if changed:
        raise UsageError(
            f"got the checkpoint {path} of a recipe with other {sorted(changed)}, expected the "
            "recipe it was begun with: restore it, choose another `work_dir`, or delete this and "
            "all later stages' checkpoints to train them anew."
        )
