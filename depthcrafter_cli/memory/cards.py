"""What is known of GPUs, from their data sheets."""

import re
from dataclasses import dataclass

from depthcrafter_cli.errors import UsageError


@dataclass(frozen=True)
class Card:
    """A GPU: GB of memory as on its box, and what it does in a second.

    ``peak`` is of operations in dense fp16 with 32-bit sums, ``bandwidth`` of bytes from its
    memory, ``bus`` of bytes to and from the host in practice; ``cache`` is its L2 cache in bytes.
    """

    name: str
    gigabytes: float
    peak: float
    bandwidth: float
    cache: float
    bus: float


def _card(
    name: str, gigabytes: float, peak: float, bandwidth: float, cache: float, bus: float
) -> Card:
    """From T(era)FLOPS, GB/s, MB and GB/s."""
    return Card(name, gigabytes, peak * 1e12, bandwidth * 1e9, cache * 1e6, bus * 1e9)


CARDS = (
    _card("B200", 180, 2250, 8000, 126, 50),
    _card("H200", 141, 989, 4800, 50, 50),
    _card("GH200", 96, 989, 4000, 50, 50),
    _card("H100", 80, 989, 3350, 50, 50),
    _card("H100 PCIe", 80, 756, 2000, 50, 50),
    _card("A100", 40, 312, 1555, 40, 24),
    _card("A100 80GB", 80, 312, 2039, 40, 24),
    _card("L40S", 48, 362, 864, 96, 24),
    _card("L4", 24, 121, 300, 48, 24),
    _card("A10G", 24, 70, 600, 6, 24),
    _card("A10", 24, 125, 600, 6, 24),
    _card("V100", 16, 125, 900, 6, 12),
    _card("V100 32GB", 32, 125, 900, 6, 12),
    _card("T4", 16, 65, 320, 4, 12),
    _card("RTX 5090", 32, 210, 1792, 96, 50),
    _card("RTX 5090 Laptop", 24, 114, 896, 64, 24),
    _card("RTX 5080", 16, 113, 960, 64, 50),
    _card("RTX 5080 Laptop", 16, 83, 896, 64, 24),
    _card("RTX 5070 Ti", 16, 88, 896, 48, 50),
    _card("RTX 5070 Ti Laptop", 12, 62, 672, 48, 24),
    _card("RTX 5070", 12, 62, 672, 48, 50),
    _card("RTX 5070 Laptop", 8, 50, 384, 32, 24),
    _card("RTX 5060 Ti", 8, 47, 448, 32, 24),
    _card("RTX 5060 Ti 16GB", 16, 47, 448, 32, 24),
    _card("RTX 5060", 8, 38, 448, 32, 24),
    _card("RTX 5060 Laptop", 8, 36, 384, 32, 24),
    _card("RTX 4090", 24, 165, 1008, 72, 24),
    _card("RTX 4090 Laptop", 16, 86, 576, 64, 24),
    _card("RTX 4080 SUPER", 16, 104, 736, 64, 24),
    _card("RTX 4080", 16, 97, 717, 64, 24),
    _card("RTX 4080 Laptop", 12, 68, 432, 48, 24),
    _card("RTX 4070 Ti SUPER", 16, 88, 672, 48, 24),
    _card("RTX 4070 Ti", 12, 80, 504, 48, 24),
    _card("RTX 4070 SUPER", 12, 71, 504, 48, 24),
    _card("RTX 4070", 12, 58, 504, 36, 24),
    _card("RTX 4070 Laptop", 8, 40, 256, 32, 12),
    _card("RTX 4060 Ti", 8, 44, 288, 32, 12),
    _card("RTX 4060 Ti 16GB", 16, 44, 288, 32, 12),
    _card("RTX 4060", 8, 30, 272, 24, 12),
    _card("RTX 4060 Laptop", 8, 29, 256, 32, 12),
    _card("RTX 4050 Laptop", 6, 24, 192, 12, 12),
    _card("RTX 3090 Ti", 24, 80, 1008, 6, 24),
    _card("RTX 3090", 24, 71, 936, 6, 24),
    _card("RTX 3080 Ti", 12, 68, 912, 6, 24),
    _card("RTX 3080", 10, 60, 760, 5, 24),
    _card("RTX 3070 Ti", 8, 43, 608, 4, 24),
    _card("RTX 3070", 8, 41, 448, 4, 24),
    _card("RTX 3070 Laptop", 8, 33, 448, 4, 12),
    _card("RTX 3060 Ti", 8, 32, 448, 4, 24),
    _card("RTX 3060", 12, 25, 360, 3, 24),
    _card("RTX 3060 Laptop", 6, 26, 336, 3, 12),
)
# Words that make another card of a number.
_KINDS = {"ti", "super", "laptop", "d", "max"}
# Names that drivers give to a part of a card: NVIDIA's MIG, and vGPU with its profile's letter.
_SLICES = re.compile(r"\bMIG\b|\bGRID\b|-\d+[ABCQ](ME|\d)?\b", re.IGNORECASE)


def is_slice(name: str) -> bool:
    """Whether a device is a part of a card, whose share of the card's speed is not known."""
    return bool(_SLICES.search(name))


def card(name: str) -> Card | None:
    """What is known of a card by its name, as drivers or people give it.

    None for a part of one, or one not in the table.
    """
    words = _words(name)
    fitting = [
        known for known in CARDS
        if _words(known.name) <= words and _words(known.name) & _KINDS == words & _KINDS
    ]  # fmt: skip
    if is_slice(name) or not fitting:
        return None
    return max(fitting, key=lambda known: len(_words(known.name)))


def card_named(name: str) -> Card:
    """As :func:`card`. Raises UsageError, which lists the names, for one that is not known."""
    if found := card(name):
        return found
    names = ", ".join(known.name for known in CARDS)
    raise UsageError(f"got the card '{name}', expected a whole one of {names}: name one of these.")


def _words(name: str) -> set[str]:
    joined = re.sub(r"(\d) *GB\b", r"\1gb", name, flags=re.IGNORECASE)
    return set(re.findall(r"[a-z0-9]+", joined.lower()))
