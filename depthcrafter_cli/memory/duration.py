"""How long a run takes on a card that is known: an estimate, from arithmetic and data sheets.

    seconds = operations / (peak x utilisation), and the bytes over the bus / its speed

The peak is the data sheet's for dense fp16 with 32-bit sums. The utilisation is the one figure
measured by others: the reference program takes 0.466 s a frame at 1024x576 on an A100, 26 to 31
teraoperations, which is 18 to 21% of that card's peak. Nothing here was timed on the other cards.
Copies of a denoising step run beside it, so the longer of both counts; offloaded
networks are waited for.
"""

import re
from dataclasses import dataclass

from depthcrafter_cli.memory.estimate import Weights
from depthcrafter_cli.memory.planner import MemoryChoice
from depthcrafter_cli.memory.work import Work

UTILISATION = 0.20
_HALF_PRECISION = 2  # bytes


@dataclass(frozen=True)
class Card:
    """A GPU's peak in operations per second, and what its bus carries in bytes per second."""

    peak: float
    bus: float


# Names as drivers give them, the more special ones first: T(era)FLOPS, GB/s on the bus in practice.
_CARDS = (
    (r"B200", 2250, 50),
    (r"H100 PCIe", 756, 50),
    (r"H100|H200|GH200", 989, 50),
    (r"A100(?!\d)", 312, 24),
    (r"L40S", 362, 24),
    (r"\bL4\b", 121, 24),
    (r"A10G", 70, 24),
    (r"\bA10\b", 125, 24),
    (r"V100", 125, 12),
    (r"\bT4\b", 65, 12),
    (r"RTX 5090\b(?! Laptop)", 210, 50),
    (r"RTX 5080\b(?! Laptop)", 113, 50),
    (r"RTX 5070\b(?! Ti| Laptop)", 62, 50),
    (r"RTX 4090\b(?! D| Laptop)", 165, 24),
    (r"RTX 4080\b(?! SUPER| Laptop)", 97, 24),
    (r"RTX 4070\b(?! Ti| SUPER| Laptop)", 58, 24),
    (r"RTX 4060 Ti", 44, 12),
    (r"RTX 4060\b(?! Ti| Laptop)", 30, 12),
    (r"RTX 3090\b(?! Ti)", 71, 24),
    (r"RTX 3080\b(?! Ti| Laptop)", 60, 24),
    (r"RTX 3070\b(?! Ti| Laptop)", 41, 24),
    (r"RTX 3060\b(?! Ti| Laptop)", 25, 24),
)


# Names that drivers give to a part of a card: NVIDIA's MIG, and vGPU with its profile's letter.
_SLICES = re.compile(r"\bMIG\b|\bGRID\b|-\d+[ABCQ](ME|\d)?\b", re.IGNORECASE)


def is_slice(name: str) -> bool:
    """Whether a device is a part of a card, whose share of the card's speed is not known."""
    return bool(_SLICES.search(name))


def card(name: str) -> Card | None:
    """What is known of a card by its name; None for a part of one, or one not in the table."""
    if is_slice(name):
        return None
    for pattern, peak, bus in _CARDS:
        if re.search(pattern, name, re.IGNORECASE):
            return Card(peak * 1e12, bus * 1e9)
    return None


@dataclass(frozen=True)
class Duration:
    """Estimated seconds of a run, by stage; ``bus`` is what of ``total`` waits for copies."""

    image_encoder: float
    encode: float
    denoise: float
    decode: float
    bus: float

    @property
    def total(self) -> float:
        """The whole run, without reading and writing."""
        return self.image_encoder + self.encode + self.denoise + self.decode + self.bus


def duration(
    choice: MemoryChoice,
    on: Card,
    *,
    frames: int,
    windows: int,
    passes: int,
    batch: int,
) -> Duration | None:
    """Estimate a run of so many ``frames``; None in 32-bit, of whose speed nothing is known.

    ``passes`` are the forward passes of a window: steps, twice with guidance. ``batch`` frames are
    read at a time, and for each of those reads offloaded networks come anew.
    """
    workload, plan = choice.workload, choice.plan
    if workload.itemsize != _HALF_PRECISION:
        return None
    work, speed = Work.of(choice.model, workload), on.peak * UTILISATION
    denoised = windows * workload.window
    denoise = work.denoise * denoised * passes / speed
    copied = choice.peaks.bus_bytes * passes * denoised / workload.window / on.bus
    copied_in = 0.0
    if plan.offloaded:
        weights = Weights.of(choice.model, workload)
        reads, chunks = -(-frames // batch), -(-frames // workload.decode_chunk)
        copied_in = reads * (weights.image_encoder + weights.encoder) + chunks * weights.decoder
        copied_in += 0 if plan.offload_blocks else windows * weights.unet
    return Duration(
        image_encoder=work.image_encoder * frames / speed,
        encode=work.encode * frames / speed,
        denoise=denoise,
        decode=work.decode * frames / speed,
        bus=max(0.0, copied - denoise) + copied_in / on.bus,
    )
