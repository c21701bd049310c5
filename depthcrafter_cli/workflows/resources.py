"""What a run took from the machine."""

import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath


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

    from depthcrafter_cli.models.devices import cuda_index

    if not torch.cuda.is_available():
        return None
    index = cuda_index(device)
    return int(torch.cuda.mem_get_info(index)[0]) + int(torch.cuda.memory_reserved(index))


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
    rooms: list[int] = []
    with suppress(OSError):  # another system than Linux
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                rooms.append(int(line.split()[1]) * 1024)
        rooms += group_rooms(Path("/proc/self/cgroup").read_text(), Path("/sys/fs/cgroup"))
    return min(rooms, default=None)


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
