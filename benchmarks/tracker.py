"""The package's tracker of simulated memory, around whole stages of the real pipeline."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor

from depthcrafter_cli.training.tracker import DEVICE, Tracker

__all__ = ["DEVICE", "Tracker", "simulated"]


@contextmanager
def simulated() -> Iterator[Tracker]:
    """Inside, the tracker follows tensors on :data:`DEVICE`; what needs values is skipped."""
    with (
        mock.patch.object(F, "scaled_dot_product_attention", _flash_attention),
        # Weights stay where they are; the copies that would replace them are counted.
        mock.patch("depthcrafter_cli.models.residency._place", lambda *_: None),
        mock.patch("depthcrafter_cli.models.copies.Copies.begin", lambda *_: None),
        Tracker() as tracker,
    ):
        yield tracker


def _flash_attention(query: Tensor, key: Tensor, value: Tensor, **_: Any) -> Tensor:
    """What a fused kernel allocates: the result, and a number per query."""
    mixed = torch.empty_like(query.transpose(1, 2)).transpose(1, 2)
    del key, value
    per_query = torch.empty(query.shape[:-1], dtype=torch.float32, device=query.device)
    del per_query
    return mixed
