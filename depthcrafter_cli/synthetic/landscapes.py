"""Scenes without a level floor: hilly land, caves, hillsides with burrows, water, space.

The camera looks along +z from about the origin; the scene lies in front of it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from depthcrafter_cli.synthetic import buildings, figures, plants
from depthcrafter_cli.synthetic.bodies import Body, floating, still
from depthcrafter_cli.synthetic.light import lamp_at, space, sunlit, underwater
from depthcrafter_cli.synthetic.palette import material
from depthcrafter_cli.synthetic.props import Builder, any_rotation, solid
from depthcrafter_cli.synthetic.solids import Material, Shape, Solid, Vector
from depthcrafter_cli.synthetic.staging import (
    FIGURES,
    GREEN,
    LOW,
    Scene,
    ground,
    hills,
    spread,
)
from depthcrafter_cli.synthetic.terrain import Terrain, relief

Rng = np.random.Generator
_SOIL = "grass fractal blotches fractal plain marble"


def _soil(rng: Rng, kinds: str) -> Solid:
    """What carries a terrain's material."""
    scale = float(np.exp(rng.uniform(np.log(0.08), np.log(1.2))))
    made_of = replace(material(rng, str(rng.choice(kinds.split())), _SOIL, scale=scale), mirror=0.0)
    return Solid(Shape.CUBE, np.zeros(3), np.ones(3), made_of, casts_shadow=False)


def land(rng: Rng, times: Vector) -> Scene:
    """Dunes, rolling hills, mountains, canyons; perhaps water in the low places."""
    kinds = str(rng.choice(["leaf leaf earth", "leaf", "earth autumn", "snow grey", "any", "grey"]))
    cell = float(np.exp(rng.uniform(np.log(0.25), np.log(4))))
    tall = cell * rng.uniform(3, 30)
    heights = relief(rng, 64, rng.uniform(1.7, 2.6)) * tall
    rise = rng.uniform(0.2, 2.5) if rng.random() < 0.5 else 0.0
    terrain = Terrain(
        heights, cell, _soil(rng, kinds), rng.uniform(1, 12), rise,
        (rng.normal() * 3, rng.uniform(4, 20)),
    )  # fmt: skip
    bodies = spread(rng, GREEN, int(rng.integers(0, 14)), times, 3, 70)
    bodies += spread(rng, LOW, int(rng.integers(0, 8)), times, 1.8, 10)
    bodies += spread(rng, FIGURES, int(rng.integers(0, 3)), times, 1.6, 15, pace=1.0, width=0.5)
    light, sky = sunlit(rng)
    eye = np.array([0, np.exp(rng.uniform(np.log(0.4), np.log(8.0))), 0])
    target = np.array([rng.normal() * 2, eye[1] * rng.uniform(0.2, 1.3) + rng.normal() * 0.8, 9])
    return Scene(bodies, light, sky, eye, target, 2.0, terrain, roll=0.1)


def cave(rng: Rng, times: Vector) -> Scene:
    """A tunnel, grotto or mine: lit by the camera's lamp, by lamps within, or from its end."""
    tall = rng.uniform(1.2, 5)
    cell = rng.uniform(0.15, 0.8)
    heights = relief(rng, 64, rng.uniform(1.6, 2.6)) * tall * rng.uniform(0.1, 0.5)
    far = float(np.exp(rng.uniform(np.log(10), np.log(80))))
    terrain = Terrain(
        heights, cell, _soil(rng, "grey earth grey earth any snow"), rng.uniform(0.4, 3),
        rng.uniform(0.5, 3), (rng.normal() * 0.8, rng.uniform(3, 9)), tall, far,
    )  # fmt: skip
    things: tuple[Builder, ...] = (plants.rock, *FIGURES, buildings.heap, buildings.post)
    bodies = spread(rng, things, int(rng.integers(0, 6)), times, 1.5, 12, pace=0.7, width=0.3)
    light, sky = sunlit(rng)
    grey = float(rng.uniform(0.0, 0.08))
    dark = (grey, grey, grey)
    where = np.array([0, tall * 0.6, 0]) + rng.choice([0.0, 1.0]) * np.array([0, 0, far * 0.3])
    places = [where] + [np.array([0, tall / 2, z]) for z in rng.uniform(1, far, 2)]
    lamps = tuple(lamp_at(rng, place) for place in places[: int(rng.integers(1, 4))])
    light = replace(light, colour=dark, above=dark, below=dark, lamps=lamps, lamp=None)
    eye = np.array([0, tall * rng.uniform(0.25, 0.5), 0])
    target = eye + np.array([rng.normal() * 0.6, rng.normal() * 0.5, 5])
    return Scene(bodies, light, sky, eye, target, 0.8, terrain, roll=0.08)


def _mound(rng: Rng, wide: float, kinds: str) -> Solid:
    """A hill at the origin, often with a burrow or a cave in the side that faces -z."""
    scale = float(np.exp(rng.uniform(np.log(0.15), np.log(2))))
    soil = material(rng, str(rng.choice(kinds.split())), _SOIL, scale=scale)
    size = wide * np.array([1.0, rng.uniform(0.35, 1.1), rng.uniform(0.6, 1.1)])
    hole = None
    if rng.random() < 0.75:
        earth = material(rng, str(rng.choice(["earth", "grey", "any"])), "fractal plain blotches")
        if rng.random() < 0.5:  # too dark inside to see anything
            earth = Material((0.0, 0.0, 0.0), (0.02, 0.02, 0.01))
        mouth = wide * rng.uniform(0.15, 0.45)
        extent = np.array([mouth, mouth * rng.uniform(0.6, 1.3), size[2] * rng.uniform(0.4, 0.9)])
        spot = np.array([rng.normal() * 0.25 * wide, mouth * rng.uniform(-0.2, 0.8), -size[2]])
        hole = Solid(Shape.SPHERE, spot, extent, earth)
    return Solid(Shape.SPHERE, np.zeros(3), size, soil, hole=hole)


def hillside(rng: Rng, times: Vector) -> Scene:
    """A grassy or rocky hill close by with a burrow in it, somebody before it, land behind."""
    frames = len(times)
    kinds = str(rng.choice(["leaf", "leaf leaf earth", "earth autumn", "snow", "grey", "any"]))
    bodies = [ground(rng, frames, kinds), *hills(rng, frames, kinds)]
    for _ in range(int(rng.integers(1, 4))):
        wide = rng.uniform(1.0, 5.0)
        z = wide * rng.uniform(1.0, 1.8) + rng.uniform(0.5, 5)
        mound = _mound(rng, wide, kinds)
        bodies.append(still([mound], frames, (rng.normal() * wide, 0, z), rng.normal() * 0.3))
        for _ in range(int(rng.integers(0, 4))):  # things on and before it
            build = (plants.bush, plants.rock, plants.tree, plants.grass)[int(rng.integers(4))]
            at = (rng.normal() * wide, rng.uniform(0, 0.5) * wide, z - wide * rng.uniform(0, 0.9))
            bodies.append(still(build(rng), frames, at))
    bodies += spread(rng, GREEN, int(rng.integers(1, 9)), times, 8, 70)
    bodies += spread(rng, LOW, int(rng.integers(1, 9)), times, 1.6, 8)
    bodies += spread(rng, FIGURES, int(rng.integers(0, 3)), times, 1.5, 5, pace=0.6, width=0.4)
    if rng.random() < 0.5:
        bodies.append(still(plants.lawn(rng), frames, (0, 0, 0)))
    light, sky = sunlit(rng)
    eye = np.array([0, rng.uniform(0.25, 2.2), 0])
    target = np.array([rng.normal() * 0.8, rng.uniform(0.3, 1.6), 5])
    return Scene(bodies, light, sky, eye, target, 1.0)


def reef(rng: Rng, times: Vector) -> Scene:
    """Under water: fish, weeds and stones over a sea floor, or nothing below at all."""
    light, sky = underwater(rng)
    terrain = None
    if rng.random() < 0.75:
        heights = relief(rng, 64, rng.uniform(1.6, 2.4)) * rng.uniform(0.3, 4)
        terrain = Terrain(heights, rng.uniform(0.15, 0.8), _soil(rng, "earth grey any"), far=60.0)
    bodies = spread(rng, LOW, int(rng.integers(3, 14)), times, 1.6, 12) if terrain else []
    for _ in range(int(rng.integers(2, 16))):
        z = float(np.exp(rng.uniform(np.log(0.7), np.log(12))))
        at = [rng.normal() * 0.5 * z, rng.uniform(0.2, 2.5), z]
        build = figures.fish if rng.random() < 0.85 else figures.person
        bodies.append(floating(rng, build(rng), times, at, 0.5))
    eye = np.array([0, rng.uniform(0.5, 2.5), 0])
    target = eye + np.array([rng.normal(), rng.normal() * 1.2, 5])
    return Scene(bodies, light, sky, eye, target, 1.0, terrain, roll=0.15)


def _ship(rng: Rng) -> list[Solid]:
    """A machine of boxes, tubes, cones and discs about the origin."""
    parts: list[Solid] = []
    hull = material(rng, "grey" if rng.random() < 0.6 else "any", "bricks windows plain stripes")
    for _ in range(int(rng.integers(3, 9))):
        size = rng.uniform(0.15, 1.0, 3) * [0.7, 0.4, 1.0]
        shape = (Shape.CUBE, Shape.CYLINDER, Shape.CONE, Shape.SPHERE)[int(rng.integers(4))]
        center = tuple(rng.normal(size=3) * [0.5, 0.25, 0.8])
        paint = hull if rng.random() < 0.7 else replace(hull, glow=float(rng.uniform(0.3, 2)))
        parts.append(solid(shape, center, tuple(size), paint))
    return parts


def void(rng: Rng, times: Vector) -> Scene:
    """Ships, rocks and planets before a black or coloured nothing."""
    light, sky = space(rng)
    bodies: list[Body] = []
    for _ in range(int(rng.integers(0, 3))):
        size = rng.uniform(8, 60)
        spot = rng.normal(size=2) * size
        globe = material(rng, "any", "fractal blotches marble stripes plain", scale=0.3 / size)
        planet = solid(Shape.SPHERE, (0, 0, 0), (size, size, size), globe, any_rotation(rng))
        bodies.append(still([planet], len(times), (spot[0], spot[1], size * rng.uniform(1.5, 5))))
    for _ in range(int(rng.integers(2, 12))):
        z = float(np.exp(rng.uniform(np.log(1.5), np.log(40))))
        at = [rng.normal() * 0.45 * z, rng.normal() * 0.35 * z, z]
        build = _ship if rng.random() < 0.5 else plants.rock
        parts = [part.moved(np.zeros(3), rng.uniform(0.3, 2)) for part in build(rng)]
        bodies.append(floating(rng, parts, times, at, 1.0))
    eye = np.array([0.0, 0.5, 0.0])
    target = eye + np.array([rng.normal() * 0.5, rng.normal() * 0.5, 5])
    return Scene(bodies, light, sky, eye, target, 1.5, roll=0.4)
