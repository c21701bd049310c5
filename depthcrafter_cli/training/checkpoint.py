"""Checkpoints that are either whole or absent."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from depthcrafter_cli.training.ema import MovingAverage


@dataclass
class TrainingState:
    """Everything a stage needs to go on as if never stopped.

    Random numbers need no state: every step draws from a stream seeded by its own number.
    """

    network: nn.Module
    optimizer: Optimizer
    average: MovingAverage
    step: int = 0

    def save(self, path: Path) -> None:
        """Write to a neighbouring file first, so that ``path`` is never half a checkpoint."""
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.state_dict(),
            "step": self.step,
        }
        partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
        torch.save(content, partial)
        partial.replace(path)

    def load(self, path: Path) -> None:
        """Go on from a checkpoint."""
        content: dict[str, Any] = torch.load(path, weights_only=True)
        self.network.load_state_dict(content["network"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.average.load_state_dict(content["average"])
        self.step = content["step"]
