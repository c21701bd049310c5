"""Host memory that a GPU reads and writes by itself, while it computes."""

from __future__ import annotations

import mmap
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import pairwise

import torch
from torch import Tensor

from depthcrafter_cli.errors import MemoryLimitError
from depthcrafter_cli.progress import Warn, ignore
from depthcrafter_cli.types import MemoryPlan

# Private: containers keep shared memory short. Windows knows only one kind.
_KIND = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if sys.platform != "win32" else {}
# Drivers refuse large pieces sooner. Pieces end at multiples of this, so that an address alone
# tells where: CUDA copies nothing that lies in two of them.
_PIECE_BYTES = 256 << 20


class _Pages(mmap.mmap):
    """Anonymous pages, released by the driver before the system gets them back."""

    pinned: tuple[int, ...] = ()  # where pieces are registered

    def __del__(self) -> None:
        if not sys.is_finalizing():
            for address in self.pinned:
                torch.cuda.cudart().cudaHostUnregister(address)


def host_memory(size: int, device: torch.device, warn: Warn = ignore) -> Tensor:
    """``size`` bytes, uint8 [size], pinned where ``device`` is a CUDA device.

    PyTorch's own pinned memory comes in powers of two and is never given back; this is as large
    as asked for, and goes with the last tensor in it. What CUDA refuses to pin is used all the
    same, only copied more slowly, and ``warn`` is told of it.

    Raises:
        MemoryLimitError: the system does not have so much.
    """
    try:
        pages = _Pages(-1, max(size, 1), **_KIND)
    except (OSError, MemoryError, OverflowError) as error:
        raise MemoryLimitError(
            f"got no {size / 1e9:.2f} GB of host memory ({error}), expected as much for weights or "
            "tensors that wait: close other programs, lower `max_ram` or raise `max_vram`."
        ) from error
    memory = torch.frombuffer(pages, dtype=torch.uint8)
    if device.type == "cuda":
        _pin(pages, memory, device, warn)
    return memory[:size]


def _pin(pages: _Pages, memory: Tensor, device: torch.device, warn: Warn) -> None:
    start, end = memory.data_ptr(), memory.data_ptr() + len(memory)
    while start < end:
        stop = min(end, _next_piece(start))
        status = int(torch.cuda.cudart().cudaHostRegister(start, stop - start, 0))
        if status:
            _clear_error(device)
            warn(
                f"CUDA pins no more host memory (error {status}): copies between the GPU and the "
                "host go on, but take longer."
            )
            return
        pages.pinned += (start,)
        start = stop


def _next_piece(address: int) -> int:
    """Where the piece that holds an address ends."""
    return (address // _PIECE_BYTES + 1) * _PIECE_BYTES


def _clear_error(device: torch.device) -> None:
    """Let CUDA forget its last error, which the next kernel would be blamed for.

    PyTorch asks for it after each kernel, by which it is cleared, and raises it.
    """
    with suppress(RuntimeError, AssertionError):  # the latter from a PyTorch without CUDA
        torch.ones(1, device=device)
        torch.cuda.synchronize(device)


def in_pieces(target: Tensor, source: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """The parts of a contiguous tensor's copy to or from the host that CUDA does at once.

    It refuses a copy whose host memory is partly pinned, or was pinned in two pieces.
    """
    host = target if target.device.type == "cpu" else source
    start, end = host.data_ptr(), host.data_ptr() + host.nbytes
    if end <= _next_piece(start):
        yield target, source
        return
    cuts = [start, *range(_next_piece(start), end, _PIECE_BYTES), end]
    counts = [(cut - last) // host.itemsize for last, cut in pairwise(cuts)]
    yield from zip(target.view(-1).split(counts), source.view(-1).split(counts), strict=True)


class HostMemory:
    """Buffers of host memory, kept from step to step, from window to window, from clip to clip.

    Sizes repeat, so after one pass nothing is allocated any more. Where they grow, with a larger
    picture or window, buffers that have become too small are given up for those that replace them.
    """

    def __init__(self, warn: Warn = ignore) -> None:
        """``warn`` is told once if host memory cannot be pinned."""
        self._free: list[tuple[Tensor, Callable[[], None]]] = []
        self.warn, self._warned = warn, False
        self._plan: MemoryPlan | None = None

    def serve(self, plan: MemoryPlan) -> None:
        """Be ready for a plan: under another one than before, other sizes wait, or none."""
        if plan != self._plan:
            self.clear()
        self._plan = plan

    def memory(self, size: int, device: torch.device) -> Tensor:
        """New memory of ``size`` bytes; see :func:`host_memory`."""
        return host_memory(size, device, self._warn_once)

    def take(self, size: int, device: torch.device) -> Tensor:
        """A buffer of at least ``size`` bytes, that was given back or is new."""
        lengths = {place: len(buffer) for place, (buffer, _) in enumerate(self._free)}
        fitting = [place for place, length in lengths.items() if length >= size]
        if fitting:
            return self._free.pop(min(fitting, key=lengths.__getitem__))[0]
        if lengths:
            self._give_up(max(lengths, key=lengths.__getitem__))
        return self.memory(size, device)

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

    def _warn_once(self, sentence: str) -> None:
        if not self._warned:
            self._warned = True
            self.warn(sentence)

    def __del__(self) -> None:
        if not sys.is_finalizing():
            self.clear()
