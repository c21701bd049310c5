"""Doing a piece of work again under a smaller plan when memory ran out, so that a run goes on."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import TypeVar

import torch

from depthcrafter_cli.errors import MemoryLimitError
from depthcrafter_cli.models.components import Components
from depthcrafter_cli.types import MemoryPlan, Stage

Result = TypeVar("Result")

StepDown = Callable[[MemoryPlan, Stage], MemoryPlan | None]
"""The next smaller plan after one that failed in a stage; None if there is none."""


def give_up(_plan: MemoryPlan, _stage: Stage) -> None:
    """No smaller plan."""


class Retries:
    """``components`` under the plan that the work so far has shown to fit."""

    def __init__(self, components: Components, step_down: StepDown) -> None:
        self.components, self._step_down = components, step_down

    def until_it_fits(self, stage: Stage, work: Callable[[], Result]) -> Result:
        """Do it again under a smaller plan, as often as memory runs out.

        Raises:
            MemoryLimitError: there is no smaller plan.
        """
        while True:
            try:
                return work()
            except (RuntimeError, MemoryError) as error:
                reason = _out_of_memory(error)
                if reason is None:
                    raise
            # Only now, with the error gone, is its traceback, and what the failed frames held.
            self._shrink(stage, reason)

    def _shrink(self, stage: Stage, reason: str) -> None:
        device = self.components.device
        gc.collect()  # a half-done layer and its source refer to each other
        smaller = self._step_down(self.components.plan, stage)
        if smaller is None:
            raise MemoryLimitError(
                f"got no more memory on {device} ({reason}), expected enough for the "
                "smallest plan: close other programs, or lower --max-res or --window."
            )
        if device.type == "cuda":
            torch.cuda.synchronize(device)
            torch.cuda.empty_cache()
        self.components = self.components.under(smaller)
        if device.type == "cuda":
            torch.cuda.empty_cache()  # of the weights that have left


def _out_of_memory(error: Exception) -> str | None:
    """What an error says if it is about memory, else None.

    PyTorch has a type for this on CUDA, but only words for CUDA's libraries, for the CPU and for
    Apple's GPU.
    """
    words = str(error)
    typed = isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError))
    if typed or any(sign in words for sign in _SIGNS):
        return (words or "out of memory").splitlines()[0]
    return None


_SIGNS = ("out of memory", "can't allocate memory", "STATUS_ALLOC_FAILED")
