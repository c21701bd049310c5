"""Tensors that wait on the host until the computation comes back to them."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from depthcrafter_cli.models.copies import Copies, copies_for
from depthcrafter_cli.models.host import HostMemory


class Offload:
    """Copies tensors to the host and back while the device computes."""

    def __init__(
        self,
        device: torch.device,
        host_memory: HostMemory | None = None,
        copies: Copies | None = None,
    ) -> None:
        """``host_memory`` keeps the buffers for the next one; ``copies`` is for tests."""
        self.device = device
        self.host_memory = HostMemory() if host_memory is None else host_memory
        self.copies = copies_for(device) if copies is None else copies
        self._leaving: list[tuple[Tensor, Any]] = []

    def send(self, tensor: Tensor) -> Offloaded:
        """Send a contiguous tensor to the host. Until :meth:`wait` it must not be changed."""
        buffer = self.host_memory.take(tensor.nbytes, self.device)
        offloaded = Offloaded(self, buffer, tensor)
        offloaded.mark = self.copies.begin([offloaded.host], [tensor])
        self._leaving.append((tensor, offloaded.mark))
        return offloaded

    def wait(self) -> None:
        """Wait until all copies to the host are done: their places on the device are free."""
        for _, mark in self._leaving:
            self.copies.wait(mark)
        self._leaving.clear()


class Offloaded:
    """A tensor on the host, read from front to back in pieces, each sent for while the one
    before it is used: never more than two pieces are on the device.
    """

    def __init__(self, offload: Offload, buffer: Tensor, like: Tensor) -> None:
        self._offload, self._buffer = offload, buffer
        self.host = buffer[: like.nbytes].view(like.dtype).view(like.shape)
        self.mark: Any = None  # of the last copy from or to the buffer
        self._ahead: tuple[slice, Tensor] | None = None

    def __getitem__(self, span: slice) -> Tensor:
        """Return items ``span`` of the tensor, on the device."""
        ahead, self._ahead = self._ahead, None
        if ahead is None or ahead[0] != span:
            ahead = self._send_for(span)
        self._offload.copies.wait(self.mark)
        following = slice(span.stop, min(2 * span.stop - span.start, len(self.host)))
        if following.start < following.stop:
            self._ahead = self._send_for(following)
        return ahead[1]

    def _send_for(self, span: slice) -> tuple[slice, Tensor]:
        host = self.host[span]
        piece = torch.empty_like(host, device=self._offload.device)
        self.mark = self._offload.copies.begin([piece], [host])
        return span, piece

    def __del__(self) -> None:
        if self._ahead is not None:
            # A failure left it: its place on the device may be given out again at once.
            self._offload.copies.wait(self.mark)
        finish = partial(self._offload.copies.finish, self.mark)
        self._offload.host_memory.give_back(self._buffer, finish)
