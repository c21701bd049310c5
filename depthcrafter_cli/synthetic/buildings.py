"""Things people make: vehicles, furniture, houses, and plain geometric objects."""

from __future__ import annotations

import numpy as np

from depthcrafter_cli.synthetic.palette import anything, material
from depthcrafter_cli.synthetic.props import any_rotation, solid
from depthcrafter_cli.synthetic.solids import Material, Shape, Solid, turn

Rng = np.random.Generator
CONVEX = (Shape.SPHERE, Shape.CUBE, Shape.CYLINDER, Shape.CONE)
_LYING = turn(2, np.pi / 2)  # a cylinder whose axis points sideways


def vehicle(rng: Rng) -> list[Solid]:
    """A car, van or lorry, along z."""
    length, width = rng.uniform(3.2, 6.5), rng.uniform(1.5, 2.2)
    low, high = rng.uniform(0.5, 0.9), rng.uniform(0.4, 1.6)
    paint = material(rng, "any", "plain", contrast=0.1)
    glass = Material((0.02, 0.03, 0.04), (0.1, 0.12, 0.15), gloss=0.6)
    rubber = Material((0.01, 0.01, 0.01), (0.04, 0.04, 0.04))
    cabin, at = length * rng.uniform(0.25, 0.48), rng.uniform(-0.1, 0.1) * length
    parts = [
        solid(Shape.CUBE, (0, 0.3 + low / 2, 0), (width / 2, low / 2, length / 2), paint),
        solid(Shape.CUBE, (0, 0.3 + low + high / 2, at), (width * 0.45, high / 2, cabin), paint),
        solid(
            Shape.CUBE,
            (0, 0.3 + low + high * 0.55, at),
            (width * 0.46, high * 0.3, cabin * 1.02),
            glass,
        ),
    ]  # fmt: skip
    for side in (-1, 1):
        for end in (-1, 1):
            wheel = (side * width * 0.45, 0.35, end * length * 0.32)
            parts.append(solid(Shape.CYLINDER, wheel, (0.35, 0.12, 0.35), rubber, _LYING))
    return parts


def house(rng: Rng) -> list[Solid]:
    """A building with windows, perhaps a tilted roof or a second part."""
    width, deep, tall = rng.uniform(3, 9), rng.uniform(3, 9), rng.uniform(3, 16)
    wall = material(rng, "wall", "windows windows bricks plain fractal", scale=0.18)
    parts = [solid(Shape.CUBE, (0, tall / 2, 0), (width / 2, tall / 2, deep / 2), wall)]
    if rng.random() < 0.5:
        tiles = material(rng, str(rng.choice(["earth", "grey", "autumn"])), "bricks stripes plain")
        half = width * 0.36
        ridge = solid(Shape.CUBE, (0, tall, 0), (half, half, deep / 2), tiles, turn(2, np.pi / 4))
        parts.append(ridge)
    if rng.random() < 0.5:
        door = anything(rng)
        parts.append(solid(Shape.CUBE, (0, 1.0, deep / 2), (0.5, 1.0, 0.08), door))
    if rng.random() < 0.4:
        part = rng.uniform(0.3, 0.7)
        where = (width * 0.5, tall * part / 2, rng.normal())
        parts.append(solid(Shape.CUBE, where, (width / 3, tall * part / 2, deep / 3), wall))
    return parts


def post(rng: Rng) -> list[Solid]:
    """A lamp post, sign or pillar."""
    tall, girth = rng.uniform(1.5, 6), rng.uniform(0.03, 0.25)
    metal = material(rng, "any", "plain stripes fractal")
    parts = [solid(Shape.CYLINDER, (0, tall / 2, 0), (girth, tall / 2, girth), metal)]
    if rng.random() < 0.7:
        head = anything(rng)
        size = tuple(rng.uniform(0.1, 0.5, 3))
        shape = Shape.CUBE if rng.random() < 0.6 else Shape.SPHERE
        parts.append(solid(shape, (0, tall, girth), size, head))
    return parts


def table(rng: Rng) -> list[Solid]:
    """A table, desk or bench with things on it."""
    width, deep, tall = rng.uniform(0.4, 1.2), rng.uniform(0.3, 0.7), rng.uniform(0.4, 1.0)
    wood = material(rng, str(rng.choice(["earth", "any", "grey"])), "planks plain marble fractal")
    parts = [solid(Shape.CUBE, (0, tall, 0), (width, 0.03, deep), wood)]
    for x in (-1, 1):
        for z in (-1, 1):
            leg = (x * width * 0.9, tall / 2, z * deep * 0.9)
            parts.append(solid(Shape.CUBE, leg, (0.03, tall / 2, 0.03), wood))
    for _ in range(int(rng.integers(0, 4))):
        size = rng.uniform(0.05, 0.22)
        spot = (rng.uniform(-0.8, 0.8) * width, tall + size, rng.uniform(-0.8, 0.8) * deep)
        shape = CONVEX[int(rng.integers(4))]
        parts.append(solid(shape, spot, (size * 0.8, size, size * 0.8), anything(rng, 2)))
    return parts


def seat(rng: Rng) -> list[Solid]:
    """A chair, armchair or sofa."""
    width, deep = rng.uniform(0.22, 1.1), rng.uniform(0.22, 0.45)
    sit, back = rng.uniform(0.35, 0.5), rng.uniform(0.7, 1.2)
    cloth = material(rng, "any", "plain fractal checks stripes dots planks")
    thick = rng.uniform(0.03, 0.12)
    parts = [
        solid(Shape.CUBE, (0, sit, 0), (width, thick, deep), cloth),
        solid(
            Shape.CUBE,
            (0, (sit + back) / 2, -deep),
            (width, (back - sit) / 2 + thick, thick),
            cloth,
        ),
    ]  # fmt: skip
    for side in (-1, 1):
        if width > 0.4:
            arm = (side * width, sit + 0.1, 0)
            parts.append(solid(Shape.CUBE, arm, (thick, 0.15, deep), cloth))
        for end in (-1, 1):
            leg = (side * width * 0.9, sit / 2, end * deep * 0.9)
            parts.append(solid(Shape.CUBE, leg, (0.03, sit / 2, 0.03), cloth))
    return parts


def cabinet(rng: Rng) -> list[Solid]:
    """A cupboard, or open shelves with boxes and books."""
    width, deep, tall = rng.uniform(0.3, 1.0), rng.uniform(0.15, 0.4), rng.uniform(0.5, 2.2)
    wood = material(rng, str(rng.choice(["earth", "wall", "grey"])), "planks plain stripes")
    if rng.random() < 0.5:
        return [solid(Shape.CUBE, (0, tall / 2, 0), (width, tall / 2, deep), wood)]
    parts = [solid(Shape.CUBE, (0, tall / 2, -deep), (width, tall / 2, 0.02), wood)]
    for side in (-1, 1):
        parts.append(solid(Shape.CUBE, (side * width, tall / 2, 0), (0.02, tall / 2, deep), wood))
    for level in np.linspace(0.05, tall, int(rng.integers(3, 6))):
        parts.append(solid(Shape.CUBE, (0, level, 0), (width, 0.02, deep), wood))
        size = rng.uniform(0.08, 0.2)
        spot = (rng.uniform(-0.7, 0.7) * width, level + size, 0)
        extent = (width * rng.uniform(0.1, 0.4), size, deep * 0.7)
        parts.append(solid(Shape.CUBE, spot, extent, anything(rng, 3)))
    return parts


def lump(rng: Rng) -> list[Solid]:
    """One plain solid of any shape, standing or tumbled."""
    size = rng.uniform(0.1, 0.6) * rng.uniform(0.3, 1.0, 3)
    shape = CONVEX[int(rng.integers(4))]
    upright = rng.random() < 0.5
    rotation = turn(1, rng.uniform(0, 6.3)) if upright else any_rotation(rng)
    lift = float(size[1] if upright else size.max())
    return [solid(shape, (0, lift, 0), tuple(size), anything(rng, 2), rotation)]


def heap(rng: Rng) -> list[Solid]:
    """Several plain solids grown together."""
    parts: list[Solid] = []
    for _ in range(int(rng.integers(2, 7))):
        shift = rng.normal(size=3) * 0.3
        shift[1] = abs(shift[1])
        parts.extend(part.moved(shift) for part in lump(rng))
    return parts


def vessel(rng: Rng) -> list[Solid]:
    """A cup, bowl, pipe, crate or ring: something hollow, standing or tumbled."""
    size = rng.uniform(0.1, 0.6) * rng.uniform(0.4, 1.0, 3)
    if rng.random() < 0.7:
        size[2] = size[0]
    shape = (Shape.CYLINDER, Shape.CYLINDER, Shape.CUBE, Shape.SPHERE)[int(rng.integers(4))]
    wall = rng.uniform(0.6, 0.93)
    bottom = rng.choice([0.1, 0.5, -1.0])  # negative: open at both ends
    inner = size * np.array([wall, 1.2, wall])
    rotation = turn(1, rng.uniform(0, 6.3)) if rng.random() < 0.6 else any_rotation(rng)
    lift = np.array([0, float(size.max() if rng.random() < 0.3 else size[1]), 0])
    shift = rotation @ np.array([0, size[1] * (0.3 + bottom if bottom > 0 else 0), 0])
    cavity = Solid(shape, lift + shift, inner, anything(rng), rotation)
    return [Solid(shape, lift, size, anything(rng, 2), rotation, hole=cavity)]


def arch(rng: Rng) -> list[Solid]:
    """A wall or gate with an opening: doorway, tunnel mouth, bridge."""
    wide, tall, deep = rng.uniform(1.5, 6), rng.uniform(1.5, 4), rng.uniform(0.15, 3)
    stone = material(rng, str(rng.choice(["grey", "earth", "wall"])), "bricks fractal plain marble")
    inside = stone if rng.random() < 0.6 else anything(rng)
    size = np.array([wide * rng.uniform(0.2, 0.6), tall * rng.uniform(0.5, 0.85), deep * 1.5])
    where = np.array([rng.normal() * 0.2 * wide, 0.0, 0.0])
    if rng.random() < 0.5:
        opening = Solid(Shape.CUBE, where, size, inside)
    else:
        opening = Solid(Shape.CYLINDER, where, size[[0, 2, 1]], inside, turn(0, np.pi / 2))
    block = np.array([wide, tall / 2, deep])
    return [Solid(Shape.CUBE, np.array([0, tall / 2, 0]), block, stone, hole=opening)]
