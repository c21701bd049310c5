"""Plants and stones."""

from __future__ import annotations

import numpy as np

from depthcrafter_cli.synthetic.palette import material
from depthcrafter_cli.synthetic.props import any_rotation, limb, solid
from depthcrafter_cli.synthetic.solids import Cut, Shape, Solid, turn

Rng = np.random.Generator


def tree(rng: Rng) -> list[Solid]:
    """A trunk with a crown of blobs, or a conifer of stacked discs."""
    height = rng.uniform(2.5, 9)
    girth = height * rng.uniform(0.02, 0.08)
    bark = material(rng, "earth", "fractal stripes planks grass", scale=0.7)
    leaf = material(
        rng, "leaf" if rng.random() < 0.8 else "autumn", "grass fractal blotches",
        scale=rng.uniform(0.3, 1.2), fuzz=float(rng.uniform(0, 0.5)),
    )  # fmt: skip
    bare = rng.uniform(0.15, 0.55) * height
    parts = [solid(Shape.CYLINDER, (0, height * 0.4, 0), (girth, height * 0.4, girth), bark)]
    if rng.random() < 0.3:
        for level in np.linspace(bare, height, int(rng.integers(4, 8))):
            width = (height - level) * rng.uniform(0.3, 0.45) + 0.15
            parts.append(solid(Shape.SPHERE, (0, level, 0), (width, height * 0.09, width), leaf))
        return parts
    spread = height * rng.uniform(0.15, 0.35)
    for _ in range(int(rng.integers(3, 8))):
        x, z = rng.normal(size=2) * spread * 0.6
        y = rng.uniform(bare, height)
        w = spread * rng.uniform(0.5, 1.1)
        parts.append(solid(Shape.SPHERE, (x, y, z), (w, w * rng.uniform(0.6, 1), w), leaf))
    for _ in range(int(rng.integers(0, 3))):
        tip = np.array([*rng.normal(size=2) * spread, rng.uniform(bare, height)])[[0, 2, 1]]
        parts.append(limb(np.array([0, bare * 0.8, 0]), tip, girth * 0.6, bark))
    return parts


def trunk(rng: Rng) -> list[Solid]:
    """A tall bare trunk whose crown is out of the picture."""
    bark = material(rng, "earth", "fractal stripes planks grass blotches", scale=0.6)
    girth = rng.uniform(0.12, 0.7)
    lean = turn(2, rng.normal() * 0.06) @ turn(0, rng.normal() * 0.06)
    parts = [solid(Shape.CYLINDER, (0, 8, 0), (girth, 9, girth), bark, lean)]
    for _ in range(int(rng.integers(0, 4))):
        foot = np.array([rng.normal() * girth, 0.0, rng.normal() * girth]) * 2
        parts.append(limb(np.array([0, girth * 1.6, 0]), foot, girth * 0.5, bark))
    return parts


def bush(rng: Rng) -> list[Solid]:
    """A few leafy or flowering blobs on the ground."""
    leaf = material(
        rng, str(rng.choice(["leaf", "leaf", "autumn", "any"])), "grass fractal blotches dots",
        scale=1.5, fuzz=float(rng.uniform(0, 0.6)),
    )  # fmt: skip
    size = rng.uniform(0.15, 1.0)
    return [
        solid(
            Shape.SPHERE,
            (*(rng.normal(size=1) * size), size * 0.5, float(rng.normal() * size)),
            (size, size * rng.uniform(0.5, 1.1), size),
            leaf,
        )
        for _ in range(int(rng.integers(1, 5)))
    ]


def rock(rng: Rng) -> list[Solid]:
    """One to three stones."""
    stone = material(rng, str(rng.choice(["grey", "earth"])), "fractal marble blotches plain")
    size = rng.uniform(0.1, 1.2)
    parts = []
    for _ in range(int(rng.integers(1, 4))):
        x, z = rng.normal(size=2) * size
        shape = Shape.SPHERE if rng.random() < 0.7 else Shape.CUBE
        extent = tuple(size * rng.uniform(0.4, 1.0, 3))
        parts.append(solid(shape, (x, size * 0.2, z), extent, stone, any_rotation(rng)))
    return parts


def grass(rng: Rng) -> list[Solid]:
    """A patch of tall blades, reeds or stalks: upright cards with gaps."""
    tall = float(np.exp(rng.uniform(np.log(0.12), np.log(0.9))))
    kind = str(rng.choice(["leaf", "leaf", "leaf", "autumn", "earth", "any"]))
    parts = []
    for _ in range(int(rng.integers(3, 9))):
        blade = material(
            rng, kind, "grass stripes fractal plain", scale=1.0, contrast=rng.uniform(0.2, 0.9),
            fuzz=float(rng.uniform(0.2, 0.7)), cut=Cut.BLADES,
        )  # fmt: skip
        wide, high = tall * rng.uniform(1, 5), tall * rng.uniform(0.5, 1.0) * 0.5
        x, z = rng.normal(size=2) * tall * 2
        lean = turn(1, rng.normal() * 0.5) @ turn(0, rng.normal() * 0.2)
        size = np.array([wide, high, 0.003])
        center = np.array([x, high * 0.9, z])
        parts.append(Solid(Shape.CUBE, center, size, blade, lean, casts_shadow=False))
    return parts


def lawn(rng: Rng) -> list[Solid]:
    """Grass all over the ground before the camera, from 1.5 to 14 metres off."""
    tall = float(np.exp(rng.uniform(np.log(0.06), np.log(0.4))))
    kind = str(rng.choice(["leaf", "leaf", "leaf", "autumn", "any"]))
    blade = material(
        rng, kind, "grass stripes fractal plain", contrast=rng.uniform(0.3, 1.0),
        fuzz=float(rng.uniform(0.05, 0.4)), cut=Cut.BLADES,
    )  # fmt: skip
    parts = []
    for z in np.exp(np.linspace(np.log(1.5), np.log(14), int(rng.integers(14, 40)))):
        size = np.array([z * rng.uniform(0.3, 1.2), tall * rng.uniform(0.25, 0.6), 0.003])
        center = np.array([rng.uniform(-0.9, 0.9) * z, size[1] * 0.9, z])
        lean = turn(1, rng.normal() * 0.4) @ turn(0, rng.normal() * 0.25)
        parts.append(Solid(Shape.CUBE, center, size, blade, lean, casts_shadow=False))
    return parts


def conifer(rng: Rng) -> list[Solid]:
    """A fir of stacked cones."""
    height = rng.uniform(1.5, 11)
    needles = material(
        rng, str(rng.choice(["leaf", "leaf", "leaf", "snow", "any"])), "grass fractal blotches",
        scale=rng.uniform(0.3, 1.2), fuzz=float(rng.uniform(0, 0.4)),
    )  # fmt: skip
    bark = material(rng, "earth", "fractal stripes")
    wide = height * rng.uniform(0.14, 0.3)
    trunk_size = (height * 0.025, height * 0.3, height * 0.025)
    parts = [solid(Shape.CYLINDER, (0, height * 0.3, 0), trunk_size, bark)]
    levels = int(rng.integers(1, 5))
    for level in range(levels):
        at = height * (0.2 + 0.75 * (level + 0.5) / levels)
        girth = wide * (1 - 0.7 * level / levels)
        size = (girth, height * 0.55 / levels, girth)
        parts.append(solid(Shape.CONE, (0, at, 0), size, needles))
    return parts


def branch(rng: Rng) -> list[Solid]:
    """A leafy branch about the origin, along x, to hang into the picture."""
    leaf = material(
        rng, str(rng.choice(["leaf", "leaf", "autumn", "any"])), "grass fractal blotches plain",
        scale=rng.uniform(0.8, 4.0), fuzz=float(rng.uniform(0.2, 0.65)),
    )  # fmt: skip
    bark = material(rng, "earth", "fractal stripes plain")
    parts = [limb(np.array([-1.0, 0.1, 0]), np.array([1.0, rng.normal() * 0.2, 0]), 0.02, bark)]
    for _ in range(int(rng.integers(4, 12))):
        spot = (rng.uniform(-1, 1), rng.normal() * 0.12, rng.normal() * 0.15)
        w = rng.uniform(0.05, 0.28)
        size = (w, w * rng.uniform(0.2, 0.9), w)
        parts.append(solid(Shape.SPHERE, spot, size, leaf, any_rotation(rng)))
    return parts
