"""Doing a piece of work again under a smaller plan when memory ran out, so that a run goes on."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import TypeVar

import torch

from depthcrafter_cli.errors import MemoryLimitError
from depthcrafter_cli.models.components import Components
from depthcrafter_cli.models.device_memory import out_of_memory, release_memory
from depthcrafter_cli.types import MemoryPlan, Scarce, Stage

Result = TypeVar("Result")

Fallback = Callable[[MemoryPlan, Scarce], MemoryPlan | None]
"""The next smaller plan after one under which memory ran out somewhere; None if there is none."""


def no_fallback(_plan: MemoryPlan, _place: Scarce) -> None:
    """Return None: there is no smaller plan."""


def until_it_fits(
    work: Callable[[MemoryPlan], Result],
    plan: MemoryPlan,
    device: torch.device,
    place: Scarce,
    fallback: Fallback,
) -> Result:
    """Do ``work`` under ``plan``, and again under a smaller one as often as memory runs out.

    ``place`` is what the work is, where it is the device that ran out.

    Raises:
        MemoryLimitError: there is no smaller plan.
    """
    while True:
        try:
            return work(plan)
        except Exception as error:
            shortage = out_of_memory(error, device)
            if shortage is None:
                raise
        # Only now, with the error gone, is its traceback, and what the failed frames held.
        gc.collect()  # a half-done layer and its source refer to each other
        smaller = fallback(plan, "host" if shortage.on_host else place)
        if smaller is None:
            raise MemoryLimitError(
                f"got no more memory on {device} ({shortage.words}), expected enough for the "
                "smallest plan: close other programs, or lower `max_res` or `window`.",
                shortage.words,
            )
        release_memory(device)
        plan = smaller


class Retries:
    """``components`` under the plan that the work so far has shown to fit."""

    def __init__(self, components: Components, fallback: Fallback) -> None:
        self.components, self._fallback = components, fallback
        self._settled = False  # a pass before this one may have left weights elsewhere

    def until_it_fits(self, stage: Stage, work: Callable[[], Result]) -> Result:
        """Do it again under a smaller plan, as often as memory runs out.

        Raises:
            MemoryLimitError: there is no smaller plan.
        """

        def under(plan: MemoryPlan) -> Result:
            if plan != self.components.plan or not self._settled:
                self.components = self.components.under(plan)
                self._settled = True
            return work()

        now = self.components
        return until_it_fits(under, now.plan, now.device, stage, self._fallback)
