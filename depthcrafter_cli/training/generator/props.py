"""Things composed of solids: plants, figures, vehicles, furniture, buildings.

Every builder returns solids in the thing's own frame: metres, feet at the origin, facing +z.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from depthcrafter_cli.training.generator.palette import anything, material
from depthcrafter_cli.training.generator.solids import (
    Material,
    Shape,
    Solid,
    Swing,
    Vector,
    turn,
)

Rng = np.random.Generator
Builder = Callable[[Rng], list[Solid]]


def solid(
    shape: Shape, center: tuple[float, float, float], size: tuple[float, float, float],
    made_of: Material, rotation: Vector | None = None, swing: Swing | None = None,
) -> Solid:  # fmt: skip
    """A solid from plain tuples."""
    return Solid(
        shape, np.array(center, float), np.array(size, float), made_of,
        np.eye(3) if rotation is None else rotation, swing,
    )  # fmt: skip


def any_rotation(rng: Rng) -> Vector:
    """A rotation matrix drawn from the uniform distribution."""
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q if np.linalg.det(q) > 0 else -q


def _limb(
    start: Vector, end: Vector, width: float, skin: Material, swing: Swing | None = None
) -> Solid:
    """An ellipsoid stretched between two points."""
    along = end - start
    length = float(np.linalg.norm(along))
    up = along / max(length, 1e-6)
    side = np.cross(up, [0.3, 0.2, 0.9])
    side /= np.linalg.norm(side)
    rotation = np.stack([side, up, np.cross(side, up)], axis=1)
    size = np.array([width, length * 0.58, width])
    return Solid(Shape.SPHERE, (start + end) / 2, size, skin, rotation, swing)


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
        parts.append(_limb(np.array([0, bare * 0.8, 0]), tip, girth * 0.6, bark))
    return parts


def trunk(rng: Rng) -> list[Solid]:
    """A tall bare trunk whose crown is out of the picture."""
    bark = material(rng, "earth", "fractal stripes planks grass blotches", scale=0.6)
    girth = rng.uniform(0.12, 0.7)
    lean = turn(2, rng.normal() * 0.06) @ turn(0, rng.normal() * 0.06)
    parts = [solid(Shape.CYLINDER, (0, 8, 0), (girth, 9, girth), bark, lean)]
    for _ in range(int(rng.integers(0, 4))):
        foot = np.array([rng.normal() * girth, 0.0, rng.normal() * girth]) * 2
        parts.append(_limb(np.array([0, girth * 1.6, 0]), foot, girth * 0.5, bark))
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


def _face(rng: Rng, center: Vector, radius: float, skin: Material) -> list[Solid]:
    white = Material((0.8, 0.8, 0.8), (0.9, 0.9, 0.9))
    black = Material((0.0, 0.0, 0.0), (0.02, 0.02, 0.02), gloss=0.6)
    eye = radius * rng.uniform(0.08, 0.3)
    apart, up = radius * rng.uniform(0.25, 0.45), radius * rng.uniform(0, 0.45)
    parts = []
    for side in (-1, 1):
        forward = np.sqrt(max(radius**2 - apart**2 - up**2, 0.01 * radius**2))
        spot = center + np.array([side * apart, up, forward - eye * 0.4])
        parts.append(Solid(Shape.SPHERE, spot, np.full(3, eye), white))
        parts.append(
            Solid(Shape.SPHERE, spot + np.array([0, 0, eye * 0.6]), np.full(3, eye * 0.6), black)
        )
    snout = radius * rng.uniform(0.15, 0.6)
    where = center + np.array([0, -radius * rng.uniform(0.1, 0.4), radius * 0.85])
    parts.append(Solid(Shape.SPHERE, where, np.array([snout, snout * 0.7, snout]), skin))
    parts.append(
        Solid(
            Shape.SPHERE,
            where + np.array([0, snout * 0.3, snout * 0.8]),
            np.full(3, snout * 0.35),
            black,
        )
    )
    return parts


def _gait(rng: Rng, side: int, pivot: Vector, rate: float) -> Swing:
    point = (float(pivot[0]), float(pivot[1]), float(pivot[2]))
    return Swing(point, 0, rng.uniform(0.1, 0.7), rate, np.pi / 2 * (1 + side))


def person(rng: Rng) -> list[Solid]:
    """A human-like figure of random build and dress."""
    h = rng.uniform(1.0, 1.95)
    skin = material(rng, "skin", "plain", contrast=0.2)
    shirt, legs = anything(rng, 1.5), anything(rng, 1.5)
    hair = material(rng, str(rng.choice(["earth", "grey", "any"])), "grass fractal plain")
    wide = h * rng.uniform(0.09, 0.16)
    rate = rng.uniform(2, 8)
    hip, shoulder = h * 0.5, h * 0.8
    torso = np.array([wide * 1.1, h * 0.19, wide * 0.7])
    parts = [
        Solid(Shape.SPHERE, np.array([0, h * 0.65, 0]), torso, shirt),
        solid(Shape.SPHERE, (0, h * 0.52, 0), (wide, h * 0.08, wide * 0.75), legs),
        solid(Shape.SPHERE, (0, h * 0.92, 0), (h * 0.06, h * 0.085, h * 0.07), skin),
        solid(Shape.SPHERE, (0, h * 0.94, -h * 0.02), (h * 0.067, h * 0.085, h * 0.067), hair),
    ]
    for side in (-1, 1):
        pivot = np.array([side * wide * 1.1, shoulder, 0])
        swing = _gait(rng, side, pivot, rate)
        hand = pivot + np.array(
            [
                side * h * rng.uniform(0, 0.2),
                -h * rng.uniform(0.1, 0.36),
                h * rng.uniform(0, 0.25),
            ]
        )
        parts.append(_limb(pivot, hand, h * 0.035, shirt, swing))
        pivot = np.array([side * wide * 0.5, hip, 0])
        foot = pivot * [1, 0, 1]
        parts.append(_limb(pivot, foot, h * 0.055, legs, _gait(rng, -side, pivot, rate)))
    return parts


def furry(rng: Rng) -> list[Solid]:
    """A stout upright cartoon animal: big belly, big head, ears, snout."""
    h = rng.uniform(0.5, 2.2)
    kind = str(rng.choice(["grey", "earth", "any", "skin"]))
    fur = material(
        rng, kind, "grass fractal plain blotches", scale=1.2 / h, contrast=rng.uniform(0.1, 0.6)
    )
    fur = replace(fur, fuzz=float(rng.uniform(0, 0.15)))
    pale = material(rng, kind, "plain grass fractal", scale=1 / h)
    belly, head = h * rng.uniform(0.2, 0.36), h * rng.uniform(0.14, 0.24)
    middle, top = h * 0.38, h * 0.68 + head * 0.4
    rate = rng.uniform(1, 6)
    parts = [
        solid(Shape.SPHERE, (0, middle, 0), (belly, h * 0.34, belly * 0.9), fur),
        solid(
            Shape.SPHERE,
            (0, middle * 0.95, belly * 0.25),
            (belly * 0.8, h * 0.26, belly * 0.75),
            pale,
        ),
        solid(Shape.SPHERE, (0, top, 0), (head, head, head), fur),
        *_face(rng, np.array([0, top, 0]), head, pale),
    ]
    ear_length, ear_width = head * rng.uniform(0.3, 1.6), head * rng.uniform(0.15, 0.4)
    for side in (-1, 1):
        root = np.array([side * head * 0.6, top + head * 0.7, 0])
        tip = root + np.array([side * ear_length * rng.uniform(0, 0.7), ear_length, 0])
        parts.append(_limb(root, tip, ear_width, fur))
        pivot = np.array([side * belly * 0.9, h * 0.58, 0])
        hand = pivot + np.array(
            [side * h * 0.12, -h * rng.uniform(-0.1, 0.3), h * rng.uniform(0, 0.2)]
        )
        parts.append(_limb(pivot, hand, h * 0.06, fur, _gait(rng, side, pivot, rate)))
        pivot = np.array([side * belly * 0.5, h * 0.2, 0])
        foot = np.array([side * belly * 0.7, 0.03, h * 0.1])
        parts.append(_limb(pivot, foot, h * 0.09, fur, _gait(rng, -side, pivot, rate)))
    return parts


def beast(rng: Rng) -> list[Solid]:
    """An animal on four legs."""
    length, h = rng.uniform(0.4, 2.4), rng.uniform(0.4, 0.9)
    h *= length
    fur = material(
        rng, str(rng.choice(["earth", "grey", "any"])), "grass fractal blotches plain dots"
    )
    body = length * rng.uniform(0.14, 0.26)
    rate = rng.uniform(3, 9)
    parts = [solid(Shape.SPHERE, (0, h, 0), (body, body, length * 0.5), fur)]
    head = body * rng.uniform(0.5, 0.9)
    neck = np.array([0, h + body * rng.uniform(0.3, 2.5), length * 0.55])
    parts.append(_limb(np.array([0, h, length * 0.35]), neck, body * 0.45, fur))
    parts.append(Solid(Shape.SPHERE, neck, np.array([head * 0.7, head * 0.7, head]), fur))
    parts.extend(_face(rng, neck, head * 0.7, fur)[:4])
    for side in (-1, 1):
        for end in (-1, 1):
            pivot = np.array([side * body * 0.6, h, end * length * 0.35])
            swing = _gait(rng, side * end, pivot, rate)
            parts.append(_limb(pivot, pivot * [1, 0, 1], body * 0.25, fur, swing))
    tail = np.array([0, h + rng.normal() * 0.3 * h, -length * rng.uniform(0.6, 0.9)])
    parts.append(_limb(np.array([0, h, -length * 0.45]), tail, body * 0.15, fur))
    return parts
