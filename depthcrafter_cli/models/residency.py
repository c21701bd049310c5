"""Where weights are: on the device, or on the host until they are needed.

This is the only place that moves weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from depthcrafter_cli.models.copies import Copies, copies_for
from depthcrafter_cli.models.host import HostMemory

_ALIGNMENT = 64

Modules = tuple[nn.Module, ...]


class Residency:
    """Brings modules whose weights are kept on the host to ``device`` while they work.

    With ``offloaded`` false all weights are on the device for good, and nothing moves. Modules that
    come in the same order again and again are sent for one ahead: while one computes, the copy of
    the next is under way. So there is room for two at a time, never for more.
    """

    def __init__(self, device: torch.device, offloaded: bool, copies: Copies | None = None) -> None:
        """``copies`` is for tests."""
        self._device, self._hosted = device, offloaded
        self._copies = copies or copies_for(device if offloaded else torch.device("cpu"))
        self._following: dict[Modules, Modules] = {}
        self._last: Modules = ()
        self._ahead: tuple[Modules, list[Tensor], Any] | None = None

    @contextmanager
    def on_device(self, *modules: nn.Module) -> Iterator[None]:
        """Inside, the weights of ``modules`` are on the device."""
        if not self._hosted:
            yield
            return
        self._following[self._last], self._last = modules, modules
        tensors = _tensors(*modules)
        on_host = [tensor.data for tensor in tensors]
        arrived = self._arrived(modules)
        try:
            _place(tensors, arrived)
            following = self._following.get(modules, ())
            if following and following != modules:
                self._ahead = self._send_for(following)
            yield
        finally:
            _place(tensors, on_host)

    def _arrived(self, modules: Modules) -> list[Tensor]:
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            self._copies.wait(ahead[2])
        if ahead is None or ahead[0] != modules:
            ahead = None  # makes room
            ahead = self._send_for(modules)
            self._copies.wait(ahead[2])
        return ahead[1]

    def _send_for(self, modules: Modules) -> tuple[Modules, list[Tensor], Any]:
        on_host = [tensor.data for tensor in _tensors(*modules)]
        places = [torch.empty_like(tensor, device=self._device) for tensor in on_host]
        return modules, places, self._copies.begin(places, on_host)


def settle(
    network: nn.Module, device: torch.device, offloaded: bool, host_memory: HostMemory
) -> None:
    """Put a loaded network where its weights are kept, if it is not there: the device, or the host.

    Raises:
        MemoryLimitError: the host does not have so much memory.
    """
    tensors = _tensors(network)
    if not offloaded:
        # What is there stays: from cpu to cpu:0, the device of several processes, would be a copy.
        if any(tensor.device.type != device.type for tensor in tensors):
            network.to(device)
    elif any(tensor.device.type != "cpu" for tensor in tensors):
        on_host = host_like(tensors, device, host_memory)
        for copy, tensor in zip(on_host, tensors, strict=True):
            copy.copy_(tensor.data)
        _place(tensors, on_host)


def host_like(
    tensors: Sequence[Tensor], device: torch.device, host_memory: HostMemory
) -> list[Tensor]:
    """Places on the host for tensors of such shapes and types, pinned for ``device``.

    Raises:
        MemoryLimitError: the host does not have so much memory.
    """
    ends = _ends(tensors)
    memory = host_memory.memory(ends[-1] if ends else 0, device)
    return [
        memory[end - _padded(tensor) :][: tensor.nbytes].view(tensor.dtype).view(tensor.shape)
        for tensor, end in zip(tensors, ends, strict=True)
    ]


def _ends(tensors: Sequence[Tensor]) -> list[int]:
    """Where each tensor's place ends, in bytes, all of them in a row."""
    ends, end = [], 0
    for tensor in tensors:
        end += _padded(tensor)
        ends.append(end)
    return ends


def _padded(tensor: Tensor) -> int:
    return int(-(-tensor.nbytes // _ALIGNMENT) * _ALIGNMENT)


def _place(tensors: list[Tensor], contents: list[Tensor]) -> None:
    for tensor, content in zip(tensors, contents, strict=True):
        tensor.data = content


def _tensors(*modules: nn.Module) -> list[Tensor]:
    return [tensor for module in modules for tensor in (*module.parameters(), *module.buffers())]
