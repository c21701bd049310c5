"""Colours and materials by kind of thing, drawn at random within what such things look like."""

from __future__ import annotations

import colorsys

import numpy as np

from depthcrafter_cli.synthetic import textures
from depthcrafter_cli.synthetic.solids import Cut, Material

Rng = np.random.Generator
Colour = tuple[float, float, float]

# Ranges of hue, saturation and value.
_RANGES: dict[str, tuple[tuple[float, float], tuple[float, float], tuple[float, float]]] = {
    "any": ((0.0, 1.0), (0.0, 0.9), (0.08, 1.0)),
    "leaf": ((0.16, 0.42), (0.25, 0.9), (0.12, 0.75)),
    "autumn": ((0.0, 0.16), (0.4, 0.95), (0.2, 0.9)),
    "earth": ((0.04, 0.13), (0.15, 0.7), (0.12, 0.7)),
    "grey": ((0.0, 1.0), (0.0, 0.12), (0.05, 0.95)),
    "skin": ((0.02, 0.1), (0.2, 0.65), (0.25, 0.95)),
    "wall": ((0.0, 1.0), (0.0, 0.35), (0.35, 1.0)),
    "sky": ((0.5, 0.68), (0.05, 0.75), (0.45, 1.0)),
    "snow": ((0.5, 0.7), (0.0, 0.12), (0.75, 1.0)),
}


def colour(rng: Rng, kind: str) -> Colour:
    """One colour of a kind, as linear RGB."""
    hue, saturation, value = (rng.uniform(*bounds) for bounds in _RANGES[kind])
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return (red**2.2, green**2.2, blue**2.2)


_STAINS = ("fractal", "blotches", "marble", "picture", "photo", "fractal")


def material(
    rng: Rng, kind: str, patterns: str, *, scale: float = 1.0, contrast: float | None = None,
    fuzz: float = 0.0, cut: Cut = Cut.PATCHES,
) -> Material:  # fmt: skip
    """A material of two related colours and one of the named patterns (space separated)."""
    base = np.array(colour(rng, kind))
    other = np.array(colour(rng, kind)) if rng.random() < 0.5 else base * rng.uniform(0.2, 0.8)
    depth = rng.uniform(0.1, 1.0) if contrast is None else contrast
    dark = base + (other - base) * depth
    pattern = str(rng.choice(patterns.split()))
    scale = float(scale * np.exp(rng.normal() * 0.5))
    stained = float(rng.uniform(0.1, 0.9)) if rng.random() < 0.5 else 0.0
    over = kind if rng.random() < 0.7 else "any"
    return Material(
        dark=(float(dark[0]), float(dark[1]), float(dark[2])),
        light=(float(base[0]), float(base[1]), float(base[2])),
        texture=textures.index(pattern, rng),
        scale=scale,
        fuzz=fuzz,
        gloss=float(rng.uniform(0.1, 0.8)) if rng.random() < 0.25 else 0.0,
        mirror=float(rng.uniform(0.1, 0.7)) if rng.random() < 0.06 else 0.0,
        bump=float(rng.uniform(0.2, 2.0)) if rng.random() < 0.5 else 0.0,
        stain=colour(rng, over),
        stain_texture=textures.index(str(rng.choice(_STAINS)), rng),
        stain_scale=scale * float(np.exp(rng.uniform(np.log(0.15), np.log(1.5)))),
        stained=stained,
        cut=cut,
    )


def anything(rng: Rng, scale: float = 1.0) -> Material:
    """A material of any colour and pattern."""
    return material(rng, "any", " ".join(textures.PATTERNS), scale=scale)
