"""Where weights and waiting tensors are: on the device, or on the host until they are needed.

This is the only place that moves weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Residency:
    """Brings modules whose weights live on the host to ``device`` while they work.

    With ``hosted`` false all weights are on the device for good, and nothing moves. Modules that
    come in the same order again and again are sent for one ahead: while one computes, the copy of
    the next is under way. So there is room for two at a time, never for more.
    """

    def __init__(self, device: torch.device, hosted: bool) -> None:
        self._device, self._hosted = device, hosted
        self._copies = _CopyStream(device if hosted else torch.device("cpu"))
        self._following: dict[tuple[nn.Module, ...], tuple[nn.Module, ...]] = {}
        self._last: tuple[nn.Module, ...] = ()
        self._ahead: tuple[tuple[nn.Module, ...], list[Tensor]] = ((), [])

    @contextmanager
    def present(self, *modules: nn.Module) -> Iterator[None]:
        """Inside, the weights of ``modules`` are on the device."""
        if not self._hosted:
            yield
            return
        self._following[self._last], self._last = modules, modules
        tensors = _tensors(*modules)
        homes = [tensor.data for tensor in tensors]
        arrived = self._arrived(modules, homes)
        _place(tensors, arrived)
        self._send_for(self._following.get(modules, ()))
        try:
            yield
        finally:
            _place(tensors, homes)
            self._copies.finished()

    def _arrived(self, modules: tuple[nn.Module, ...], homes: list[Tensor]) -> list[Tensor]:
        expected, tensors = self._ahead
        self._ahead = ((), [])
        if expected == modules:
            self._copies.wait_for(tensors)
            return tensors
        return [host.to(self._device, non_blocking=True, copy=True) for host in homes]

    def _send_for(self, modules: tuple[nn.Module, ...]) -> None:
        if not modules or modules == self._last:
            return
        with self._copies.under_way():
            homes = [tensor.data for tensor in _tensors(*modules)]
            copies = [host.to(self._device, non_blocking=True, copy=True) for host in homes]
        self._ahead = (modules, copies)


class _CopyStream:
    """On CUDA a stream of its own for copies; elsewhere they are over when the call returns."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._copied: torch.cuda.Event | None = None
        self._used: list[torch.cuda.Event] = []

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """Copies made inside run beside the computation, once the block before it is done."""
        if self._stream is None:
            yield
            return
        for used in self._used:
            used.synchronize()  # its memory is free now: never three blocks at once
        with torch.cuda.stream(self._stream):
            yield
        self._copied = self._stream.record_event()

    def wait_for(self, tensors: list[Tensor]) -> None:
        """Let the computation wait for the last copies, and their memory for the computation."""
        if self._copied is not None:
            computation = torch.cuda.current_stream(self._device)
            computation.wait_event(self._copied)
            for tensor in tensors:
                tensor.record_stream(computation)

    def finished(self) -> None:
        """What was computed so far needs its weights no longer."""
        if self._stream is not None:
            self._used = [torch.cuda.current_stream(self._device).record_event()]


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


def _place(tensors: list[Tensor], contents: list[Tensor]) -> None:
    for tensor, content in zip(tensors, contents, strict=True):
        tensor.data = content


def _tensors(*modules: nn.Module) -> list[Tensor]:
    return [tensor for module in modules for tensor in (*module.parameters(), *module.buffers())]
