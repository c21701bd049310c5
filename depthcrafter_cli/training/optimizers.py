"""The optimisers that a recipe may name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from depthcrafter_cli.errors import UsageError
from depthcrafter_cli.media.files import missing_package
from depthcrafter_cli.training.config import Optimisation, TrainingConfig

_LEAST_8BIT, _BLOCK = 4096, 256  # numbers in a tensor, and in a block with a scale of its own
NARROWEST = 16  # rows or columns: with fewer there are hardly any directions to balance


def require_optimizers(recipe: TrainingConfig) -> None:
    """Raises UsageError for an optimiser that this PyTorch lacks, or that cannot be on the host."""
    plans: list[Optimisation] = [*recipe.stages]
    if recipe.foundation:
        plans += [part.optimisation for part in recipe.foundation.trained.values()]
    used = {plan.optimizer for plan in plans}
    hosted = {plan.optimizer for plan in plans if plan.optimizer_on == "host"} - {"adamw"}
    if hosted:
        raise UsageError(
            f'got optimizer_on = "host" with optimizer = "{min(hosted)}", expected "adamw", which '
            "alone can step there: leave one of them out."
        )
    if "muon" in used and not hasattr(torch.optim, "Muon"):
        raise UsageError(
            f'got optimizer = "muon" with PyTorch {torch.__version__}, expected 2.9 or newer: '
            "upgrade it, or choose adamw."
        )
    lacking = missing_package('optimizer = "adamw8bit"', "bitsandbytes", "8bit", "choose adamw")
    if "adamw8bit" in used and lacking:
        raise UsageError(lacking)


def groups_of(plan: Optimisation, network: nn.Module) -> list[dict[str, Any]]:
    """What a plan trains of a network, a group for each ``share`` of the learning rate.

    Raises UsageError for a key of ``rates`` that is part of no name.
    """
    named, groups = dict(network.named_parameters()), dict[float, list[nn.Parameter]]()
    for part in plan.rates:
        if not any(part in name for name in named):
            raise UsageError(
                f"got a rate of {part!r}, expected a part of parameters' names, such as "
                f"{next(iter(named))!r}: correct it."
            )
    for name, parameter in named.items():
        if parameter.requires_grad:
            shares = [share for part, share in plan.rates.items() if part in name]
            groups.setdefault(min(shares, default=1.0), []).append(parameter)
    return [{"params": groups[share], "share": share} for share in groups]


def optimizer_of(plan: Optimisation, parameters: Sequence[Any]) -> Optimizer:
    """The optimiser a stage's recipe names, over parameters or :func:`groups_of` them."""
    if plan.optimizer == "muon":
        return MuonWithAdamW(parameters, plan)
    if plan.optimizer == "adamw8bit":
        from bitsandbytes.optim import AdamW8bit

        # It keeps small tensors' state in float32.
        eight: Optimizer = AdamW8bit(
            parameters, lr=plan.learning_rate, weight_decay=plan.weight_decay,
            betas=(plan.betas[0], plan.betas[1]), min_8bit_size=_LEAST_8BIT,
        )  # fmt: skip
        return eight
    return (
        AdamWOnHost(parameters, plan) if plan.optimizer_on == "host" else _adamw(parameters, plan)
    )


class AdamWOnHost(Optimizer):
    """AdamW that steps in the host's memory, where its state is, and a copy of the weights.

    In every step gradients go there, and weights come back. Its state is that of AdamW.
    """

    def __init__(self, parameters: Sequence[Any], plan: Optimisation) -> None:
        super().__init__(parameters, {"lr": plan.learning_rate})
        copies = [
            [nn.Parameter(p.detach().to("cpu", copy=True)) for p in group["params"]]
            for group in self.param_groups
        ]
        self._adamw = _adamw([{"params": group} for group in copies], plan)
        self._copies = [copy for group in copies for copy in group]

    def _trained(self) -> list[nn.Parameter]:
        return [parameter for group in self.param_groups for parameter in group["params"]]

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:
        """One step, at the learning rates of the parameter groups."""
        parameters = self._trained()
        for copy, parameter in zip(self._copies, parameters, strict=True):
            copy.grad = None if parameter.grad is None else parameter.grad.to("cpu")
        for group, ours in zip(self._adamw.param_groups, self.param_groups, strict=True):
            group["lr"] = ours["lr"]
        self._adamw.step()
        for copy, parameter in zip(self._copies, parameters, strict=True):
            parameter.copy_(copy)
            copy.grad = None

    def state_dict(self) -> dict[str, Any]:
        """AdamW's."""
        state: dict[str, Any] = self._adamw.state_dict()
        return state

    @torch.no_grad()
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what :meth:`state_dict` returned, with the weights as they are now."""
        self._adamw.load_state_dict(state_dict)
        for copy, parameter in zip(self._copies, self._trained(), strict=True):
            copy.copy_(parameter)


class MuonWithAdamW(Optimizer):
    """Muon for matrices and convolutions, AdamW for everything else.

    Muon (Jordan, 2024; arXiv 2502.16982 for its scale) makes the singular values of each update
    alike, so that rare directions learn as fast as common ones. PyTorch's takes matrices only:
    it is given views of the convolutions, a row for each output channel. Updates have the size of
    AdamW's, so one learning rate serves both.
    """

    def __init__(self, parameters: Sequence[Any], plan: Optimisation) -> None:
        super().__init__(parameters, {"lr": plan.learning_rate})
        self._whole: list[nn.Parameter] = []
        self._matrices: list[nn.Parameter] = []
        self._parts: list[tuple[dict[str, Any], Optimizer]] = []
        for group in self.param_groups:
            whole = [p for p in group["params"] if is_matrix(p)]
            # A view shares its parameter's memory: a step on the one is a step on the other.
            matrices = [nn.Parameter(p.detach().view(len(p), -1)) for p in whole]
            rest = [p for p in group["params"] if not is_matrix(p)]
            if matrices:
                muon = torch.optim.Muon(
                    matrices, lr=plan.learning_rate, weight_decay=plan.weight_decay,
                    adjust_lr_fn="match_rms_adamw",
                )  # fmt: skip
                self._parts.append((group, muon))
            if rest:
                self._parts.append((group, _adamw(rest, plan)))
            self._whole += whole
            self._matrices += matrices

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:
        """One step of each, at the learning rates of the parameter groups."""
        for whole, matrix in zip(self._whole, self._matrices, strict=True):
            matrix.grad = None if whole.grad is None else whole.grad.view(len(whole), -1)
        for group, part in self._parts:
            for own in part.param_groups:
                own["lr"] = group["lr"]
            part.step()
        for matrix in self._matrices:
            matrix.grad = None  # or it would outlive the parameter's

    def state_dict(self) -> dict[str, Any]:
        """Those of Muon and of AdamW, in this order, group by group."""
        return {"parts": [part.state_dict() for _, part in self._parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what :meth:`state_dict` returned."""
        for (_, part), state in zip(self._parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)


def state_bytes(plan: Optimisation, parameter: Tensor) -> int:
    """What the optimiser of a recipe keeps of a parameter."""
    count = int(parameter.numel())
    if plan.optimizer == "adamw8bit" and count >= _LEAST_8BIT:
        # Twice a byte for each number, and a float32 for each block of them.
        return 2 * (count + 4 * -(-count // _BLOCK))
    # Muon keeps one number for each of a matrix's, AdamW two.
    return 4 * count * (1 if plan.optimizer == "muon" and is_matrix(parameter) else 2)


def is_matrix(parameter: Tensor) -> bool:
    return bool(parameter.ndim > 1 and min(parameter.flatten(1).shape) >= NARROWEST)


def _adamw(parameters: Sequence[Any], plan: Optimisation) -> AdamW:
    return AdamW(
        parameters, lr=plan.learning_rate, weight_decay=plan.weight_decay,
        betas=(plan.betas[0], plan.betas[1]), fused=True,
    )  # fmt: skip
