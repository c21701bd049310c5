"""How long a card takes for a network's forward pass: an estimate, from arithmetic and data sheets.

A layer takes the longer of

    operations / (peak x 0.65) + bytes / (0.85 x memory's speed)
    launches of kernels x 8 us

where bytes are those of norms and the like and, for each chunk, thrice those of the weights, which
are read, laid out anew and read again. Of norms and the like 0.15 stay within a chunk; so much
comes from the L2 cache, 2.4 times as fast, as far as 0.7 of it holds a chunk twice. Without Triton
0.42 more move, all within a chunk, by three times as many kernels. These numbers make the chunks
that ``benchmarks/gpu_model.py`` finds fastest the fastest here.

Numbers of 32 bits are multiplied at half the peak. Only one figure was measured, by others: the
reference program takes 0.466 s a frame at 1024x576 on an A100, where that model says 0.269; so all
is taken to be slower by as much.
"""

from collections.abc import Iterable

from depthcrafter_cli.memory.cards import Card
from depthcrafter_cli.memory.work import Step

MEASURED = 0.466 / 0.269
_EFFICIENCY, _FROM_MEMORY, _LAUNCH = 0.65, 0.85, 8e-6
_CACHE_SHARE, _CACHE_SPEED, _WITHIN_CHUNK, _WEIGHTS = 0.7, 2.4, 0.15, 3
# What PyTorch's own norms and the like move beside fused ones, and how many kernels for each.
_UNFUSED_MOVED, _UNFUSED_LAUNCHES = 0.42, 3


def peak_seconds(operations: float, on: Card) -> float:
    """Of operations alone."""
    return MEASURED * operations / (on.peak * _EFFICIENCY)


def pass_seconds(
    steps: Iterable[Step], on: Card, chunk_values: int, itemsize: int, *, fused: bool
) -> float:
    """Of one forward pass in chunks of so many values of ``itemsize`` bytes.

    ``fused``: norms and the like are computed by Triton's kernels.
    """
    memory = on.bandwidth * _FROM_MEMORY
    peak = on.peak * _EFFICIENCY * (1 if itemsize < 4 else 0.5)
    within = _WITHIN_CHUNK + (0 if fused else _UNFUSED_MOVED)
    launch = _LAUNCH * (1 if fused else _UNFUSED_LAUNCHES)

    def seconds(step: Step) -> float:
        chunks = -(-step.widest // chunk_values)
        twice = 2 * min(chunk_values, step.widest) * itemsize
        held = min(1.0, _CACHE_SHARE * on.cache / twice)
        from_memory = 1 - _WITHIN_CHUNK + within * (1 - held + held / _CACHE_SPEED)
        moved = itemsize * (from_memory * step.moved + _WEIGHTS * chunks * step.weights)
        return max(step.operations / peak + moved / memory, step.launches * chunks * launch)

    return MEASURED * sum(map(seconds, steps))
