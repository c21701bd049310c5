"""What happens to light after it leaves the scene: lens, film, sensor, artist and codec."""

from __future__ import annotations

import io

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image as Pillow
from torch import Tensor

from depthcrafter_cli.synthetic import overlays
from depthcrafter_cli.synthetic.render import Image

Rng = np.random.Generator


def _blur(colour: Tensor, radius: float) -> Tensor:
    """Gaussian of standard deviation ``radius`` pixels over [T, H, W, 3]."""
    reach = max(1, int(radius * 2.5))
    steps = torch.arange(-reach, reach + 1, device=colour.device).float()
    kernel = torch.exp(-0.5 * (steps / radius) ** 2)
    kernel = (kernel / kernel.sum()).expand(3, 1, 1, -1)
    planes = F.pad(colour.permute(0, 3, 1, 2), (reach, reach, reach, reach), mode="replicate")
    planes = F.conv2d(planes, kernel, groups=3)
    return F.conv2d(planes, kernel.transpose(-1, -2), groups=3).permute(0, 2, 3, 1)


def _defocus(rng: Rng, colour: Tensor, depth: Tensor) -> Tensor:
    near = torch.quantile(depth[:, ::8, ::8].clamp_max(1e3), float(rng.uniform(0.05, 0.5)))
    apart = (1 / depth.clamp_min(0.1) - 1 / near).abs() * near * float(rng.uniform(0.6, 1.6))
    return torch.lerp(
        colour, _blur(colour, float(rng.uniform(1.0, 3.0))), apart.clamp(0, 1)[..., None]
    )


def _smear(rng: Rng, colour: Tensor) -> Tensor:
    """Motion blur of a moving camera: an average along rows or columns."""
    length = int(rng.integers(3, 8)) | 1
    size = (1, length) if rng.random() < 0.7 else (length, 1)
    planes = F.pad(
        colour.permute(0, 3, 1, 2), (size[1] // 2,) * 2 + (size[0] // 2,) * 2, mode="replicate"
    )
    return F.avg_pool2d(planes, size, stride=1).permute(0, 2, 3, 1)


def _outlines(image: Image, colour: Tensor) -> Tensor:
    """Flat tones and dark contours, like a drawn film."""
    levels = 5.0
    colour = torch.lerp(colour, (colour.clamp_min(0).sqrt() * levels).round().div(levels) ** 2, 0.8)
    edge = torch.zeros_like(image.depth, dtype=torch.bool)
    edge[:, :, 1:] |= image.ident[:, :, 1:] != image.ident[:, :, :-1]
    edge[:, 1:] |= image.ident[:, 1:] != image.ident[:, :-1]
    return colour * torch.where(edge, 0.2, 1.0)[..., None]


def _grade(rng: Rng, colour: Tensor) -> Tensor:
    """Exposure, white balance, saturation, tone curve: linear light to display values."""
    level = torch.quantile(colour[:, ::4, ::4].mean(-1), float(rng.uniform(0.4, 0.9)))
    colour = colour * (float(np.exp(rng.normal() * 0.5)) * 0.3 / level.clamp_min(1e-3))
    if rng.random() < 0.1:  # an automatic exposure that has not settled
        drift = torch.linspace(0, float(rng.normal() * 0.5), len(colour), device=colour.device)
        colour = colour * drift.exp()[:, None, None, None]
    tint = 0.3 if rng.random() < 0.15 else 0.08
    balance = torch.tensor(np.exp(rng.normal(size=3) * tint), dtype=torch.float32)
    colour = colour * balance.to(colour.device)
    grey = colour.mean(-1, keepdim=True)
    saturation = 0.0 if rng.random() < 0.04 else float(rng.uniform(0.55, 1.5))
    colour = (grey + (colour - grey) * saturation).clamp_min(0)
    if rng.random() < 0.7:
        colour = colour / (1 + colour * 0.35)
    colour = colour.clamp(0, 1) ** (1 / 2.2)
    if rng.random() < 0.4:
        contrast = float(rng.uniform(0.7, 1.3))
        colour = 0.5 + (colour - 0.5) * contrast + float(rng.normal() * 0.04)
    return colour.clamp(0, 1)


def _bloom(rng: Rng, colour: Tensor) -> Tensor:
    """Light that spills over from what is much brighter than the rest."""
    level = torch.quantile(colour[:, ::4, ::4].mean(-1), 0.9)
    spill = (colour - level).clamp(0, 2)
    return colour + _blur(spill, float(rng.uniform(3, 8))) * float(rng.uniform(0.2, 1.0))


def _vignette(rng: Rng, colour: Tensor) -> Tensor:
    y = torch.linspace(-1, 1, colour.shape[1], device=colour.device)[:, None]
    x = torch.linspace(-1, 1, colour.shape[2], device=colour.device)[None, :]
    return colour * (1 - float(rng.uniform(0, 0.3)) * (x * x + y * y))[None, :, :, None]


def _noise(rng: Rng, colour: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    grain = torch.randn(colour.shape, generator=generator).to(colour.device)
    return colour + grain * (0.003 + 0.035 * float(rng.random()) ** 2)


def _codec(rng: Rng, pictures: Tensor) -> Tensor:
    """uint8 [T, H, W, 3] through JPEG, which blocks and rings like video codecs do."""
    quality = int(rng.integers(30, 95))
    decoded = []
    for picture in pictures.cpu().numpy():
        file = io.BytesIO()
        Pillow.fromarray(picture).save(file, "JPEG", quality=quality)
        decoded.append(np.array(Pillow.open(file)))
    return torch.from_numpy(np.stack(decoded)).to(pictures.device)


def _quantised(colour: Tensor) -> Tensor:
    return (colour.clamp(0, 1) * 255 + 0.5).to(torch.uint8)


def develop(rng: Rng, image: Image, clean: bool = False) -> Tensor:
    """Display colour, uint8 [T, H, W, 3], of a rendered clip; ``clean`` only exposes it."""
    colour = image.colour
    if clean:
        return _quantised(_grade(rng, _blur(colour, 0.35)))
    if rng.random() < 0.08:
        colour = _outlines(image, colour)
    if rng.random() < 0.15:
        colour = _defocus(rng, colour, image.depth)
    if rng.random() < 0.1:
        colour = _smear(rng, colour)
    if rng.random() < 0.15:
        colour = _bloom(rng, colour)
    colour = _blur(colour, 0.3 + 0.6 * float(rng.random()) ** 2)
    if rng.random() < 0.2:
        colour = overlays.wash(rng, colour)
    colour = _grade(rng, colour)
    if rng.random() < 0.3:
        colour = _vignette(rng, colour)
    if rng.random() < 0.06:
        colour = overlays.particles(rng, colour)
    if rng.random() < 0.06:
        colour = overlays.coarse(rng, colour)
    if rng.random() < 0.05:
        colour = overlays.lettering(rng, colour)
    if rng.random() < 0.5:
        colour = _noise(rng, colour)
    if rng.random() < 0.04:
        colour = overlays.bars(rng, colour)
    pictures = _quantised(colour)
    return _codec(rng, pictures) if rng.random() < 0.4 else pictures
