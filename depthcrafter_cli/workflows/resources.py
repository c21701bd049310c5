"""What a run took from the machine."""

import sys
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class PeakMemory:
    """``bytes`` at the highest, of ``kind`` (``GPU`` allocated or ``RAM`` resident)."""

    bytes: int
    kind: str


def peak_memory(device: Any) -> PeakMemory:
    """The peak since the process began, of the memory that is scarce on ``device``."""
    if device.type == "cuda":
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
