"""Kinds of scenes: outdoors, streets, interiors, close-ups and still lifes.

The camera looks along +z from about the origin; the scene lies in front of it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from depthcrafter_cli.training.generator import buildings, props
from depthcrafter_cli.training.generator.indoors import corridor, room
from depthcrafter_cli.training.generator.palette import anything, material
from depthcrafter_cli.training.generator.solids import Body, Shape, Solid, Vector
from depthcrafter_cli.training.generator.staging import (
    FIGURES,
    GREEN,
    SMALL,
    Scene,
    daylight,
    ground,
    hills,
    moving,
    spread,
    still,
)

Rng = np.random.Generator


def meadow(rng: Rng, times: Vector) -> Scene:
    """Open land with plants, figures, hills and sky."""
    frames = len(times)
    kinds = str(rng.choice(["leaf leaf earth", "leaf", "earth autumn", "snow", "leaf", "any grey"]))
    light, sky = daylight(rng)
    bodies = [ground(rng, frames, kinds), *hills(rng, frames, kinds)]
    bodies += spread(rng, GREEN, int(rng.integers(2, 16)), times, 3, 60)
    bodies += spread(rng, (props.bush, props.rock), int(rng.integers(0, 8)), times, 1.5, 12)
    bodies += spread(rng, FIGURES, int(rng.integers(0, 4)), times, 1.6, 12, pace=1.5, width=0.5)
    if rng.random() < 0.2:
        bodies += spread(rng, (buildings.house,), int(rng.integers(1, 4)), times, 15, 60)
    eye = np.array([0, np.exp(rng.uniform(np.log(0.25), np.log(3.0))), 0])
    target = np.array([rng.normal(), eye[1] * rng.uniform(0.3, 1.3) + rng.normal() * 0.4, 8])
    return Scene(bodies, light, sky, eye, target, 1.5)


def forest(rng: Rng, times: Vector) -> Scene:
    """Many trunks, undergrowth, little sky."""
    frames = len(times)
    light, sky = daylight(rng)
    bodies = [ground(rng, frames, "leaf earth autumn"), *hills(rng, frames, "leaf earth")]
    bodies += spread(
        rng, (props.trunk, props.trunk, props.tree), int(rng.integers(8, 26)), times, 2, 40
    )
    bodies += spread(rng, (props.bush, props.rock), int(rng.integers(3, 14)), times, 1.5, 20)
    bodies += spread(rng, FIGURES, int(rng.integers(0, 3)), times, 1.5, 8, pace=1.0, width=0.5)
    eye = np.array([0, rng.uniform(0.3, 2.0), 0])
    return Scene(
        bodies, light, sky, eye, eye + np.array([rng.normal(), rng.normal() * 0.8, 8]), 1.0
    )


def street(rng: Rng, times: Vector) -> Scene:
    """A road between rows of houses, with traffic and people."""
    frames = len(times)
    light, sky = daylight(rng)
    road = rng.uniform(3, 9)
    bodies = [ground(rng, frames, "grey grey earth")]
    for side in (-1, 1):
        z = rng.uniform(-4, 4)
        while z < 90 and rng.random() < 0.95:
            at = (side * (road + rng.uniform(2, 6)), 0, z)
            bodies.append(still(buildings.house(rng), frames, at, rng.choice([0, np.pi / 2])))
            z += rng.uniform(5, 16)
        kerb = material(rng, "grey", "plain fractal bricks", scale=0.5)
        walk = Solid(
            Shape.CUBE, np.array([0, 0.07, 0]), np.array([1.5, 0.07, 200]), kerb, casts_shadow=False
        )
        bodies.append(still([walk], frames, (side * (road + 0.5), 0, 0)))
    for _ in range(int(rng.integers(0, 7))):
        lane = rng.choice([-0.75, -0.4, 0.4, 0.75]) * road
        path = np.zeros((frames, 3)) + np.array([lane, 0, rng.uniform(4, 45)])
        speed = rng.choice([0, rng.uniform(1, 12)]) * -np.sign(lane)
        path[:, 2] += speed * times
        facing = np.zeros(frames) + rng.normal() * 0.05
        bodies.append(Body(buildings.vehicle(rng), path, facing, np.ones(frames)))
    bodies += spread(
        rng,
        (props.person, props.person, props.beast),
        int(rng.integers(0, 6)),
        times,
        2,
        25,
        pace=1.5,
        width=0.6,
    )
    bodies += spread(
        rng,
        (buildings.post, props.tree, props.bush),
        int(rng.integers(0, 8)),
        times,
        3,
        40,
        width=0.7,
    )
    eye = np.array([rng.normal() * road * 0.4, np.exp(rng.uniform(np.log(0.8), np.log(6))), 0])
    return Scene(
        bodies,
        light,
        sky,
        eye,
        eye + np.array([rng.normal() * 2, rng.normal() * 0.6 - 0.3, 10]),
        1.5,
        1.0,
    )


def closeup(rng: Rng, times: Vector) -> Scene:
    """One figure or thing large in the picture, before meadow, forest, street or room."""
    backdrop = (meadow, meadow, forest, street, room)[int(rng.integers(5))](rng, times)
    build = (props.furry, props.furry, props.person, props.beast, buildings.heap, props.tree)[
        int(rng.integers(6))
    ]
    solids = build(rng)
    tall = max(float(part.center[1] + part.size[1]) for part in solids)
    away = tall * rng.uniform(0.5, 1.6) + 0.3
    body = moving(rng, solids, times, (rng.normal() * away * 0.3, 0, away), 0.4)
    eye = np.array([0, tall * rng.uniform(0.3, 1.0), 0])
    target = np.array([rng.normal() * 0.2 * away, tall * rng.uniform(0.4, 0.9), away])
    return Scene(
        [*backdrop.bodies, body], backdrop.light, backdrop.sky, eye, target, away * 0.15, 0.3
    )


def still_life(rng: Rng, times: Vector) -> Scene:
    """Scattered and floating things over a floor, with a wall or the sky behind."""
    frames = len(times)
    bodies = [ground(rng, frames, "any wall earth grey")]
    bodies += spread(rng, SMALL, int(rng.integers(4, 18)), times, 0.8, 8, pace=0.5, width=0.6)
    for _ in range(int(rng.integers(0, 8))):
        z = rng.uniform(0.9, 7)
        at = (rng.normal() * z * 0.4, rng.uniform(0.1, 0.6) * z, z)
        bodies.append(moving(rng, buildings.lump(rng), times, at, 1.0))
    light, sky = daylight(rng)
    if rng.random() < 0.5:
        wall = Solid(Shape.CUBE, np.zeros(3), np.array([90, 90, 0.1]), anything(rng, 0.3))
        bodies.append(still([wall], frames, (0, 0, rng.uniform(4, 14)), rng.normal() * 0.3))
    eye = np.array([0, rng.uniform(0.2, 2.2), 0])
    return Scene(
        bodies, light, sky, eye, np.array([0, rng.uniform(0, 0.9), rng.uniform(2, 5)]), 0.6, 0.3
    )


def aerial(rng: Rng, times: Vector) -> Scene:
    """Houses, trees and hills from above."""
    frames = len(times)
    light, sky = daylight(rng)
    bodies = [ground(rng, frames, "leaf earth grey snow"), *hills(rng, frames, "leaf earth")]
    bodies += spread(
        rng, (buildings.house, props.tree, buildings.house), int(rng.integers(8, 26)), times, 6, 80
    )
    bodies += spread(
        rng, (buildings.vehicle, props.bush), int(rng.integers(0, 6)), times, 6, 40, pace=5
    )
    eye = np.array([0, rng.uniform(6, 30), -2])
    return Scene(bodies, light, sky, eye, np.array([0, 0, rng.uniform(4, 35)]), 4.0, 1.0)


Kind = Callable[[Rng, Vector], Scene]
KINDS: dict[str, tuple[Kind, float]] = {  # with the share of all clips
    "meadow": (meadow, 0.22), "forest": (forest, 0.1), "street": (street, 0.14),
    "room": (room, 0.16), "corridor": (corridor, 0.06), "closeup": (closeup, 0.18),
    "still_life": (still_life, 0.1), "aerial": (aerial, 0.04),
}  # fmt: skip


def arrange(rng: Rng, times: Vector) -> Scene:
    """A scene of a random kind."""
    shares = np.array([share for _, share in KINDS.values()])
    kind = list(KINDS)[int(rng.choice(len(KINDS), p=shares / shares.sum()))]
    return KINDS[kind][0](rng, times)
