"""In which type networks compute while they train; their weights stay in float32."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch

from depthcrafter_cli.models.devices import emulates_bfloat16
from depthcrafter_cli.progress import Warn


@dataclass(frozen=True)
class Precision:
    """``fp32``, or ``bf16``: matrix products and convolutions in bfloat16.

    bfloat16 has the range of float32, so no loss needs scaling; fp16, which does, is not offered.
    """

    name: str
    device: torch.device

    @property
    def dtype(self) -> torch.dtype:
        """The type of products, and of networks that do not learn."""
        return torch.bfloat16 if self.name == "bf16" else torch.float32

    def __call__(self) -> AbstractContextManager[object]:
        """Let networks compute in this precision inside the context."""
        automatic: AbstractContextManager[object]
        automatic = torch.autocast(self.device.type, self.dtype, enabled=self.name == "bf16")
        return automatic


def suited_precision(name: str, device: torch.device, warn: Warn) -> Precision:
    """The precision of this name; ``fp32``, of which ``warn`` is told, where bf16 is emulated."""
    if name == "bf16" and emulates_bfloat16(device):
        warn("This processor has no instructions for bfloat16, and would train many times slower "
             'in it: all is computed in float32, as by `precision = "fp32"`.')  # fmt: skip
        name = "fp32"
    return Precision(name, device)
