"""Rooms and corridors.

The camera looks along +z from about the origin; the scene lies in front of it.
"""

from __future__ import annotations

import numpy as np

from depthcrafter_cli.training.generator import buildings, props
from depthcrafter_cli.training.generator.palette import anything, material
from depthcrafter_cli.training.generator.solids import Shape, Solid, Vector
from depthcrafter_cli.training.generator.staging import (
    FIGURES,
    FURNITURE,
    Scene,
    lamplight,
    spread,
    still,
)

Rng = np.random.Generator


def _interior(rng: Rng, half: Vector) -> Solid:
    wall = material(rng, "wall", "plain plain fractal bricks stripes checks dots marble", scale=0.5)
    return Solid(Shape.ROOM, np.array([0, half[1], 0]), half, wall, casts_shadow=False)


def _floor(rng: Rng, half: Vector) -> Solid:
    boards = material(
        rng,
        str(rng.choice(["earth", "grey", "any"])),
        "planks checks plain fractal bricks marble",
        scale=0.6,
    )
    return Solid(
        Shape.CUBE,
        np.array([0, -0.04, 0]),
        np.array([half[0], 0.05, half[2]]),
        boards,
        casts_shadow=False,
    )


def room(rng: Rng, times: Vector) -> Scene:
    """Four walls, furniture, pictures, perhaps people."""
    frames = len(times)
    half = np.array([rng.uniform(1.5, 5), rng.uniform(1.2, 2.0), rng.uniform(1.8, 5)])
    shell = [_interior(rng, half), _floor(rng, half)]
    for _ in range(int(rng.integers(0, 7))):
        side = int(rng.integers(3))
        size = rng.uniform(0.2, 0.9, 2)
        y = half[1] + rng.normal() * 0.3
        along = rng.uniform(-0.8, 0.8)
        if side == 2:
            center, extent = (along * half[0], y, half[2]), (size[0], size[1], 0.05)
        else:
            center, extent = (
                ((2 * side - 1) * half[0], y, along * half[2]),
                (0.05, size[1], size[0]),
            )
        shell.append(props.solid(Shape.CUBE, center, extent, anything(rng)))
    middle = half[2] * 0.85
    bodies = [still(shell, frames, (0, 0, middle))]
    for _ in range(int(rng.integers(2, 10))):
        build = FURNITURE[int(rng.integers(len(FURNITURE)))]
        at = (rng.uniform(-0.85, 0.85) * half[0], 0, rng.uniform(0.5, 1.8) * half[2])
        bodies.append(
            still(build(rng), frames, at, rng.choice([0, 1, 2, 3]) * np.pi / 2 + rng.normal() * 0.1)
        )
    bodies += spread(
        rng,
        (*FIGURES, buildings.lump),
        int(rng.integers(0, 4)),
        times,
        1.2,
        half[2] * 1.6,
        pace=0.8,
        width=0.5,
    )
    lamp = np.array(
        [
            rng.uniform(-0.7, 0.7) * half[0],
            half[1] * rng.uniform(1.2, 1.9),
            rng.uniform(0.3, 1.6) * half[2],
        ]
    )
    light, sky = lamplight(rng, lamp)
    eye = np.array([rng.uniform(-0.5, 0.5) * half[0], rng.uniform(0.4, 0.85) * half[1] * 1.3, 0.0])
    target = np.array([rng.normal() * 0.8, half[1] * rng.uniform(0.3, 0.9), half[2]])
    return Scene(bodies, light, sky, eye, target, 0.4, 0.4)


def corridor(rng: Rng, times: Vector) -> Scene:
    """A long passage with doors, pillars and things along the walls."""
    frames = len(times)
    half = np.array([rng.uniform(0.9, 3.5), rng.uniform(1.1, 2.2), rng.uniform(8, 25)])
    shell = [_interior(rng, half), _floor(rng, half)]
    bodies = [still(shell, frames, (0, 0, half[2] * 0.9))]
    for _ in range(int(rng.integers(2, 12))):
        side = int(rng.choice([-1, 1]))
        z = float(np.exp(rng.uniform(np.log(1.5), np.log(half[2] * 1.8))))
        if rng.random() < 0.5:
            panel = props.solid(Shape.CUBE, (0, 1.0, 0), (0.06, 1.0, 0.45), anything(rng))
            bodies.append(still([panel], frames, (side * half[0], 0, z)))
        else:
            build = (*FURNITURE, buildings.post)[int(rng.integers(6))]
            bodies.append(
                still(build(rng), frames, (side * half[0] * 0.75, 0, z), -side * np.pi / 2)
            )
    bodies += spread(
        rng,
        (props.person, props.person, props.furry),
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
        0.4,
    )
