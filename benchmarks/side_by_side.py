"""Two ways to compute the same, timed in turns in one process."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

Work = Callable[[], Tensor]
WIDTH = 32


@dataclass(frozen=True)
class Pair:
    """The best time of each, in seconds."""

    plain: float
    ours: float

    @property
    def ratio(self) -> float:
        return self.ours / self.plain


def header() -> None:
    """Name the columns of :func:`compare`."""
    columns = f"{'plain s':>9} {'ours s':>9} {'ratio':>7} {'error':>9} {'FLOPs':>7}"
    print(f"{'':<{WIDTH}} {columns}")


def compare(name: str, plain: Work, ours: Work, rounds: int, *, counted: bool = True) -> Pair:
    """Print a line: the best times (CPU time on a CPU), their ratio, the largest difference of the
    results relative to the largest value, and the ratio of operations, if they are ``counted``
    (compiled code cannot be).
    """
    try:
        expected, work = _counted(plain)
    except torch.cuda.OutOfMemoryError:
        print(f"{name:<{WIDTH}} plain does not fit")
        return Pair(float("nan"), float("nan"))
    found, our_work = _counted(ours) if counted else (ours(), 0)
    scale = float(expected.float().abs().max())
    error = float((found.float() - expected.float()).abs().max()) / scale
    del found, expected
    times = [(seconds(plain), seconds(ours)) for _ in range(rounds)]
    best = Pair(*(min(column) for column in zip(*times, strict=True)))
    operations = f"{our_work / max(work, 1):>7.3f}" if counted else f"{'-':>7}"
    print(
        f"{name:<{WIDTH}} {best.plain:>9.4f} {best.ours:>9.4f} {best.ratio:>7.3f} {error:>9.1e} "
        f"{operations}",
        flush=True,
    )
    return best


def seconds(work: Work) -> float:
    """Of one run: on a GPU from idle to idle, else this process's CPU time."""
    if not torch.cuda.is_initialized():
        start = time.process_time()
        work()
        return time.process_time() - start
    torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def _counted(work: Work) -> tuple[Tensor, int]:
    with FlopCounterMode(display=False) as counter:
        result = work()
    return result, counter.get_total_flops()
