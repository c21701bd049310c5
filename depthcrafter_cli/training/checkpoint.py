"""Checkpoints that are either whole or absent."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from depthcrafter_cli.errors import UsageError
from depthcrafter_cli.media.files import replacing
from depthcrafter_cli.training.ema import MovingAverage


@dataclass
class TrainingState:
    """Everything a stage needs to go on as if never stopped.

    Random numbers need no state: every step draws from a stream seeded by its own number. Nor do
    weights that the stage does not train: they are those of the stage before.
    """

    network: nn.Module
    optimizer: Optimizer
    average: MovingAverage
    recipe: dict[str, Any]
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
        with replacing(path) as partial, partial.open("wb") as file:
            try:
                torch.save(content, file)
            except RuntimeError as error:  # in which torch hides why the file cannot be written
                reason = error.__context__
                raise reason if isinstance(reason, OSError) else error from None

    def load(self, path: Path) -> None:
        """Go on from a checkpoint.

        Raises:
            UsageError: it was made by another recipe.
        """
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        before, trained = content["recipe"], self._trained()
        changed = {key for key, value in self.recipe.items() if before.get(key) != value}
        if content["network"].keys() != trained.keys():
            changed.add("frozen")
        if changed:
            raise UsageError(
                f"got the checkpoint {path} of a recipe with other {sorted(changed)}, expected "
                "the recipe it was begun with: restore it, or choose another --work-dir."
            )
        with torch.no_grad():
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
