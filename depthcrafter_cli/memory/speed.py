"""How long a card takes for a network's forward pass: an estimate, from arithmetic and data sheets.

A layer takes the longer of

    operations / (peak x 0.65) + bytes of norms and the like / (0.85 x memory's speed)
    launches of kernels x 8 us

where bytes come from the L2 cache, 2.4 times as fast, if its 0.7 holds a chunk twice. Numbers of
32 bits are multiplied at half the peak. Only one figure was measured, by others: the reference
program takes 0.466 s a frame at 1024x576 on an A100, where ``benchmarks/gpu_model.py`` says 0.269;
so all is taken to be slower by as much.
"""

from collections.abc import Iterable

from depthcrafter_cli.memory.cards import Card
from depthcrafter_cli.memory.work import Step

MEASURED = 0.466 / 0.269
_EFFICIENCY, _FROM_MEMORY, _LAUNCH = 0.65, 0.85, 8e-6
_CACHE_SHARE, _CACHE_SPEED = 0.7, 2.4


def peak_seconds(operations: float, on: Card) -> float:
    """Of operations alone."""
    return MEASURED * operations / (on.peak * _EFFICIENCY)


def pass_seconds(steps: Iterable[Step], on: Card, chunk_values: int, itemsize: int) -> float:
    """Of one forward pass in chunks of so many values of ``itemsize`` bytes."""
    cached = 2 * chunk_values * itemsize <= _CACHE_SHARE * on.cache
    memory = on.bandwidth * _FROM_MEMORY * (_CACHE_SPEED if cached else 1)
    peak = on.peak * _EFFICIENCY * (1 if itemsize < 4 else 0.5)
    return MEASURED * sum(
        max(
            step.operations / peak + step.moved * itemsize / memory,
            step.launches * -(-step.widest // chunk_values) * _LAUNCH,
        )
        for step in steps
    )
