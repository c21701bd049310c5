"""Where weights and waiting tensors are: on the device, or on the host until they are needed.

This is the only place that moves weights. Copies from and to pinned memory run on the stream of the
computation, so nothing here has to wait for anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Residency:
    """Brings modules whose weights live on the host to ``device`` while they work.

    With ``hosted`` false all weights are on the device for good, and nothing moves.
    """

    def __init__(self, device: torch.device, hosted: bool) -> None:
        self._device, self._hosted = device, hosted

    @contextmanager
    def present(self, *modules: nn.Module) -> Iterator[None]:
        """Inside, the weights of ``modules`` are on the device."""
        if not self._hosted:
            yield
            return
        homes = [(tensor, tensor.data) for module in modules for tensor in _tensors(module)]
        for tensor, host in homes:
            tensor.data = host.to(self._device, non_blocking=True, copy=True)
        try:
            yield
        finally:
            for tensor, host in homes:
                tensor.data = host


def settle(network: nn.Module, device: torch.device, hosted: bool) -> None:
    """Put a loaded network where its weights live: the device, or (pinned) host memory."""
    if not hosted:
        network.to(device)
        return
    for tensor in _tensors(network):
        host = tensor.data.cpu()
        tensor.data = host.pin_memory() if device.type == "cuda" else host


def park(tensor: Tensor) -> Tensor:
    """A copy in host memory, pinned where that speeds the way back."""
    pinned = tensor.device.type == "cuda"
    host = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu", pin_memory=pinned)
    return host.copy_(tensor, non_blocking=pinned)


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    yield from module.parameters()
    yield from module.buffers()
