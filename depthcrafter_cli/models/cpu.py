"""What makes PyTorch faster on a CPU."""

import ctypes
import platform
from contextlib import suppress

# glibc's mallopt: its numbers of these settings, and the largest threshold it takes.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_LARGEST_THRESHOLD, _KEPT = 32 << 20, 1 << 30


def keep_freed_memory() -> None:
    """Let glibc keep what was freed: given back, each chunk's memory is mapped and cleared anew."""
    if platform.libc_ver()[0] != "glibc":
        return
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_MMAP_THRESHOLD, _LARGEST_THRESHOLD)
        libc.mallopt(_TRIM_THRESHOLD, _KEPT)
