"""Which memory plan a run gets: its networks' configs and this machine's memory to the planner."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from depthcrafter_cli.errors import DepthCrafterError, MemoryLimitError, WeightsError
from depthcrafter_cli.memory.architecture import Architecture
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
from depthcrafter_cli.memory.estimate import Job
from depthcrafter_cli.memory.planner import Choice, choose
from depthcrafter_cli.models.layout import CONFIGS_EXPECTED, network_configs
from depthcrafter_cli.models.weights import WeightsFolder
from depthcrafter_cli.pipeline.config import PipelineConfig
from depthcrafter_cli.progress import Warn, ignore
from depthcrafter_cli.structured import content_errors
from depthcrafter_cli.types import Size
from depthcrafter_cli.workflows.resources import (
    available_ram,
    free_device_memory,
    ram,
    windows_driver,
)

_ITEMSIZES = {"float32": 4, "float16": 2, "bfloat16": 2}


def choose_memory(
    weights: WeightsFolder,
    config: PipelineConfig,
    size: Size,
    frames: int | None,
    device: str,
    dtype: str,
    limits: tuple[float | None, float | None],
    warn: Warn = ignore,
) -> Choice:
    """The plan of a run; ``limits`` are ``max_vram`` and ``max_ram`` in GB, None for auto.

    ``warn`` hears where the system does not tell its memory, and some is assumed.

    Raises:
        MemoryLimitError: no plan fits.
    """
    import torch

    from depthcrafter_cli.models.devices import attends_in_pieces
    from depthcrafter_cli.models.silent import silent_layers

    configs = network_configs(weights.path)
    silent = {name: silent_layers(weights.path, name) for name in ("unet", "vae")}
    with content_errors(weights.path, WeightsError, CONFIGS_EXPECTED):
        model = Architecture.of(**configs, silent=silent)
    window = config.window if frames is None else min(config.window, frames)
    in_pieces = attends_in_pieces(torch.device(device))
    job = Job(size, window, config.decode_chunk, _ITEMSIZES[dtype], in_pieces)
    kind = device.split(":")[0]
    if not ram().known and None in limits:
        warn(
            f"This system does not tell how much memory it has: {available_ram() / GIB:.1f} GB of "
            "RAM are assumed. Where it is another amount, pass `max_vram` (on a GPU `max_ram`)."
        )
    return choose(
        model, job, _budget(device, kind, *limits), kind,
        batch=config.encode_batch, overlap=config.overlap,
    )  # fmt: skip


def _budget(device: str, kind: str, vram: float | None, ram_gigabytes: float | None) -> Budget:
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
def memory_errors(device: str, choice: Choice, *, capped: bool) -> Iterator[None]:
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
        sentence = choice.exhausted(words, min(_free(device), default=None), capped=capped)
        raise MemoryLimitError(sentence, words) from error


def facts(choice: Choice) -> dict[str, Any]:
    """A choice as plain JSON values."""
    plan, peaks = choice.plan, choice.peaks
    return {
        "chunk_values": plan.values,
        "encode_batch": plan.encode_batch,
        "swap_networks": plan.swap_networks,
        "stream_weights": plan.stream_weights,
        "park_skips": plan.park_skips,
        "frugal_encode": plan.frugal_encode,
        "frugal_decode": plan.frugal_decode,
        "window": choice.job.window,
        "predicted_bytes": {
            "clip": peaks.clip,
            "encode": peaks.encode,
            "denoise": peaks.denoise,
            "decode": peaks.decode,
        },
        "host_bytes": peaks.host,
        "bus_bytes_per_step": peaks.bus_bytes,
        "concessions": list(choice.concessions),
    }
