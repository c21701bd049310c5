"""The optimisers that a recipe may name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from depthcrafter_cli.errors import UsageError
from depthcrafter_cli.training.config import Optimisation, TrainingConfig

NARROWEST = 16  # rows or columns: with fewer there are hardly any directions to balance


def require_optimizers(recipe: TrainingConfig) -> None:
    """Raises UsageError if this PyTorch lacks an optimiser that a stage will ask for."""
    used = {stage.optimizer for stage in recipe.stages}
    if recipe.foundation:
        used |= {part.optimisation.optimizer for part in recipe.foundation.trained.values()}
    if "muon" in used and not hasattr(torch.optim, "Muon"):
        raise UsageError(
            f'got optimizer = "muon" with PyTorch {torch.__version__}, expected 2.9 or newer: '
            "upgrade it, or choose adamw."
        )


def optimizer_of(plan: Optimisation, parameters: Sequence[nn.Parameter]) -> Optimizer:
    """The optimiser a stage's recipe names, over the parameters that it trains."""
    if plan.optimizer == "muon":
        return MuonWithAdamW(parameters, plan.learning_rate, plan.weight_decay)
    return _adamw(parameters, plan.learning_rate, plan.weight_decay)


class MuonWithAdamW(Optimizer):
    """Muon for matrices and convolutions, AdamW for everything else.

    Muon (Jordan, 2024; arXiv 2502.16982 for its scale) makes the singular values of each update
    alike, so that rare directions learn as fast as common ones. PyTorch's takes matrices only:
    it is given views of the convolutions, a row for each output channel. Updates have the size of
    AdamW's, so one learning rate serves both.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], lr: float, weight_decay: float) -> None:
        self._whole = [p for p in parameters if is_matrix(p)]
        # A view shares its parameter's memory: a step on the one is a step on the other.
        self._matrices = [nn.Parameter(p.detach().view(len(p), -1)) for p in self._whole]
        rest = [p for p in parameters if not is_matrix(p)]
        self._parts: list[Optimizer] = []
        if self._matrices:
            muon = torch.optim.Muon(
                self._matrices, lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"
            )
            self._parts.append(muon)
        if rest:
            self._parts.append(_adamw(rest, lr, weight_decay))
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:
        """One step of each, at the learning rate of the first parameter group."""
        for whole, matrix in zip(self._whole, self._matrices, strict=True):
            matrix.grad = None if whole.grad is None else whole.grad.view(len(whole), -1)
        for part in self._parts:
            for group in part.param_groups:
                group["lr"] = self.param_groups[0]["lr"]
            part.step()
        for matrix in self._matrices:
            matrix.grad = None  # or it would outlive the parameter's

    def state_dict(self) -> dict[str, Any]:
        """Those of Muon and of AdamW, in this order."""
        return {"parts": [part.state_dict() for part in self._parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what :meth:`state_dict` returned."""
        for part, state in zip(self._parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)


def is_matrix(parameter: Tensor) -> bool:
    return bool(parameter.ndim > 1 and min(parameter.flatten(1).shape) >= NARROWEST)


def _adamw(parameters: Sequence[nn.Parameter], lr: float, weight_decay: float) -> AdamW:
    return AdamW(parameters, lr=lr, weight_decay=weight_decay, betas=(0.9, 0.99), fused=True)
