"""The exponential moving average of weights: what is kept of a training run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class MovingAverage:
    """Averages the trained parameters of a network; with a decay of 0 it is the network.

    The decay starts low, ``(1 + step) / (10 + step)``, so that the average soon forgets where it
    began. Without a ``device`` it is where the network is.
    """

    def __init__(
        self, network: nn.Module, decay: float, device: torch.device | None = None
    ) -> None:
        self._decay = decay
        self._live = {name: p for name, p in network.named_parameters() if p.requires_grad}
        self._mean = {
            name: p.detach().to(device or p.device, copy=True)
            for name, p in self._live.items()
            if decay
        }

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after ``step`` steps."""
        if self._mean:
            decay = min(self._decay, (1 + step) / (10 + step))
            live = [p.detach().to(self._mean[name].device) for name, p in self._live.items()]
            torch._foreach_lerp_(list(self._mean.values()), live, 1 - decay)

    @torch.no_grad()
    def copy_to_network(self) -> None:
        """Overwrite the network's weights with their average."""
        for name, mean in self._mean.items():
            self._live[name].copy_(mean)

    @contextmanager
    def in_network(self) -> Iterator[None]:
        """Inside, the network has the averaged weights, and the average has the network's."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        """One tensor at a time, so that it takes no memory worth counting."""
        for name, mean in self._mean.items():
            kept = self._live[name].clone()
            self._live[name].copy_(mean)
            mean.copy_(kept)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the averaged tensors by parameter name."""
        return self._mean

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on averaging from ``state``."""
        for name, tensor in self._mean.items():
            tensor.copy_(state[name])
