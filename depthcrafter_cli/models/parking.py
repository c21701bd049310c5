"""Tensors that wait on the host until the computation comes back to them."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from depthcrafter_cli.models.copies import Copies, copies_for
from depthcrafter_cli.models.host import Stash


class Parking:
    """The way to the host and back, beside the computation."""

    def __init__(
        self, device: torch.device, stash: Stash | None = None, copies: Copies | None = None
    ) -> None:
        """``stash`` keeps the host memory for the next one; ``copies`` is for tests."""
        self.device = device
        self.stash = Stash() if stash is None else stash
        self.copies = copies_for(device) if copies is None else copies
        self._leaving: list[tuple[Tensor, Any]] = []

    def park(self, tensor: Tensor) -> Parked:
        """Send a contiguous tensor to the host. Until :meth:`departed` it must not be changed."""
        buffer = self.stash.take(tensor.nbytes, self.device)
        parked = Parked(self, buffer, tensor)
        parked.mark = self.copies.begin([parked.host], [tensor])
        self._leaving.append((tensor, parked.mark))
        return parked

    def departed(self) -> None:
        """What was parked is on the host: its place on the device may be used again."""
        for _, mark in self._leaving:
            self.copies.wait(mark)
        self._leaving.clear()


class Parked:
    """A tensor on the host, read from front to back in pieces, each sent for while the one
    before it is used: never more than two pieces are on the device.
    """

    def __init__(self, parking: Parking, buffer: Tensor, like: Tensor) -> None:
        self._parking, self._buffer = parking, buffer
        self.host = buffer[: like.nbytes].view(like.dtype).view(like.shape)
        self.mark: Any = None  # of the last copy from or to the buffer
        self._ahead: tuple[slice, Tensor] | None = None

    def __getitem__(self, span: slice) -> Tensor:
        """Some items on the device."""
        ahead, self._ahead = self._ahead, None
        if ahead is None or ahead[0] != span:
            ahead = self._send_for(span)
        self._parking.copies.wait(self.mark)
        following = slice(span.stop, min(2 * span.stop - span.start, len(self.host)))
        if following.start < following.stop:
            self._ahead = self._send_for(following)
        return ahead[1]

    def _send_for(self, span: slice) -> tuple[slice, Tensor]:
        host = self.host[span]
        piece = torch.empty_like(host, device=self._parking.device)
        self.mark = self._parking.copies.begin([piece], [host])
        return span, piece

    def __del__(self) -> None:
        finish = partial(self._parking.copies.finish, self.mark)
        self._parking.stash.give_back(self._buffer, finish)
