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
    shares_memory,
)
from depthcrafter_cli.memory.cards import Card, card
from depthcrafter_cli.methods.base import Machine, MethodPlan
from depthcrafter_cli.models.drivers import dtype_name, gpu_driver, triton_elsewhere
from depthcrafter_cli.progress import Warn, ignore
from depthcrafter_cli.workflows.request import RunRequest
from depthcrafter_cli.workflows.resources import (
    available_ram,
    device_name,
    free_device_memory,
    ram,
    windows_driver,
)

Limits = tuple[float | None, float | None]  # GB of the device and of the host


def budget(device: str, limits: Limits, warn: Warn = ignore, *, here: bool = True) -> Budget:
    """What a run may take of this machine; ``limits`` are what was asked for, None for auto.

    ``warn`` is told where the system does not tell its memory, and some is assumed. Of a device
    that is not ``here``, nothing is asked.
    """
    vram, ram_gigabytes = limits
    kind = device.split(":")[0]
    if not ram().known and None in limits:
        warn(
            f"This system does not tell how much memory it has: {available_ram() / GIB:.1f} GB of "
            "RAM are assumed. Where it is another amount, pass `max_vram` (on a GPU `max_ram`)."
        )
    bounds, whole = _free(device) if here else [], ram()
    if vram is not None:
        bounds.append(card_budget(vram, kind))
    elif shares_memory(kind):
        bounds.append(ram_budget(available_ram()))
    host = host_budget(available_ram(), whole.total, windows=windows_driver())
    return Budget(
        min(bounds, default=None), host if ram_gigabytes is None else gigabytes(ram_gigabytes)
    )


def machine(device: str, dtype: str, limits: Limits, warn: Warn = ignore) -> Machine:
    """A device that is here, by PyTorch's names of it and of the precision; see :func:`budget`."""
    in_pieces, fused, name = False, False, device_name(device)
    if device != "cpu":
        import torch

        from depthcrafter_cli.models.devices import attends_in_pieces, make_current
        from depthcrafter_cli.models.fused import fusion

        place = torch.device(device)
        # The kernels are tried on the current one.
        make_current(place)
        in_pieces, fused = attends_in_pieces(place), fusion(place.type).kernels is not None
    room = budget(device, limits, warn)
    return Machine(device, dtype, room, name, card(name), in_pieces, fused)


def machine_for(request: RunRequest, warn: Warn, known: Card | None = None) -> Machine:
    """What to run with. Planning alone may be for a device that is not here, or a ``known`` card.

    PyTorch is imported only where it must be asked.
    """
    kind = request.device.split(":")[0]
    absent = not request.outputs and not gpu_driver()
    if known is not None or (kind == "auto" and request.max_vram and absent):
        kind = "cuda"
    planned = kind in ("cpu", "mps") or (kind == "cuda" and (known is not None or absent))
    if planned and not request.outputs:
        return _elsewhere(kind, dtype_name(request.dtype, kind, warn), request.limits, known, warn)

    from depthcrafter_cli.models.devices import pick_device, pick_dtype

    device = pick_device(request.device, warn)
    dtype = str(pick_dtype(request.dtype, device, warn)).removeprefix("torch.")
    return machine(str(device), dtype, request.limits, warn)


def _elsewhere(kind: str, dtype: str, limits: Limits, known: Card | None, warn: Warn) -> Machine:
    """A device that need not be here; of a ``known`` card all memory may be used.

    A GPU is taken to have Triton's kernels where they can be expected.
    """
    vram, ram_gigabytes = limits
    if vram is None and known is not None:
        limits = (known.gigabytes, ram_gigabytes)
    room = budget(kind, limits, warn, here=kind != "cuda")
    name, fused = known.name if known else kind, kind == "cuda" and triton_elsewhere()
    return Machine(kind, dtype, room, name, known, kind == "mps", fused)


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
