"""Host memory that a GPU reads and writes by itself, while it computes."""

from __future__ import annotations

import mmap
import sys

import torch
from torch import Tensor

from depthcrafter_cli.errors import MemoryLimitError

# Private: containers keep shared memory short. Windows knows only one kind.
_KIND = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if sys.platform != "win32" else {}


class _Pages(mmap.mmap):
    """Anonymous pages, released by the driver before the system gets them back."""

    address = 0  # where they are registered

    def __del__(self) -> None:
        if self.address and not sys.is_finalizing():
            torch.cuda.cudart().cudaHostUnregister(self.address)


def host_memory(size: int, device: torch.device) -> Tensor:
    """``size`` bytes, uint8 [size], pinned where ``device`` is a CUDA device.

    PyTorch's own pinned memory comes in powers of two and is never given back; this is as large
    as asked for, and goes with the last tensor in it.

    Raises:
        MemoryLimitError: the system does not let so much be pinned.
    """
    pages = _Pages(-1, max(size, 1), **_KIND)
    memory = torch.frombuffer(pages, dtype=torch.uint8)
    if device.type == "cuda":
        address = memory.data_ptr()
        status = torch.cuda.cudart().cudaHostRegister(address, len(pages), 0)
        if int(status):
            raise MemoryLimitError(
                f"got no {size / 1e9:.2f} GB of pinned host memory (CUDA error {int(status)}), "
                "expected as much for weights or tensors that wait: lower --max-ram or raise "
                "--max-vram."
            )
        pages.address = address
    return memory[:size]


class Stash:
    """Buffers of host memory, kept from step to step, from window to window, from clip to clip.

    Sizes repeat, so after one pass nothing is allocated any more. Where they grow, with a larger
    picture or window, buffers that have become too small are given up for those that replace them.
    """

    def __init__(self) -> None:
        self._free: list[Tensor] = []

    def take(self, size: int, device: torch.device) -> Tensor:
        """A buffer of at least ``size`` bytes; see :func:`host_memory`."""
        fitting = [place for place, buffer in enumerate(self._free) if len(buffer) >= size]
        if fitting:
            return self._free.pop(min(fitting, key=lambda place: len(self._free[place])))
        if self._free:
            largest = max(range(len(self._free)), key=lambda place: len(self._free[place]))
            del self._free[largest]
        return host_memory(size, device)

    def give_back(self, buffer: Tensor) -> None:
        """A buffer that is not used any more, by copies under way least of all."""
        self._free.append(buffer)

    def clear(self) -> None:
        """Give the free buffers back to the system."""
        self._free.clear()
