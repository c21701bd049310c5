"""What networks are trained towards: disparity from 0 to 1, masks and weights of cells."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

FARTHEST = 20.0
"""How far depth counts, in medians of its clip."""
_NEAREST = 1 / 1000  # medians: what is nearer stands for depth that is not known


def target_disparity(disparity: Tensor, valid: Tensor) -> Tensor:
    """Disparity of a clip under one scale and one shift, float32 [T, H, W] in [0, 1].

    The ends are the 0.5 and 99 % quantiles of the whole clip, so that a speck in front of the lens
    does not flatten everything else (arXiv 2409.02095, section 3.1: the whole sequence shares one
    scale and shift). What is not valid is filled from its surroundings; 0 where nothing is valid,
    as in some frames of a clip: its mask keeps them from the loss.
    """
    values = disparity[valid]
    if not len(values):
        return torch.zeros_like(disparity)
    values = _some(values)
    low, high = torch.quantile(values, torch.tensor([0.005, 0.99], device=values.device))
    unit = ((disparity - low) / (high - low).clamp_min(1e-6)).clamp(0, 1)
    return unit if bool(valid.all()) else fill_invalid(unit, valid)


def _some(values: Tensor) -> Tensor:
    """Fewer than 200,000 of them, evenly chosen: enough for quantiles."""
    return values[:: max(1, len(values) // 100_000)]


def fill_invalid(values: Tensor, valid: Tensor) -> Tensor:
    """``values`` [T, H, W] with what is not valid taken from ever wider surroundings.

    So no edge that isn't there reaches the VAE, whose cells see far beyond their own pixels.
    """
    weight = valid.float()[:, None]
    return _pulled(values[:, None] * weight, weight)[:, 0]


def _pulled(total: Tensor, weight: Tensor) -> Tensor:
    """Weighted means where there is weight, those of half the size elsewhere."""
    mean = total / weight.clamp_min(1e-6)
    if min(total.shape[-2:]) < 2 or bool((weight > 0).all()):
        # A frame without any valid pixel takes the clip's mean.
        overall = (total.sum() / weight.sum().clamp_min(1e-6)).expand_as(mean)
        return torch.where(weight > 0, mean, overall)
    coarse = _pulled(
        F.avg_pool2d(total, 2, ceil_mode=True), F.avg_pool2d(weight, 2, ceil_mode=True)
    )
    wide = F.interpolate(coarse, size=total.shape[-2:], mode="bilinear", align_corners=False)
    return torch.where(weight > 0, mean, wide)


def latent_mask(valid: Tensor, cell: int = 8) -> Tensor:
    """``valid`` [T, H, W] on the latent grid, float32 [T, 1, h, w].

    A cell counts, with 1, where all of its pixels are valid; a cell that was filled in part would
    teach the filling.
    """
    return 1 - F.max_pool2d((~valid[:, None]).float(), cell)


def far_weight(disparity: Tensor, target: Tensor, far: float, cell: int = 8) -> Tensor:
    """How much every latent cell matters to depth, float32 [T, 1, h, w]; 1 for the nearest.

    The same error of disparity changes depth the more the farther it is, so a pixel of ``target``
    t in [0, 1] weighs (1 + ``far``) / (t + ``far``). What is infinitely far, ``disparity`` 0, has
    no depth to be wrong about and weighs 1.
    """
    weight = torch.where(disparity > 0, (1 + far) / (target + far), 1.0)
    return F.avg_pool2d(weight[:, None], cell)


def depth_cells(disparity: Tensor, valid: Tensor, cell: int = 8) -> Tensor:
    """Mean inverse depth on the latent grid, float32 [T, 1, h, w], where the clip's median is 1.

    0 where a pixel of the cell is not valid, or farther than ``FARTHEST`` medians, or nearer than
    any picture is.
    """
    known = disparity[valid & (disparity > 0)]
    if not len(known):
        return latent_mask(valid, cell) * 0
    relative = (disparity / _some(known).median()).clamp_max(1 / _NEAREST)
    counts = latent_mask(valid & (relative > 1 / FARTHEST) & (relative < 1 / _NEAREST), cell)
    return F.avg_pool2d(relative[:, None], cell) * counts
