"""Host memory that a GPU reads and writes by itself, while it computes."""

from __future__ import annotations

import mmap
import sys
from collections.abc import Callable

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
        self._free: list[tuple[Tensor, Callable[[], None]]] = []

    def take(self, size: int, device: torch.device) -> Tensor:
        """A buffer of at least ``size`` bytes; see :func:`host_memory`."""
        lengths = {place: len(buffer) for place, (buffer, _) in enumerate(self._free)}
        fitting = [place for place, length in lengths.items() if length >= size]
        if fitting:
            return self._free.pop(min(fitting, key=lengths.__getitem__))[0]
        if lengths:
            self._give_up(max(lengths, key=lengths.__getitem__))
        return host_memory(size, device)

    def give_back(self, buffer: Tensor, finish: Callable[[], None]) -> None:
        """A buffer that may be used again, by copies that begin after those under way.

        ``finish`` returns when those are done, so that the system may have the buffer.
        """
        self._free.append((buffer, finish))

    def clear(self) -> None:
        """Give the free buffers back to the system."""
        while self._free:
            self._give_up(-1)

    def _give_up(self, place: int) -> None:
        buffer, finish = self._free.pop(place)
        finish()
        del buffer

    def __del__(self) -> None:
        if not sys.is_finalizing():
            self.clear()
