"""Parts of clips at random scales and in changed colours: of few frames, many views.

A view is a random part of a clip of the shape wanted, brought to its size. One clip gets one part
and one change of colours for all of its frames.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from depthcrafter_cli.datasets.clip import Sample
from depthcrafter_cli.training.config import ViewsConfig, ViewSize

Rng = np.random.Generator


def view(clip: Sample, size: ViewSize, plan: ViewsConfig, rng: Rng) -> Sample:
    """Return a part of a clip at another scale, as ``plan`` says."""
    rows, columns = _place(clip.rgb.shape[1:3], size, plan.scales, rng)
    pictures = clip.rgb[:, rows, columns].permute(0, 3, 1, 2).float()
    wanted = size.height, size.width
    if pictures.shape[2:] != wanted:
        pictures = F.interpolate(pictures, wanted, mode="bilinear", antialias=True)
    if plan.colours:
        pictures = recoloured(pictures / 255, rng) * 255
    rgb = pictures.round().clamp(0, 255).byte().permute(0, 2, 3, 1).contiguous()
    # Nothing lies halfway between a thing and what is behind it.
    disparity = _nearest(clip.disparity[:, rows, columns], wanted)
    valid = _nearest(clip.valid[:, rows, columns].float(), wanted) > 0
    return Sample(rgb, disparity, valid)


def drawn_size(plan: ViewsConfig, rng: Rng) -> ViewSize:
    """One of the sizes of a plan."""
    shares = np.array([size.share for size in plan.sizes])
    return plan.sizes[int(rng.choice(len(plan.sizes), p=shares / shares.sum()))]


def _place(shape: Any, size: ViewSize, scales: list[float], rng: Rng) -> tuple[slice, slice]:
    """Rows and columns that become ``size`` at a random scale, at least one that fits."""
    height, width = shape
    least = max(scales[0], size.height / height, size.width / width)
    scale = float(np.exp(rng.uniform(np.log(least), np.log(max(scales[1], least)))))
    rows, columns = min(height, round(size.height / scale)), min(width, round(size.width / scale))
    top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
    return slice(top, top + rows), slice(left, left + columns)


def _nearest(maps: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(maps[:, None], size, mode="nearest-exact")[:, 0]


def recoloured(pictures: Tensor, rng: Rng) -> Tensor:
    """``pictures`` [T, 3, h, w] from 0 to 1 in other light, by another camera, or worse kept."""
    if rng.random() < 0.8:
        pictures = _graded(pictures, rng)
    if rng.random() < 0.4:
        pictures = pictures * _light(pictures.shape[2:], rng)
    if rng.random() < 0.2:
        pictures = _redrawn(pictures.clamp(0, 1), rng)
    if rng.random() < 0.07:
        pictures = pictures.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    if rng.random() < 0.2:
        size, factor = pictures.shape[2:], float(rng.uniform(0.4, 0.8))
        small = F.interpolate(pictures, scale_factor=factor, mode="bilinear", antialias=True)
        pictures = F.interpolate(small, size, mode="bilinear")
    if rng.random() < 0.3:
        grain = torch.from_numpy(rng.standard_normal(pictures.shape, np.float32))
        pictures = pictures + grain * float(0.05 * rng.random() ** 2)
    return pictures.clamp(0, 1)


def _light(size: torch.Size, rng: Rng) -> Tensor:
    """Light [1, 3, h, w] that falls unevenly, bright and dark wherever, a little tinted."""
    coarse = rng.normal(size=(1, 1, *rng.integers(2, 7, 2))) + 0.2 * rng.normal(size=(1, 3, 1, 1))
    field = torch.from_numpy(coarse.astype(np.float32))
    smooth = F.interpolate(field, size, mode="bicubic", align_corners=True)
    return (smooth * float(rng.uniform(0.2, 1.0))).exp()


def _redrawn(pictures: Tensor, rng: Rng) -> Tensor:
    """Brightness by any curve, a negative's among them: so that bright does not mean near."""
    knots = np.sort(rng.random(5))[:: 1 if rng.random() < 0.5 else -1] + rng.normal(size=5) * 0.1
    place = pictures * 4
    low = place.long().clamp_max(3)
    values = torch.from_numpy(knots.astype(np.float32))
    return torch.lerp(values[low], values[low + 1], place - low).clamp(0, 1)


def _graded(pictures: Tensor, rng: Rng) -> Tensor:
    """Hues mixed a little, saturation, white balance, exposure, gamma and contrast."""
    mixed = np.eye(3) + rng.normal(size=(3, 3)) * 0.12 * rng.random()
    mixed /= np.maximum(mixed.sum(1, keepdims=True), 0.3)
    saturation = rng.uniform(0.3, 1.3)
    mixed = saturation * mixed + (1 - saturation) / 3
    mixed *= np.exp(rng.normal(size=(3, 1)) * 0.06 + rng.normal() * 0.2)
    matrix = torch.from_numpy(mixed.astype(np.float32))
    pictures = torch.einsum("ij,tjhw->tihw", matrix, pictures).clamp(0, 1)
    pictures = pictures ** float(np.exp(rng.normal() * 0.25))
    if rng.random() < 0.5:
        contrast, shift = float(rng.uniform(0.6, 1.3)), float(rng.normal() * 0.04)
        pictures = 0.5 + (pictures - 0.5) * contrast + shift
    return pictures
