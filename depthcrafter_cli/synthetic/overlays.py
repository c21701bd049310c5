"""What lies in front of the lens or on top of the picture and has no depth of its own."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Rng = np.random.Generator


def particles(rng: Rng, colour: Tensor) -> Tensor:
    """Snow, rain, dust or sparks drifting over [T, H, W, 3], as dots or streaks."""
    frames, height, width = colour.shape[:3]
    layer = torch.zeros(frames, height, width)
    count = int(rng.integers(10, 160))
    where = rng.random((count, 2)) * [height, width]
    speed = rng.normal(size=2) * 4 + rng.normal(size=(count, 2))
    length = int(rng.integers(1, 7))
    for frame in range(frames):
        for step in range(length):
            at = where + speed * (frame + step / 7)
            rows, columns = at[:, 0].astype(int) % height, at[:, 1].astype(int) % width
            layer[frame, torch.from_numpy(rows), torch.from_numpy(columns)] = 1.0
    if rng.random() < 0.6:
        layer = F.max_pool2d(layer[:, None], 3, 1, 1)[:, 0] * float(rng.uniform(0.4, 1))
    tint = torch.tensor(rng.uniform(0.5, 1.0, 3), dtype=torch.float32, device=colour.device)
    cover = layer.to(colour.device)[..., None] * float(rng.uniform(0.3, 1.0))
    return torch.lerp(colour, tint.expand_as(colour), cover)


def lettering(rng: Rng, colour: Tensor) -> Tensor:
    """Subtitles, a station's mark or a game's displays: flat blocks that do not move."""
    height, width = colour.shape[1:3]
    colour = colour.clone()
    for _ in range(int(rng.integers(1, 5))):
        tall = int(rng.integers(2, max(3, height // 12)))
        wide = int(rng.integers(4, max(5, width // 3)))
        top = int(rng.integers(height - tall) * (1.0 if rng.random() < 0.4 else 0))
        top = top if rng.random() < 0.5 else height - tall - top // 4
        left = int(rng.integers(width - wide))
        ink = torch.tensor(rng.random(3), dtype=torch.float32, device=colour.device)
        strokes = torch.from_numpy(rng.random((tall, wide)) < rng.uniform(0.35, 1.1))
        part = colour[:, top : top + tall, left : left + wide]
        part[:, strokes.to(colour.device)] = ink
    return colour


def bars(rng: Rng, colour: Tensor) -> Tensor:
    """Black bars above and below, or left and right."""
    height, width = colour.shape[1:3]
    colour = colour.clone()
    if rng.random() < 0.8:
        band = int(height * rng.uniform(0.04, 0.14))
        colour[:, :band] = 0
        colour[:, height - band :] = 0
    else:
        band = int(width * rng.uniform(0.04, 0.14))
        colour[:, :, :band] = 0
        colour[:, :, width - band :] = 0
    return colour


def wash(rng: Rng, colour: Tensor) -> Tensor:
    """Brightness and tint that vary over the picture for no reason of depth."""
    shape = (1, 3, *(int(n) for n in rng.integers(2, 5, 2)))
    field = torch.from_numpy(np.exp(rng.normal(size=shape) * rng.uniform(0.1, 0.6))).float()
    field = field.lerp(field.mean(1, keepdim=True), float(rng.random()))
    size = list(colour.shape[1:3])
    field = F.interpolate(field, size=size, mode="bicubic", align_corners=True).clamp_min(0.05)
    return colour * field.permute(0, 2, 3, 1).to(colour.device)


def coarse(rng: Rng, colour: Tensor) -> Tensor:
    """A picture of fewer pixels, enlarged."""
    planes = colour.permute(0, 3, 1, 2)
    size = [int(n * rng.uniform(0.45, 0.9)) for n in planes.shape[2:]]
    planes = F.interpolate(planes, size=size, mode="area")
    planes = F.interpolate(planes, size=list(colour.shape[1:3]), mode="bilinear")
    return planes.permute(0, 2, 3, 1)
