"""What a machine has, and what a run took of it."""

import errno
import platform
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

import psutil

from depthcrafter_cli.errors import MemoryLimitError

# Where a system does not tell its memory: what small machines have to spare.
_ASSUMED_RAM = 4 << 30


@dataclass(frozen=True)
class PeakMemory:
    """``bytes`` at the highest, of ``kind`` (``GPU`` allocated or ``RAM`` resident)."""

    bytes: int
    kind: str


@dataclass(frozen=True)
class Ram:
    """Host memory in bytes: what this process could have, and what the machine has in all.

    ``known`` is false where the system does not tell, and ``available`` is assumed.
    """

    available: int
    total: int
    known: bool = True


def peak_memory(device: str) -> PeakMemory:
    """The peak since the process began, of the memory that is scarce on ``device``."""
    if device != "cpu":
        import torch

        from depthcrafter_cli.models import device_memory

        taken = device_memory.peak_memory(torch.device(device))
        if taken is not None:
            return PeakMemory(taken, "GPU")
    return PeakMemory(peak_resident_bytes(), "RAM")


def multiplies_bfloat16() -> bool:
    """Whether the processor has instructions for it; False where the system does not tell."""
    with suppress(OSError):
        told = Path("/proc/cpuinfo").read_text()
        return re.search(r"^flags\s*:.* (avx512_bf16|amx_bf16)\b", told, re.MULTILINE) is not None
    return False


def peak_resident_bytes() -> int:
    """The process's largest resident set so far, pages of mapped files included."""
    # Linux's getrusage counts what the process held that started this one, such as a notebook.
    with suppress(OSError):
        status = Path("/proc/self/status").read_text()
        if told := re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE):
            return int(told[1]) * 1024
    try:
        import resource
    except ImportError:  # Windows
        taken = psutil.Process().memory_info()
        return int(getattr(taken, "peak_wset", taken.rss))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def lack_of_memory(error: Exception) -> MemoryLimitError | None:
    """What to say of an error that tells a lack of memory where no plan is in force, else None."""
    words = None
    if "torch" in sys.modules:  # which could hardly be imported now
        import torch

        from depthcrafter_cli.models.device_memory import out_of_memory

        shortage = out_of_memory(error, torch.device("cpu"))
        words = None if shortage is None else shortage.words
    elif isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        words = str(error) or "out of memory"
    if words is None:
        return None
    return MemoryLimitError(
        f"got no more memory ({words.rstrip('.')}), expected enough for what was asked: close "
        "other programs, or ask for less at a time.",
        words,
    )


def free_device_memory(device: str) -> int | None:
    """Bytes of a GPU that this process could have; None for other devices and machines."""
    if device == "cpu":
        return None
    import torch

    from depthcrafter_cli.models.device_memory import free_memory

    return free_memory(torch.device(device))


def device_name(device: str) -> str:
    """The model of a CUDA device of this machine; of other devices what PyTorch calls them."""
    if not device.startswith("cuda"):
        return device
    import torch

    return str(torch.cuda.get_device_name(device)) if torch.cuda.is_available() else device


@cache
def available_ram() -> int:
    """Bytes of host memory that this process could have; asked once.

    What the process took since then it may use again.
    """
    return ram().available


def ram() -> Ram:
    """This machine's memory, and how much of it the process may have by every limit it is under."""
    try:
        memory = psutil.virtual_memory()
        free, total, known = int(memory.available), int(memory.total), True
    except (OSError, psutil.Error, RuntimeError, ValueError, KeyError):
        # As on Linux where /proc is not mounted.
        free, total, known = _ASSUMED_RAM, _ASSUMED_RAM, False
    rooms = [free, *_process_rooms()]
    with suppress(OSError):  # another system than Linux
        rooms += group_rooms(Path("/proc/self/cgroup").read_text(), Path("/sys/fs/cgroup"))
    return Ram(max(0, min(rooms)), total, known)


def windows_driver() -> bool:
    """Whether GPUs are driven by Windows, as in WSL too.

    It lets device memory spill into the host's, many times slower, instead of running out; and it
    pins only a part of the host's.
    """
    return sys.platform == "win32" or "microsoft" in platform.release().lower()


def _process_rooms() -> Iterator[int]:
    """Bytes left below each limit of this process alone, as ``ulimit -v`` and ``-d`` set them."""
    try:
        import resource
    except ImportError:  # Windows
        return
    with suppress(OSError, psutil.Error):
        taken = psutil.Process().memory_info()
        for limit, used in (("RLIMIT_AS", taken.vms), ("RLIMIT_DATA", getattr(taken, "data", 0))):
            most = resource.getrlimit(getattr(resource, limit))[0]
            if most != resource.RLIM_INFINITY:
                yield most - used


def group_rooms(groups: str, root: Path) -> Iterator[int]:
    """Bytes left below each memory limit of a container or a cluster's job.

    ``groups`` is what Linux says in ``/proc/self/cgroup``, ``root`` where the groups are mounted.
    """
    for line in groups.splitlines():
        _, kinds, name = line.split(":", 2)
        if not kinds:
            top, files = root, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in kinds.split(","):
            top = root / "memory"
            files = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        below = PurePosixPath(name.lstrip("/"))
        for place in (below, *below.parents):
            with suppress(OSError, ValueError, KeyError):  # no limit, or another container's name
                yield _group_room(top / place, *files)


def _group_room(place: Path, limit: str, used: str, spare: str) -> int:
    """What a group may still take; of what it took, files that are only cached will go."""
    most, taken = (int((place / name).read_text()) for name in (limit, used))
    counts = dict(line.split() for line in (place / "memory.stat").read_text().splitlines())
    return max(0, most - taken + int(counts[spare]))
