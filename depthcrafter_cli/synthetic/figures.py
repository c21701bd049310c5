"""Figures: people, upright cartoon animals, animals on four legs, fish."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from depthcrafter_cli.synthetic.palette import anything, material
from depthcrafter_cli.synthetic.props import limb, solid
from depthcrafter_cli.synthetic.solids import Material, Shape, Solid, Swing, Vector, turn

Rng = np.random.Generator


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


def head(rng: Rng, skin: Material, hair: Material) -> list[Solid]:
    """A human-like head about the origin, facing +z, one unit from middle to crown."""
    white = Material((0.7, 0.7, 0.7), (0.85, 0.85, 0.85))
    black = Material((0.0, 0.0, 0.0), (0.03, 0.03, 0.03), gloss=0.6)
    lips = Material((0.25, 0.05, 0.05), (0.4, 0.12, 0.1))
    jaw = rng.uniform(0.5, 0.68)
    apart, open_ = rng.uniform(0.26, 0.36), rng.uniform(0.03, 0.11)
    mouth = (rng.uniform(0.15, 0.3), rng.uniform(0.02, 0.12), 0.12)
    parts = [
        solid(Shape.SPHERE, (0, 0.15, -0.05), (0.72, 0.8, 0.82), skin),
        solid(Shape.SPHERE, (0, -0.35, 0.15), (jaw, 0.6, 0.6), skin),
        _small(Shape.CONE, (0, -0.05, 0.8), (0.13, 0.22, 0.2), skin),
        _small(Shape.SPHERE, (0, -0.22, 0.85), (0.13, 0.1, 0.13), skin),
        _small(Shape.SPHERE, (0, -0.52, 0.66), mouth, lips),
    ]
    for side in (-1, 1):
        parts.append(_small(Shape.SPHERE, (side * apart, 0.1, 0.64), (0.14, open_, 0.1), white))
        parts.append(_small(Shape.SPHERE, (side * apart, 0.1, 0.7), (0.06, open_, 0.06), black))
        parts.append(_small(Shape.SPHERE, (side * apart, 0.28, 0.68), (0.18, 0.04, 0.1), hair))
        parts.append(_small(Shape.SPHERE, (side * 0.72, 0, -0.05), (0.08, 0.2, 0.13), skin))
    return parts + _headgear(rng, hair)


def _headgear(rng: Rng, hair: Material) -> list[Solid]:
    """Hair short or long, beard, hat or glasses."""
    parts = []
    if rng.random() < 0.85:
        size = (0.82, 0.8, 0.85)
        parts.append(solid(Shape.SPHERE, (0, 0.32, -0.2), size, hair))
    if rng.random() < 0.4:
        length = rng.uniform(0.5, 1.3)
        parts.append(solid(Shape.SPHERE, (0, -length * 0.5, -0.4), (0.8, length, 0.5), hair))
    if rng.random() < 0.2:
        parts.append(solid(Shape.SPHERE, (0, -0.6, 0.3), (0.5, 0.45, 0.45), hair))
    if rng.random() < 0.25:
        felt = anything(rng)
        brim, tall = rng.uniform(0.85, 1.6), rng.uniform(0.2, 0.6)
        parts.append(solid(Shape.CYLINDER, (0, 0.65, -0.05), (brim, 0.05, brim), felt))
        shape = Shape.CYLINDER if rng.random() < 0.5 else Shape.SPHERE
        parts.append(solid(shape, (0, 0.7 + tall * 0.7, -0.05), (0.75, tall, 0.75), felt))
    if rng.random() < 0.2:
        glass = Material((0.0, 0.0, 0.0), (0.05, 0.05, 0.06), gloss=0.8, mirror=0.3)
        for side in (-1, 1):
            parts.append(_small(Shape.CUBE, (side * 0.33, 0.1, 0.78), (0.25, 0.16, 0.02), glass))
    return parts


def _small(
    shape: Shape, center: tuple[float, float, float], size: tuple[float, float, float],
    made_of: Material,
) -> Solid:  # fmt: skip
    """A detail too small for its shadow to matter."""
    return replace(solid(shape, center, size, made_of), casts_shadow=False)


def _arm(
    rng: Rng, h: float, pivot: Vector, side: int, cloth: Material, skin: Material, swing: Swing
) -> list[Solid]:
    """Upper arm, forearm and hand, hanging, bent or raised."""
    raised = rng.uniform(-0.2, 1.0) if rng.random() < 0.3 else -1.0
    aim = np.array([side * rng.uniform(0.05, 0.8), raised, rng.normal() * 0.3])
    elbow = pivot + aim / np.linalg.norm(aim) * h * 0.17
    aim = np.array([-side * rng.normal() * 0.4, rng.uniform(-1, 0.7), rng.uniform(0, 1)])
    hand = elbow + aim / np.linalg.norm(aim) * h * 0.16
    sleeve = cloth if rng.random() < 0.6 else skin
    return [
        limb(pivot, elbow, h * 0.033, cloth, swing),
        limb(elbow, hand, h * 0.027, sleeve, swing),
        Solid(Shape.SPHERE, hand, h * np.array([0.025, 0.03, 0.025]), skin, swing=swing),
    ]


def person(rng: Rng) -> list[Solid]:
    """A human-like figure of random build, dress and posture."""
    h = rng.uniform(1.0, 1.95)
    kind = "any" if rng.random() < 0.06 else "skin"
    skin = material(rng, kind, "plain fractal", contrast=0.15)
    shirt, legs = anything(rng, 1.5), anything(rng, 1.5)
    hair = material(rng, str(rng.choice(["earth", "grey", "any", "autumn"])), "grass fractal plain")
    wide = h * rng.uniform(0.085, 0.15)
    rate = rng.uniform(2, 8)
    hip, shoulder, top = h * 0.5, h * 0.79, h * 0.925
    chest = np.array([wide * 1.15, h * 0.13, wide * 0.75])
    parts = [
        Solid(Shape.SPHERE, np.array([0, h * 0.71, 0]), chest, shirt),
        solid(Shape.SPHERE, (0, h * 0.6, 0), (wide, h * 0.13, wide * 0.72), shirt),
        solid(Shape.SPHERE, (0, h * 0.52, 0), (wide, h * 0.09, wide * 0.8), legs),
        solid(Shape.CYLINDER, (0, h * 0.83, 0), (h * 0.028, h * 0.04, h * 0.028), skin),
    ]
    look = turn(1, rng.normal() * 0.5) @ turn(0, rng.normal() * 0.2)
    for part in head(rng, skin, hair):
        center, size = look @ (part.center * h * 0.075), part.size * h * 0.075
        center = center + np.array([0, top, 0])
        parts.append(replace(part, center=center, size=size, rotation=look))
    for side in (-1, 1):
        pivot = np.array([side * wide * 1.05, shoulder, 0])
        parts.extend(_arm(rng, h, pivot, side, shirt, skin, _gait(rng, side, pivot, rate)))
        pivot = np.array([side * wide * 0.5, hip, 0])
        foot = pivot * [1, 0, 1]
        parts.append(limb(pivot, foot, h * 0.055, legs, _gait(rng, -side, pivot, rate)))
    if rng.random() < 0.2:
        flare = (wide * 1.8, hip * 0.55, wide * 1.6)
        parts.append(solid(Shape.CONE, (0, hip * 0.8, 0), flare, shirt))
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
        parts.append(limb(root, tip, ear_width, fur))
        pivot = np.array([side * belly * 0.9, h * 0.58, 0])
        hand = pivot + np.array(
            [side * h * 0.12, -h * rng.uniform(-0.1, 0.3), h * rng.uniform(0, 0.2)]
        )
        parts.append(limb(pivot, hand, h * 0.06, fur, _gait(rng, side, pivot, rate)))
        pivot = np.array([side * belly * 0.5, h * 0.2, 0])
        foot = np.array([side * belly * 0.7, 0.03, h * 0.1])
        parts.append(limb(pivot, foot, h * 0.09, fur, _gait(rng, -side, pivot, rate)))
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
    parts.append(limb(np.array([0, h, length * 0.35]), neck, body * 0.45, fur))
    parts.append(Solid(Shape.SPHERE, neck, np.array([head * 0.7, head * 0.7, head]), fur))
    parts.extend(_face(rng, neck, head * 0.7, fur)[:4])
    for side in (-1, 1):
        for end in (-1, 1):
            pivot = np.array([side * body * 0.6, h, end * length * 0.35])
            swing = _gait(rng, side * end, pivot, rate)
            parts.append(limb(pivot, pivot * [1, 0, 1], body * 0.25, fur, swing))
    tail = np.array([0, h + rng.normal() * 0.3 * h, -length * rng.uniform(0.6, 0.9)])
    parts.append(limb(np.array([0, h, -length * 0.45]), tail, body * 0.15, fur))
    return parts


def fish(rng: Rng) -> list[Solid]:
    """A fish about the origin, swimming towards +z."""
    length = float(np.exp(rng.uniform(np.log(0.08), np.log(1.2))))
    scales = material(rng, "any", "dots stripes fractal plain blotches", scale=1 / length)
    tall, flat = length * rng.uniform(0.12, 0.35), length * rng.uniform(0.05, 0.15)
    tail = Solid(
        Shape.CONE, np.array([0, 0, -length * 0.55]), length * np.array([0.02, 0.16, 0.18]),
        scales, turn(0, np.pi / 2), _gait(rng, 1, np.array([0, 0, -length * 0.4]), 8.0),
    )  # fmt: skip
    black = Material((0.0, 0.0, 0.0), (0.02, 0.02, 0.02), gloss=0.6)
    eyes = [
        _small(Shape.SPHERE, (side * flat * 0.6, tall * 0.25, length * 0.35),
               (flat * 0.3, flat * 0.3, flat * 0.3), black)
        for side in (-1, 1)
    ]  # fmt: skip
    body = solid(Shape.SPHERE, (0, 0, 0), (flat, tall, length * 0.5), scales)
    return [body, tail, *eyes]
