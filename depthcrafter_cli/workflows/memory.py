"""What a run may take of this machine's memory, and what is said where it runs out."""

from collections.abc import Iterator
from contextlib import contextmanager

from depthcrafter_cli.errors import DepthCrafterError, MemoryLimitError
from depthcrafter_cli.memory.budget import (
    GIB,
    Budget,
    allocated,
    card_budget,
    free_budget,
    gigabytes,
    host_budget,
    ram_budget,
)
from depthcrafter_cli.methods.base import MethodPlan
from depthcrafter_cli.progress import Warn, ignore
from depthcrafter_cli.workflows.resources import (
    available_ram,
    free_device_memory,
    ram,
    windows_driver,
)

Limits = tuple[float | None, float | None]  # GB of the device and of the host


def budget(device: str, limits: Limits, warn: Warn = ignore) -> Budget:
    """What a run may take of this machine; ``limits`` are what was asked for, None for auto.

    ``warn`` is told where the system does not tell its memory, and some is assumed.
    """
    vram, ram_gigabytes = limits
    kind = device.split(":")[0]
    if not ram().known and None in limits:
        warn(
            f"This system does not tell how much memory it has: {available_ram() / GIB:.1f} GB of "
            "RAM are assumed. Where it is another amount, pass `max_vram` (on a GPU `max_ram`)."
        )
    bounds, machine = _free(device), ram()
    if vram is not None:
        bounds.append(card_budget(vram, kind))
    elif kind in ("cpu", "mps"):  # whose memory is the machine's
        bounds.append(ram_budget(available_ram()))
    host = host_budget(available_ram(), machine.total, windows=windows_driver())
    return Budget(
        min(bounds, default=None), host if ram_gigabytes is None else gigabytes(ram_gigabytes)
    )


def _free(device: str) -> list[int]:
    """What tensors may take of a GPU that is here; nothing for another device."""
    free = free_device_memory(device)
    return [] if free is None else [free_budget(free, windows=windows_driver())]


def cap_device(device: str, vram: float | None) -> None:
    """Hold PyTorch to the card that was asked for, so that a wrong prediction shows at once.

    None lifts the limit of an earlier run, but not on Windows: its driver would let memory spill.
    """
    if not device.startswith("cuda"):
        return
    import torch

    from depthcrafter_cli.models.devices import cuda_index

    index = cuda_index(device)
    total = torch.cuda.get_device_properties(index).total_memory
    bounds = [] if vram is None else [card_budget(vram, "cuda")]
    if windows_driver():
        bounds += _free(device)
    share = min([1.0, *(allocated(bound) / total for bound in bounds)])
    torch.cuda.set_per_process_memory_fraction(share, index)


@contextmanager
def memory_errors(method: MethodPlan, device: str, *, capped: bool) -> Iterator[None]:
    """Turns memory that ran out for good into one sentence, which says what would fit.

    ``capped`` says that the user had set the limit.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, DepthCrafterError) and not getattr(error, "reason", ""):
            raise
        import torch

        from depthcrafter_cli.models.device_memory import out_of_memory

        shortage = out_of_memory(error, torch.device(device))
        if shortage is None:
            raise
        words = error.reason if isinstance(error, MemoryLimitError) else shortage.words
        sentence = method.exhausted(words, min(_free(device), default=None), capped=capped)
        raise MemoryLimitError(sentence, words) from error
