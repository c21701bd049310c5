"""An atlas of grey patterns; a material mixes its two colours by one of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from depthcrafter_cli.synthetic.solids import Vector

SIDE = 128
LEVELS = 4  # sharp, blurred by 4 and by 16 texels, mean: read by distance against aliasing
Rng = np.random.Generator


def _unit(field: Vector) -> Vector:
    low, high = np.quantile(field, (0.02, 0.98))
    clamped: Vector = np.clip((field - low) / max(high - low, 1e-9), 0, 1)
    return clamped


def _coordinates() -> tuple[Vector, Vector]:
    axis = np.arange(SIDE) / SIDE
    return np.meshgrid(axis, axis, indexing="xy")  # u along columns, v along rows


def noise(rng: Rng, roughness: float, stretch: float = 1.0) -> Vector:
    """Periodic noise whose spectrum falls with frequency to the power ``roughness``."""
    frequency = np.fft.fftfreq(SIDE) * SIDE
    radius = np.hypot(frequency[:, None] * stretch, frequency[None, :] / stretch)
    spectrum = np.fft.fft2(rng.normal(size=(SIDE, SIDE))) / np.maximum(radius, 0.7) ** roughness
    spectrum[0, 0] = 0
    return _unit(np.fft.ifft2(spectrum).real)


def _fractal(rng: Rng) -> Vector:
    return noise(rng, rng.uniform(0.6, 2.2), np.exp(rng.normal() * 0.4))


def _blotches(rng: Rng) -> Vector:
    sharpness = rng.uniform(4, 30)
    return 1 / (
        1 + np.exp(-sharpness * (noise(rng, rng.uniform(1.2, 2.2)) - rng.uniform(0.3, 0.7)))
    )


def _checks(rng: Rng) -> Vector:
    u, v = _coordinates()
    n, m = rng.integers(1, 6, 2)
    checks: Vector = ((np.floor(u * 2 * n) + np.floor(v * 2 * m)) % 2) * 0.8 + 0.2 * noise(rng, 1)
    return checks


def _stripes(rng: Rng) -> Vector:
    u, v = _coordinates()
    n, m = rng.integers(0, 9), rng.integers(0, 3)
    wave = np.sin(2 * np.pi * (n * u + m * v + 0.06 * rng.random() * noise(rng, 2)))
    stripes: Vector = 0.5 + 0.5 * np.tanh(wave * np.exp(rng.uniform(-1, 3)))
    return stripes


def _bricks(rng: Rng) -> Vector:
    u, v = _coordinates()
    rows = int(rng.integers(3, 9)) * 2
    columns = int(rng.integers(2, 6))
    row = np.floor(v * rows)
    across = u * columns + 0.5 * (row % 2) * rng.integers(0, 2)
    tone = rng.random((rows, columns))[
        row.astype(int) % rows, np.floor(across).astype(int) % columns
    ]
    joint = np.minimum(across % 1 * SIDE / columns, v * rows % 1 * SIDE / rows) < rng.uniform(1, 3)
    return np.where(joint, rng.random(), 0.3 + 0.5 * tone) * 0.85 + 0.15 * noise(rng, 1)


def _planks(rng: Rng) -> Vector:
    u, _ = _coordinates()
    count = int(rng.integers(2, 8))
    tone = rng.random(count)[np.floor(u * count).astype(int)]
    gap = (u * count % 1) * SIDE / count < 1.5
    return np.where(gap, 0.0, 0.5 * tone + 0.5 * noise(rng, 1.2, 4.0))


def _dots(rng: Rng) -> Vector:
    u, v = _coordinates()
    n = rng.integers(2, 8)
    return (np.hypot(u * n % 1 - 0.5, v * n % 1 - 0.5) < rng.uniform(0.15, 0.45)).astype(float)


def _grass(rng: Rng) -> Vector:
    return _unit(noise(rng, rng.uniform(0.2, 0.8), 0.4) + rng.uniform(0, 1) * noise(rng, 1.8))


def _windows(rng: Rng) -> Vector:
    u, v = _coordinates()
    columns, rows = rng.integers(3, 9, 2)
    fill_u, fill_v = rng.uniform(0.4, 0.85, 2)
    tone = rng.random((rows, columns)) ** 2 * rng.uniform(0.2, 0.8)
    inside = (u * columns % 1 < fill_u) & (v * rows % 1 < fill_v)
    pane = tone[(v * rows).astype(int), (u * columns).astype(int)]
    return np.where(inside, pane, 0.75 + 0.25 * noise(rng, 1.2))


def _patches(rng: Rng) -> Vector:
    u, v = _coordinates()
    points = rng.random((int(rng.integers(6, 60)), 2))
    du = np.abs(u[..., None] - points[:, 0])
    dv = np.abs(v[..., None] - points[:, 1])
    distance = np.hypot(np.minimum(du, 1 - du), np.minimum(dv, 1 - dv))
    tones: Vector = rng.random(len(points))[distance.argmin(-1)]
    return tones


def _marble(rng: Rng) -> Vector:
    u, v = _coordinates()
    return 0.5 + 0.5 * np.sin(2 * np.pi * (u + v + rng.uniform(1, 4) * noise(rng, 2)))


def _picture(rng: Rng) -> Vector:
    image = noise(rng, 2.0) * rng.random()
    for _ in range(int(rng.integers(2, 14))):
        a, b, c, d = rng.integers(0, SIDE, 4)
        image[min(a, b) : max(a, b), min(c, d) : max(c, d)] = rng.random()
    return image


def _photo(rng: Rng) -> Vector:
    """Soft light and dark masses with a few hard contours, as a printed photograph has."""
    u, v = _coordinates()
    image = noise(rng, rng.uniform(1.6, 2.6)) + rng.normal() * (v - 0.5) * 2
    for _ in range(int(rng.integers(1, 7))):
        x, y, angle = rng.uniform(0.1, 0.9), rng.uniform(0.1, 0.9), rng.uniform(0, np.pi)
        a, b = rng.uniform(0.05, 0.4, 2)
        du, dv = u - x, v - y
        along = (du * np.cos(angle) + dv * np.sin(angle)) / a
        across = (dv * np.cos(angle) - du * np.sin(angle)) / b
        radius = along**2 + across**2
        shading = rng.random() + rng.normal() * 0.4 * along + 0.15 * noise(rng, 1.6)
        image = np.where(radius < 1, shading * rng.uniform(0.5, 1.5), image)
    return _unit(image)


def _plain(rng: Rng) -> Vector:
    return 0.5 + rng.uniform(0, 0.25) * (noise(rng, 1.5) - 0.5)


PATTERNS: dict[str, Callable[[Rng], Vector]] = {
    "plain": _plain, "fractal": _fractal, "blotches": _blotches, "grass": _grass,
    "checks": _checks, "stripes": _stripes, "bricks": _bricks, "planks": _planks, "dots": _dots,
    "windows": _windows, "patches": _patches, "marble": _marble, "picture": _picture,
    "photo": _photo,
}  # fmt: skip
VARIANTS = 4


def index(name: str, rng: Rng) -> int:
    """An atlas index of one of the pattern's variants."""
    return list(PATTERNS).index(name) * VARIANTS + int(rng.integers(VARIANTS))


def atlas(rng: Rng) -> Tensor:
    """float32 [LEVELS, patterns * VARIANTS, SIDE, SIDE] in [0, 1]."""
    sharp = np.stack([draw(rng) for draw in PATTERNS.values() for _ in range(VARIANTS)])
    return _levels(torch.from_numpy(np.clip(sharp, 0, 1).astype(np.float32)))


_NATURAL = ("fractal", "grass", "blotches")  # also leaves, clouds and the light through a canopy


def printed(atlas: Tensor, rng: Rng, picture: Callable[[Rng], Vector]) -> Tensor:
    """An atlas half of whose patterns, but for the natural ones, are greys of pictures.

    ``picture`` gives one, [SIDE, SIDE] in [0, 1].
    """
    made = atlas[0].clone()
    for kind, name in enumerate(PATTERNS):
        share = 0.0 if name in _NATURAL else 0.9 if name in ("photo", "picture") else 0.55
        for variant in range(VARIANTS):
            if rng.random() < share:
                grey = picture(rng).astype(np.float32)
                made[kind * VARIANTS + variant] = torch.from_numpy(grey)
    return _levels(made)


def _levels(sharp: Tensor) -> Tensor:
    """Patterns [n, SIDE, SIDE] at all levels of sharpness."""
    levels = [sharp[:, None]]
    for factor in (4, 16, SIDE):
        small = F.avg_pool2d(levels[0], factor)
        levels.append(F.interpolate(small, size=(SIDE, SIDE), mode="nearest"))
    return torch.stack(levels)[:, :, 0].contiguous()
