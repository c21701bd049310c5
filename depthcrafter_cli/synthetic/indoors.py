"""Rooms and corridors.

The camera looks along +z from about the origin; the scene lies in front of it.
"""

from __future__ import annotations

import numpy as np

from depthcrafter_cli.synthetic import buildings, figures
from depthcrafter_cli.synthetic.bodies import Body, still
from depthcrafter_cli.synthetic.light import lamplight
from depthcrafter_cli.synthetic.palette import anything, material
from depthcrafter_cli.synthetic.props import solid
from depthcrafter_cli.synthetic.solids import Shape, Solid, Vector
from depthcrafter_cli.synthetic.staging import (
    FIGURES,
    FURNITURE,
    GREEN,
    Scene,
    ground,
    spread,
)

Rng = np.random.Generator


def _interior(rng: Rng, half: Vector, window: Solid | None = None) -> list[Solid]:
    """Walls, floor and perhaps a ceiling of its own look."""
    tone = "wall" if rng.random() < 0.7 else "any"
    patterns = "plain plain fractal bricks stripes checks dots marble photo"
    wall = material(rng, tone, patterns, scale=0.5)
    center = np.array([0, half[1], 0])
    parts = [Solid(Shape.ROOM, center, half, wall, casts_shadow=False, hole=window)]
    kind = str(rng.choice(["earth", "grey", "any"]))
    boards = material(rng, kind, "planks checks plain fractal bricks marble", scale=0.6)
    flat = np.array([half[0], 0.05, half[2]])
    below = np.array([0, -0.04, 0])
    parts.append(Solid(Shape.CUBE, below, flat, boards, casts_shadow=False))
    if rng.random() < 0.4:
        cover = material(rng, "wall" if rng.random() < 0.6 else "any", patterns, scale=0.6)
        above = np.array([0, 2 * half[1] + 0.02, 0])
        parts.append(Solid(Shape.CUBE, above, flat, cover, casts_shadow=False))
        for along in np.linspace(-0.8, 0.8, int(rng.choice([0, 0, 3, 5]))):
            at = (0, 2 * half[1] - 0.06, along * half[2])
            parts.append(solid(Shape.CUBE, at, (half[0], 0.07, 0.07), boards))
    return parts


def _on_wall(rng: Rng, half: Vector, size: Vector, thick: float) -> tuple[Vector, Vector]:
    """Centre and half-extents of a panel on the left, right or far wall."""
    side = int(rng.integers(3))
    y, along = half[1] + rng.normal() * 0.3, rng.uniform(-0.8, 0.8)
    if side == 2:
        return np.array([along * half[0], y, half[2]]), np.array([size[0], size[1], thick])
    center = np.array([(2 * side - 1) * half[0], y, along * half[2]])
    return center, np.array([thick, size[1], size[0]])


def _outside(rng: Rng, times: Vector, beyond: float) -> list[Body]:
    """What a window looks out on."""
    bodies = [ground(rng, len(times), "leaf earth grey any")]
    return bodies + spread(rng, (*GREEN, buildings.house), 6, times, beyond, 8 * beyond)


def room(rng: Rng, times: Vector) -> Scene:
    """Four walls, furniture, pictures, perhaps people and a window."""
    frames = len(times)
    half = np.array([rng.uniform(1.5, 5), rng.uniform(1.2, 2.0), rng.uniform(1.8, 5)])
    middle = half[2] * 0.85
    bodies, window = [], None
    if rng.random() < 0.35:
        pane = _on_wall(rng, half, rng.uniform(0.4, 1.4, 2), 0.5)
        window = Solid(Shape.CUBE, *pane, anything(rng))
        bodies += _outside(rng, times, 2 * half[2] + 6)
    shell = _interior(rng, half, window)
    for _ in range(int(rng.integers(0, 7))):
        where = _on_wall(rng, half, rng.uniform(0.2, 0.9, 2), 0.05)
        shell.append(Solid(Shape.CUBE, *where, anything(rng)))
    bodies.append(still(shell, frames, (0, 0, middle)))
    for _ in range(int(rng.integers(2, 10))):
        build = FURNITURE[int(rng.integers(len(FURNITURE)))]
        at = (rng.uniform(-0.85, 0.85) * half[0], 0, rng.uniform(0.5, 1.8) * half[2])
        turned = rng.choice([0, 1, 2, 3]) * np.pi / 2 + rng.normal() * 0.1
        bodies.append(still(build(rng), frames, at, turned))
    count, far = int(rng.integers(0, 4)), half[2] * 1.6
    people = (*FIGURES, buildings.lump)
    bodies += spread(rng, people, count, times, 1.2, far, pace=0.8, width=0.5)
    lamp = half * [rng.uniform(-0.7, 0.7), rng.uniform(1.0, 1.9), rng.uniform(0.3, 1.6)]
    light, sky = lamplight(rng, lamp)
    eye = np.array([rng.uniform(-0.5, 0.5) * half[0], rng.uniform(0.3, 1.4) * half[1], 0.0])
    target = np.array([rng.normal() * 0.8, half[1] * rng.uniform(0.3, 1.2), half[2]])
    return Scene(bodies, light, sky, eye, target, 0.4, focal=(0.6, 2.0))


def corridor(rng: Rng, times: Vector) -> Scene:
    """A long passage with doors, pillars and things along the walls."""
    frames = len(times)
    half = np.array([rng.uniform(0.9, 3.5), rng.uniform(1.1, 2.2), rng.uniform(8, 25)])
    bodies = [still(_interior(rng, half), frames, (0, 0, half[2] * 0.9))]
    for _ in range(int(rng.integers(2, 12))):
        side = int(rng.choice([-1, 1]))
        z = float(np.exp(rng.uniform(np.log(1.5), np.log(half[2] * 1.8))))
        if rng.random() < 0.5:
            panel = solid(Shape.CUBE, (0, 1.0, 0), (0.06, 1.0, 0.45), anything(rng))
            bodies.append(still([panel], frames, (side * half[0], 0, z)))
        else:
            build = (*FURNITURE, buildings.post)[int(rng.integers(6))]
            bodies.append(
                still(build(rng), frames, (side * half[0] * 0.75, 0, z), -side * np.pi / 2)
            )
    bodies += spread(
        rng,
        (figures.person, figures.person, figures.furry),
        int(rng.integers(0, 4)),
        times,
        2,
        15,
        pace=1.4,
        width=0.2,
    )
    light, sky = lamplight(rng, np.array([0, half[1] * 1.8, rng.uniform(1, 10)]))
    eye = np.array([rng.normal() * 0.2 * half[0], half[1] * rng.uniform(0.5, 1.4), 0.0])
    return Scene(
        bodies,
        light,
        sky,
        eye,
        eye + np.array([rng.normal() * 0.5, rng.normal() * 0.2, 6]),
        0.5,
    )
