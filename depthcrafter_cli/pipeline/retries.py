"""Doing a piece of work again under a smaller plan when memory ran out, so that a run goes on."""

from __future__ import annotations

from collections.abc import Callable

import torch

from depthcrafter_cli.errors import MemoryLimitError
from depthcrafter_cli.models.components import Components
from depthcrafter_cli.types import MemoryPlan

StepDown = Callable[[MemoryPlan], MemoryPlan | None]
"""The next smaller plan after one that failed; None if there is none."""


def give_up(_plan: MemoryPlan) -> None:
    """No smaller plan."""


def stepped_down(components: Components, step_down: StepDown, reason: str) -> Components:
    """The components under the next smaller plan, to repeat what ran out of memory.

    Not to be called while the failure is handled: its traceback keeps the failed work's tensors.

    Raises:
        MemoryLimitError: there is no smaller plan.
    """
    smaller = step_down(components.plan)
    if smaller is None:
        raise MemoryLimitError(
            f"got no more memory on {components.device} ({reason}), expected enough for the "
            "smallest plan: close other programs, or lower --max-res or --window."
        )
    moved = components.under(smaller)
    if components.device.type == "cuda":
        torch.cuda.empty_cache()
    return moved


def out_of_memory(error: Exception) -> str | None:
    """What an error says if it is about memory, else None.

    PyTorch has a type for this on CUDA, but only words on the CPU and on Apple's GPU.
    """
    words = str(error)
    typed = isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError))
    if typed or "out of memory" in words or "can't allocate memory" in words:
        return (words or "out of memory").splitlines()[0]
    return None
