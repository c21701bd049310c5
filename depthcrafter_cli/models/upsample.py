"""Disparity at a larger size with the edges of its picture: joint bilateral upsampling.

After Kopf et al. 2007: each pixel is a mean of the nearest small disparities, of which those count
most whose colour is that of the pixel, so that a jump in depth lies where the colours jump.
"""

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from depthcrafter_cli.types import Disparity, RgbImage

_REACH = 0.45  # pixels of the small disparity
_COLOURS = 12.0  # of 255, the mean of the channels


def upsample_by_edges(
    disparity: Disparity, picture: RgbImage, device: torch.device | str = "cpu"
) -> Disparity:
    """Disparity [h, w] as float32 [H, W], the size of ``picture`` uint8 [H, W, 3]."""
    small = torch.tensor(disparity, dtype=torch.float32).to(device)
    colours = torch.tensor(picture, device=device).permute(2, 0, 1).float()
    of_small = interpolate(colours[None], size=small.shape, mode="area")[0]
    rows, columns = (
        _places(*sides, device) for sides in zip(small.shape, colours.shape[1:], strict=True)
    )
    total, weights = torch.zeros_like(colours[0]), torch.zeros_like(colours[0])
    for down in (-1, 0, 1):
        row, away_down = _tap(rows, down, small.shape[0])
        for right in (-1, 0, 1):
            column, away_right = _tap(columns, right, small.shape[1])
            other = of_small[:, row][:, :, column]
            unlike = (colours - other).square().mean(dim=0) / _COLOURS**2
            away = away_down[:, None] + away_right
            weight = torch.exp(-(unlike.clamp_max(60) + away) / 2)
            weights += weight
            total += weight * small[row][:, column]
    enlarged: Disparity = (total / weights).cpu().numpy()
    return enlarged


def _places(small: int, large: int, device: torch.device | str) -> Tensor:
    """Where the pixels of a large side lie on a small one."""
    return (torch.arange(large, dtype=torch.float32, device=device) + 0.5) * (small / large) - 0.5


def _tap(places: Tensor, step: int, length: int) -> tuple[Tensor, Tensor]:
    """The pixel ``step`` away from the nearest one, and the square of its distance in reaches."""
    near = places.round() + step
    return near.clamp(0, length - 1).long(), ((places - near) / _REACH).square()
