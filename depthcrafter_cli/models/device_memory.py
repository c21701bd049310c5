"""Memory of the device that computes: what is free, what was taken, how it shows that it ran out.

The only place that knows how each kind of GPU is asked. A CPU's memory is the machine's, so its
answers are None.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from depthcrafter_cli.errors import DepthCrafterError, MemoryLimitError, first_line
from depthcrafter_cli.models.devices import cuda_index

# Of these errors' causes one is a lack of memory: which it was shows in what is free.
_LITTLE = 1 << 30
_WINDOWS_CODES = (8, 14, 1455)  # not enough memory, out of memory, the paging file is too small
_KEEPING_PEAKS = {"cuda": torch.cuda, "xpu": torch.xpu}
# Bytes, of devices that do not keep their own: the most taken, and the least, before ours.
_peaks: dict[str, int] = {}
_others: dict[str, int] = {}


@dataclass(frozen=True)
class Shortage:
    """Memory that ran out: ``words`` tell how it showed, ``on_host`` that a GPU had enough."""

    words: str
    on_host: bool


def free_memory(device: torch.device) -> int | None:
    """Bytes of a GPU that this process could have; None for other devices and machines.

    What PyTorch holds counts as free: between runs it is weights and caches to be used again. Of
    Apple's GPU that is all that was taken since this was asked first.
    """
    if device.type == "cuda" and torch.cuda.is_available():
        index = cuda_index(str(device))
        return int(torch.cuda.mem_get_info(index)[0]) + int(torch.cuda.memory_reserved(index))
    try:
        if device.type == "xpu":
            free = torch.xpu.mem_get_info(device)[0]
            return int(free) + int(torch.xpu.memory_reserved(device))
        if device.type == "mps":
            most, taken = torch.mps.recommended_max_memory(), torch.mps.driver_allocated_memory()
            _others["mps"] = min(int(taken), _others.get("mps", int(taken)))
            return max(0, int(most) - _others["mps"])
    except (AttributeError, RuntimeError, AssertionError):  # an older PyTorch, or another machine
        return None
    return None


def peak_memory(device: torch.device) -> int | None:
    """The most bytes of a GPU that were taken since :func:`reset_peak`; None for other devices."""
    if device.type in _KEEPING_PEAKS:
        return int(_KEEPING_PEAKS[device.type].max_memory_allocated(device))
    if device.type == "mps":
        # Metal tells only what it holds now, which grows until caches are emptied.
        return max(_peaks.get("mps", 0), int(torch.mps.driver_allocated_memory()))
    return None


def reset_peak(device: torch.device) -> None:
    """Let :func:`peak_memory` count from now on."""
    _peaks.clear()
    if device.type in _KEEPING_PEAKS:
        _KEEPING_PEAKS[device.type].reset_peak_memory_stats(device)


def release_memory(device: torch.device) -> None:
    """Give back what PyTorch keeps of a GPU for later, once the work under way is done."""
    if device.type in _KEEPING_PEAKS:
        _KEEPING_PEAKS[device.type].synchronize(device)
        _KEEPING_PEAKS[device.type].empty_cache()
    elif device.type == "mps":
        torch.mps.synchronize()
        _peaks["mps"] = peak_memory(device) or 0
        torch.mps.empty_cache()


def out_of_memory(error: BaseException, device: torch.device) -> Shortage | None:
    """How ``error``, or what caused it, tells that memory ran out; None if it tells another thing.

    PyTorch has a type for this on CUDA, but only words for CUDA's libraries, for the CPU, and for
    other GPUs; the operating system has numbers. Called while ``error`` is handled, so that what
    is free is what was free when it arose.
    """
    for link in _chain(error):
        words = first_line(link) or "out of memory"
        if _is_of_host(link):
            # Of a CPU and of Apple's GPUs, the device's memory is the host's.
            return Shortage(words, on_host=device.type not in ("cpu", "mps"))
        if isinstance(link, torch.cuda.OutOfMemoryError) or _says(link, _DEVICE):
            return Shortage(words, on_host=False)
        if _says(link, _AMBIGUOUS) and _is_full(device):
            return Shortage(words, on_host=False)
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, what it was raised from, and so on."""
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def _is_of_host(error: BaseException) -> bool:
    if isinstance(error, MemoryError | MemoryLimitError):
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    return getattr(error, "winerror", None) in _WINDOWS_CODES or _says(error, _HOST)


def _says(error: BaseException, signs: re.Pattern[str]) -> bool:
    """Whether an error that is not ours has such words: ours have types."""
    return not isinstance(error, DepthCrafterError) and signs.search(str(error)) is not None


def _is_full(device: torch.device) -> bool:
    """Whether so little of a GPU is free that its libraries cannot begin; also where none tells."""
    if device.type != "cuda" or not torch.cuda.is_available():
        return True
    return int(torch.cuda.mem_get_info(cuda_index(str(device)))[0]) < _LITTLE


_HOST = re.compile(
    r"DefaultCPUAllocator"
    r"|can(no|')t allocate memory"  # Linux and macOS
    r"|bad[_ ]alloc"  # C++: of glibc, of Windows
    r"|could not create a (primitive(?! desc)|memory)"  # oneDNN
    r"|\[WinError (8|14|1455)\]|os error (12|1455)\b|paging file is too small",
    re.IGNORECASE,
)
_DEVICE = re.compile(
    r"out[ _]?of[ _]?((device|host)[ _]?)?(memory|resources)"  # CUDA, HIP, XPU, Metal
    r"|(cuda|hip)ErrorMemoryAllocation"
    r"|ALLOC(ATION)?_FAILED"  # cuBLAS, cuDNN, cuSOLVER
    r"|unable to find an engine to execute|unable to find a valid cuDNN algorithm"
    r"|invalid buffer size|failed to allocate|insufficient memory",  # Metal
    re.IGNORECASE,
)
_AMBIGUOUS = re.compile(r"(CUDNN|CUBLAS|CUSOLVER)_STATUS_(NOT_INITIALIZED|INTERNAL_ERROR)")
