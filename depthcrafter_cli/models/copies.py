"""Copies between the host and a device, beside the computation where the device can do that."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from depthcrafter_cli.models.host import in_pieces


class Copies:
    """Copies that are done when the call returns: the host's own memory, and devices like it.

    The rules hold for every kind: a copy begins after all that was asked of the device before it,
    and the computation waits for a copy before it uses or frees either side. So memory that the
    allocator gives out again has been let go by both, and no tensor needs to be kept for longer.
    What goes back to the system instead, as the host's memory does, has to :meth:`finish` first.
    """

    def begin(self, targets: Sequence[Tensor], sources: Sequence[Tensor]) -> Any:
        """Copy each source into its target; a mark to wait for."""
        for target, source in zip(targets, sources, strict=True):
            target.copy_(source)

    def wait(self, mark: Any) -> None:
        """Let the computation go on only when the copies up to ``mark`` are done."""

    @staticmethod
    def finish(mark: Any) -> None:
        """Return only when the copies up to ``mark`` are done."""


class SideStream(Copies):
    """Copies on a CUDA stream of their own; the host side must be pinned to run beside."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)

    def begin(self, targets: Sequence[Tensor], sources: Sequence[Tensor]) -> Any:
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            for pair in zip(targets, sources, strict=True):
                for target, source in in_pieces(*pair):
                    target.copy_(source, non_blocking=True)
            return self._stream.record_event()

    def wait(self, mark: Any) -> None:
        torch.cuda.current_stream(self._device).wait_event(mark)

    @staticmethod
    def finish(mark: Any) -> None:
        mark.synchronize()

    def __del__(self) -> None:
        # Copies not waited for, such as those a failure left, still use memory on both sides.
        if not sys.is_finalizing() and hasattr(self, "_stream"):
            with suppress(RuntimeError):  # a GPU that has failed says so where it is used
                self._stream.synchronize()


def copies_for(device: torch.device) -> Copies:
    """The kind of copies a device can do."""
    return SideStream(device) if device.type == "cuda" else Copies()
