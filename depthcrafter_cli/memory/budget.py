"""How much of a machine's memory tensors may take."""

from dataclasses import dataclass

GIB = 2**30
# What a CUDA process takes beside its tensors, and what the allocator loses to rounding.
_CONTEXT_BYTES = 850_000_000
_FRAGMENTS = 1.06
# A CPU process's libraries and scratch memory; its "device" memory is the machine's.
_PROCESS_BYTES = 550_000_000
_FREE_SHARE = 0.95
_PINNED_SHARE = 0.6
_PINNED_SHARE_OF_WINDOWS = 0.4  # of all memory
_DESKTOP_BYTES = GIB  # of a card that draws Windows' screens, which hardly counts as taken


@dataclass(frozen=True)
class Budget:
    """Bytes that tensors may take on the device and, pinned, on the host; None is no limit.

    ``queued`` bytes more are taken of the same memory by what is read and written beside them.
    """

    device: int | None = None
    host: int | None = None
    queued: int = 0

    def beside(self, queued: int) -> "Budget":
        """What is left where so much is queued."""
        device = None if self.device is None else max(0, self.device - queued)
        return Budget(device, self.host, queued)


def shares_memory(device: str) -> bool:
    """Whether a kind of device computes in the machine's own memory."""
    return device in ("cpu", "mps")


def gigabytes(amount: float) -> int:
    """Bytes of an amount the user gave, in the sense printed on a card's box."""
    return int(amount * GIB)


def card_budget(amount: float, device: str) -> int:
    """What tensors may take of a card of so many GB, or of a CPU process as large."""
    taken = _CONTEXT_BYTES if device == "cuda" else _PROCESS_BYTES
    return max(0, int((amount * GIB - taken) / _fragments(device)))


def card_for(tensors: int, device: str) -> float:
    """The smallest ``max_vram``, in tenths of a GB, that leaves ``tensors`` bytes."""
    taken = _CONTEXT_BYTES if device == "cuda" else _PROCESS_BYTES
    tenths = (tensors * _fragments(device) + taken) / GIB * 10
    return -(-tenths // 1) / 10


def process_peak(tensors: int, device: str) -> int:
    """What a run's peak is measured as: on a CPU the whole process, on a GPU its tensors."""
    return tensors + (_PROCESS_BYTES if device == "cpu" else 0)


def free_budget(free_bytes: int, *, windows: bool = False) -> int:
    """What tensors may take of memory that is free now, the CUDA context being there already."""
    kept = _DESKTOP_BYTES if windows else 0
    return max(0, int((free_bytes - kept) * _FREE_SHARE / _FRAGMENTS))


def allocated(tensors: int) -> int:
    """What a CUDA allocator takes for tensors that take so much."""
    return int(tensors * _FRAGMENTS)


def ram_budget(available_bytes: int) -> int:
    """What tensors may take of the RAM that is available to a process without another device."""
    return max(0, int(available_bytes * _FREE_SHARE) - _PROCESS_BYTES)


def host_budget(available_bytes: int, total_bytes: int, *, windows: bool = False) -> int:
    """What may be pinned of the host memory that is available now."""
    most = int(available_bytes * _PINNED_SHARE)
    return min(most, int(total_bytes * _PINNED_SHARE_OF_WINDOWS)) if windows else most


def _fragments(device: str) -> float:
    return _FRAGMENTS if device == "cuda" else 1.0
