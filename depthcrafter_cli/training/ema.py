"""The exponential moving average of weights: what is kept of a training run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from depthcrafter_cli.training.sharding import own


class MovingAverage:
    """Averages the trained parameters of a network; with a decay of 0 it is the network.

    The decay starts low, ``(1 + step) / (10 + step)``, so that the average soon forgets where it
    began. Without a ``device`` it is where the network is. Where processes share the weights, it
    averages their parts.
    """

    def __init__(
        self, network: nn.Module, decay: float, device: torch.device | None = None
    ) -> None:
        self._decay = decay
        self._live = {name: p for name, p in network.named_parameters() if p.requires_grad}
        self._mean = {
            name: own(p.detach()).to(device or p.device, copy=True)
            for name, p in self._live.items()
            if decay
        }

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after ``step`` steps."""
        if self._mean:
            decay = min(self._decay, (1 + step) / (10 + step))
            live = [own(p.detach()).to(mean.device) for mean, p in self._pairs()]
            torch._foreach_lerp_(list(self._mean.values()), live, 1 - decay)

    @torch.no_grad()
    def copy_to_network(self) -> None:
        """Overwrite the network's weights with their average."""
        for mean, live in self._pairs():
            own(live).copy_(mean)

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
        for mean, live in self._pairs():
            kept = own(live).clone()
            own(live).copy_(mean)
            mean.copy_(kept)

    def _pairs(self) -> Iterator[tuple[Tensor, Tensor]]:
        return ((mean, self._live[name]) for name, mean in self._mean.items())

    def state_dict(self) -> dict[str, Tensor]:
        """Return the averaged tensors by parameter name."""
        return self._mean

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on averaging from ``state``."""
        for name, tensor in self._mean.items():
            tensor.copy_(state[name])
