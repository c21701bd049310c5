"""What the two networks of stage 0 share: steps that draw their own batch, in one process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from depthcrafter_cli.training.data.clips import ClipCache
from depthcrafter_cli.training.precision import Precision


@dataclass(frozen=True)
class SeededStep:
    """One step's randomness and size; the whole batch is one piece."""

    seed: int
    step: int
    frames: int
    weight: ClassVar[float] = 1.0

    def rng(self) -> np.random.Generator:
        """The stream all random choices of the step come from."""
        return np.random.default_rng([self.seed, self.step])


class FoundationStage(nn.Module):
    """A network with what else it needs to learn; subclasses give the loss of a batch."""

    name: str

    def __init__(self, clips: ClipCache, frames: int, seed: int, precision: Precision) -> None:
        super().__init__()
        self._clips, self._frames, self._seed = clips, frames, seed
        self._precision = precision

    @property
    def network(self) -> nn.Module:
        """The network whose parameters are trained."""
        return self

    def pieces(self, steps: range) -> Iterator[list[SeededStep]]:
        """Yield one piece of data for each step."""
        for step in steps:
            yield [SeededStep(self._seed, step, self._frames)]

    def loss(self, network: nn.Module, piece: SeededStep) -> Tensor:
        """Return the loss of one batch."""
        return self.batch_loss(piece.rng())

    def batch_loss(self, rng: np.random.Generator) -> Tensor:
        """The loss of a batch, all random choices of which come from ``rng``."""
        raise NotImplementedError

    def clips(
        self, rng: np.random.Generator, clips: int, frames: int, crop: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return what :meth:`ClipCache.batch` does, on the network's device."""
        device = next(self.parameters()).device
        rgb, disparity = self._clips.batch(rng, clips, frames, crop)
        return rgb.to(device), disparity.to(device)


def noise_like(rng: np.random.Generator, like: Tensor) -> Tensor:
    """Standard normal, drawn on the CPU, so that every device trains on the same."""
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    return torch.randn(like.shape, generator=generator).to(like)
