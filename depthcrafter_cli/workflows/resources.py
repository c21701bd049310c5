"""What a run took from the machine."""

import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class PeakMemory:
    """``bytes`` at the highest, of ``kind`` (``GPU`` allocated or ``RAM`` resident)."""

    bytes: int
    kind: str


def peak_memory(device: str) -> PeakMemory:
    """The peak since the process began, of the memory that is scarce on ``device``."""
    if device.startswith("cuda"):
        import torch

        return PeakMemory(torch.cuda.max_memory_allocated(device), "GPU")
    return PeakMemory(peak_resident_bytes(), "RAM")


def peak_resident_bytes() -> int:
    """The process's largest resident set so far; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def free_device_memory(device: str) -> int | None:
    """Bytes of a CUDA device that this process could have; None for other devices and machines.

    What PyTorch holds counts as free: between runs it is weights and caches to be used again.
    """
    if not device.startswith("cuda"):
        return None
    import torch

    if not torch.cuda.is_available():
        return None
    return int(torch.cuda.mem_get_info(device)[0]) + int(torch.cuda.memory_reserved(device))


def device_name(device: str) -> str:
    """The model of a CUDA device of this machine; of other devices what PyTorch calls them."""
    if not device.startswith("cuda"):
        return device
    import torch

    return str(torch.cuda.get_device_name(device)) if torch.cuda.is_available() else device


@cache
def available_ram() -> int | None:
    """Bytes of host memory that this process could have; None where the system does not tell.

    Asked once: what the process took since then it may use again.
    """
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None
