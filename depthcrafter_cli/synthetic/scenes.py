"""Scenes on level ground: open land, forests, streets, towns from above.

The camera looks along +z from about the origin; the scene lies in front of it.
"""

from __future__ import annotations

import numpy as np

from depthcrafter_cli.synthetic import buildings, figures, plants
from depthcrafter_cli.synthetic.bodies import Body, still
from depthcrafter_cli.synthetic.light import sunlit
from depthcrafter_cli.synthetic.palette import material
from depthcrafter_cli.synthetic.solids import Shape, Solid, Vector
from depthcrafter_cli.synthetic.staging import (
    FIGURES,
    GREEN,
    LOW,
    Scene,
    ground,
    hills,
    spread,
)

Rng = np.random.Generator


def meadow(rng: Rng, times: Vector) -> Scene:
    """Open land with plants, figures, hills and sky."""
    frames = len(times)
    kinds = str(rng.choice(["leaf leaf earth", "leaf", "earth autumn", "snow", "leaf", "any grey"]))
    light, sky = sunlit(rng)
    bodies = [ground(rng, frames, kinds), *hills(rng, frames, kinds)]
    bodies += spread(rng, GREEN, int(rng.integers(2, 16)), times, 3, 60)
    bodies += spread(rng, LOW, int(rng.integers(0, 12)), times, 1.6, 12)
    bodies += spread(rng, FIGURES, int(rng.integers(0, 4)), times, 1.6, 12, pace=1.5, width=0.5)
    if rng.random() < 0.3:
        bodies.append(still(plants.lawn(rng), frames, (0, 0, 0)))
    if rng.random() < 0.2:
        bodies += spread(
            rng, (buildings.house, buildings.arch), int(rng.integers(1, 4)), times, 15, 60
        )
    eye = np.array([0, np.exp(rng.uniform(np.log(0.25), np.log(3.0))), 0])
    target = np.array([rng.normal(), eye[1] * rng.uniform(0.3, 1.3) + rng.normal() * 0.4, 8])
    focal = (0.65, 2.6) if rng.random() < 0.75 else (2.6, 6.0)
    return Scene(bodies, light, sky, eye, target, 1.5, focal=focal)


def forest(rng: Rng, times: Vector) -> Scene:
    """Many trunks, undergrowth, little sky."""
    frames = len(times)
    light, sky = sunlit(rng)
    bodies = [ground(rng, frames, "leaf earth autumn"), *hills(rng, frames, "leaf earth")]
    bodies += spread(
        rng, (plants.trunk, plants.trunk, plants.tree), int(rng.integers(8, 26)), times, 2, 40
    )
    bodies += spread(rng, LOW, int(rng.integers(3, 14)), times, 1.8, 20)
    bodies += spread(rng, FIGURES, int(rng.integers(0, 3)), times, 1.5, 8, pace=1.0, width=0.5)
    eye = np.array([0, rng.uniform(0.3, 2.0), 0])
    return Scene(
        bodies, light, sky, eye, eye + np.array([rng.normal(), rng.normal() * 0.8, 8]), 1.0
    )


def _houses(rng: Rng, frames: int, road: float) -> list[Body]:
    """Rows of houses and pavements on both sides of a road of half-width ``road``."""
    bodies = []
    for side in (-1, 1):
        z = rng.uniform(-4, 4)
        while z < 90 and rng.random() < 0.95:
            at = (side * (road + rng.uniform(2, 6)), 0, z)
            bodies.append(still(buildings.house(rng), frames, at, rng.choice([0, np.pi / 2])))
            z += rng.uniform(5, 16)
        kerb = material(rng, "grey", "plain fractal bricks", scale=0.5)
        size = np.array([1.5, 0.07, 200])
        walk = Solid(Shape.CUBE, np.array([0, 0.07, 0]), size, kerb, casts_shadow=False)
        bodies.append(still([walk], frames, (side * (road + 0.5), 0, 0)))
    return bodies


def _traffic(rng: Rng, times: Vector, road: float) -> list[Body]:
    bodies = []
    for _ in range(int(rng.integers(0, 7))):
        lane = rng.choice([-0.75, -0.4, 0.4, 0.75]) * road
        path = np.zeros((len(times), 3)) + np.array([lane, 0, rng.uniform(4, 45)])
        path[:, 2] += rng.choice([0, rng.uniform(1, 12)]) * -np.sign(lane) * times
        facing = np.zeros(len(times)) + rng.normal() * 0.05
        bodies.append(Body(buildings.vehicle(rng), path, facing, np.ones(len(times))))
    return bodies


def street(rng: Rng, times: Vector) -> Scene:
    """A road between rows of houses, with traffic and people."""
    light, sky = sunlit(rng)
    road = rng.uniform(3, 9)
    bodies = [ground(rng, len(times), "grey grey earth any")]
    bodies += _houses(rng, len(times), road) + _traffic(rng, times, road)
    people = (figures.person, figures.person, figures.beast)
    bodies += spread(rng, people, int(rng.integers(0, 6)), times, 2, 25, pace=1.5, width=0.6)
    things = (buildings.post, plants.tree, plants.bush, buildings.arch)
    bodies += spread(rng, things, int(rng.integers(0, 8)), times, 3, 40, width=0.7)
    eye = np.array([rng.normal() * road * 0.4, np.exp(rng.uniform(np.log(0.8), np.log(6))), 0])
    target = eye + np.array([rng.normal() * 2, rng.normal() * 0.6 - 0.3, 10])
    focal = (0.65, 2.6) if rng.random() < 0.8 else (2.6, 6.0)
    return Scene(bodies, light, sky, eye, target, 1.5, focal=focal)


def aerial(rng: Rng, times: Vector) -> Scene:
    """Houses, trees and hills from above."""
    frames = len(times)
    light, sky = sunlit(rng)
    bodies = [ground(rng, frames, "leaf earth grey snow"), *hills(rng, frames, "leaf earth")]
    bodies += spread(
        rng, (buildings.house, plants.tree, buildings.house), int(rng.integers(8, 26)), times, 6, 80
    )
    bodies += spread(
        rng, (buildings.vehicle, plants.bush), int(rng.integers(0, 6)), times, 6, 40, pace=5
    )
    eye = np.array([0, rng.uniform(6, 30), -2])
    return Scene(bodies, light, sky, eye, np.array([0, 0, rng.uniform(4, 35)]), 4.0, roll=0.2)
