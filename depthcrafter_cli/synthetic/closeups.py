"""Scenes of little depth or of one subject: portraits, close-ups, still lifes, walls, table tops.

The camera looks along +z from about the origin; the scene lies in front of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from depthcrafter_cli.synthetic import buildings, figures, plants
from depthcrafter_cli.synthetic.bodies import Body, moving, still
from depthcrafter_cli.synthetic.indoors import room
from depthcrafter_cli.synthetic.landscapes import hillside, land
from depthcrafter_cli.synthetic.light import lamplight, sunlit
from depthcrafter_cli.synthetic.palette import anything, material
from depthcrafter_cli.synthetic.props import solid
from depthcrafter_cli.synthetic.scenes import forest, meadow, street
from depthcrafter_cli.synthetic.solids import Shape, Solid, Vector, turn
from depthcrafter_cli.synthetic.staging import SMALL, Scene, ground, spread

Rng = np.random.Generator
Kind = Callable[[Rng, Vector], Scene]


def _backdrop(rng: Rng, times: Vector) -> Scene:
    """What lies behind a subject: any scene, or a wall or nothing a few metres behind."""
    kinds: tuple[Kind, ...] = (meadow, meadow, forest, street, room, room, hillside, land, _studio)
    return kinds[int(rng.integers(len(kinds)))](rng, times)


def _studio(rng: Rng, times: Vector) -> Scene:
    """A floor and a wall of any colours, or only sky."""
    frames = len(times)
    light, sky = sunlit(rng)
    bodies: list[Body] = []
    if rng.random() < 0.7:
        bodies.append(ground(rng, frames, "any wall grey"))
    if rng.random() < 0.8:
        wall = Solid(Shape.CUBE, np.zeros(3), np.array([60, 60, 0.1]), anything(rng, 0.3))
        at = (0, 0, float(np.exp(rng.uniform(np.log(2.5), np.log(15)))))
        bodies.append(still([wall], frames, at, rng.normal() * 0.3))
    eye = np.array([0.0, 1.0, 0.0])
    return Scene(bodies, light, sky, eye, eye + np.array([0, 0, 4.0]), 0.5)


def closeup(rng: Rng, times: Vector) -> Scene:
    """One figure or thing large in the picture, before any backdrop."""
    behind = _backdrop(rng, times)
    builders = (
        figures.furry, figures.furry, figures.person, figures.person, figures.beast,
        buildings.heap, plants.tree, buildings.vehicle,
    )  # fmt: skip
    solids = builders[int(rng.integers(len(builders)))](rng)
    tall = max(float(part.center[1] + part.size[1]) for part in solids)
    focal = float(np.exp(rng.uniform(np.log(0.7), np.log(4.0))))
    away = tall * focal * rng.uniform(0.5, 1.8) + 0.3
    body = moving(rng, solids, times, (rng.normal() * away * 0.25 / focal, 0, away), 0.4)
    eye = np.array([0, tall * rng.uniform(0.1, 1.2), 0])
    target = np.array([rng.normal() * 0.2 * away / focal, tall * rng.uniform(0.4, 0.9), away])
    return replace(
        behind, bodies=[*behind.bodies, body], eye=eye, target=target, roam=away * 0.15,
        focal=(focal, focal),
    )  # fmt: skip


def portrait(rng: Rng, times: Vector) -> Scene:
    """Heads and shoulders of one to four people, by a wide or a long lens."""
    behind = _backdrop(rng, times)
    focal = float(np.exp(rng.uniform(np.log(1.0), np.log(5.0))))
    nearest = focal * rng.uniform(0.22, 0.9)
    bodies: list[Body] = []
    eyes = rng.uniform(1.2, 1.8)
    for number in range(int(rng.choice([1, 1, 1, 2, 2, 3, 4]))):
        away = nearest * (1 if number == 0 else rng.uniform(1, 3))
        someone = figures.person(rng)
        top = max(float(part.center[1]) for part in someone)
        at = (rng.normal() * 0.3 * away / focal, eyes - top + rng.normal() * 0.1, away)
        body = moving(rng, someone, times, at, 0.3)
        turned = np.pi + rng.normal() * (0.5 if rng.random() < 0.75 else 2.0)
        bodies.append(replace(body, heading=body.heading - body.heading[0] + turned))
    eye = np.array([0, eyes + rng.normal() * 0.15 * nearest, 0])
    target = np.array([rng.normal() * 0.08, eyes - rng.uniform(-0.05, 0.35), nearest])
    return replace(
        behind, bodies=[*behind.bodies, *bodies], eye=eye, target=target, roam=nearest * 0.12,
        focal=(focal, focal),
    )  # fmt: skip


def still_life(rng: Rng, times: Vector) -> Scene:
    """Scattered and floating things over a floor, with a wall or the sky behind."""
    frames = len(times)
    bodies = [ground(rng, frames, "any wall earth grey")]
    bodies += spread(rng, SMALL, int(rng.integers(4, 18)), times, 0.8, 8, pace=0.5, width=0.6)
    for _ in range(int(rng.integers(0, 8))):
        z = rng.uniform(0.9, 7)
        at = (rng.normal() * z * 0.4, rng.uniform(0.1, 0.6) * z, z)
        bodies.append(moving(rng, buildings.lump(rng), times, at, 1.0))
    light, sky = sunlit(rng)
    if rng.random() < 0.5:
        wall = Solid(Shape.CUBE, np.zeros(3), np.array([90, 90, 0.1]), anything(rng, 0.3))
        bodies.append(still([wall], frames, (0, 0, rng.uniform(4, 14)), rng.normal() * 0.3))
    eye = np.array([0, rng.uniform(0.2, 2.2), 0])
    target = np.array([0, rng.uniform(0, 0.9), rng.uniform(2, 5)])
    return Scene(bodies, light, sky, eye, target, 0.6)


def _posters(rng: Rng, wide: float, high: float) -> list[Solid]:
    """Flat pictures: their content has no depth."""
    parts = []
    for _ in range(int(rng.integers(1, 8))):
        size = (rng.uniform(0.1, 0.9), rng.uniform(0.1, 0.7), 0.01)
        scale = float(rng.uniform(0.4, 1.2)) / max(size)
        print_ = material(rng, "any", "photo photo picture windows patches dots", scale=scale)
        at = (rng.uniform(-wide, wide), rng.uniform(0, high), -0.06)
        parts.append(solid(Shape.CUBE, at, size, print_))
    return parts


def wall(rng: Rng, times: Vector) -> Scene:
    """A wall, facade or cliff that fills the picture, seen square or at a slant."""
    frames = len(times)
    patterns = "bricks planks windows photo picture fractal plain stripes blotches checks"
    face = material(rng, "any", patterns, scale=float(np.exp(rng.uniform(-2.5, 0.5))))
    slab = solid(Shape.CUBE, (0, 0, 0), (40, 40, 0.05), face)
    z = float(np.exp(rng.uniform(np.log(1), np.log(6))))
    slant = rng.choice([-1.0, 1.0]) * rng.uniform(0.05, 1.2)
    spin = rng.normal() * 0.15
    bodies = [still([slab, *_posters(rng, z, 2.5)], frames, (0, 0, z), slant)]
    if rng.random() < 0.7:
        bodies.append(ground(rng, frames, "any grey earth wall"))
    bodies += spread(
        rng, (*SMALL, figures.person, buildings.post), int(rng.integers(0, 5)), times,
        0.5 * z, z * 0.9, width=0.5,
    )  # fmt: skip
    setting = sunlit(rng) if rng.random() < 0.6 else lamplight(rng, np.array([spin, 2.2, z * 0.4]))
    eye = np.array([0, rng.uniform(0.5, 2.5), 0])
    target = np.array([rng.normal() * 0.3 * z, eye[1] + rng.normal() * 0.3 * z, z])
    return Scene(bodies, *setting, eye, target, 0.3 * z, roll=0.15)


def tabletop(rng: Rng, times: Vector) -> Scene:
    """Things on a desk, floor or ground seen steeply from above."""
    frames = len(times)
    bodies = [ground(rng, frames, "any earth wall grey leaf")]
    sheets = [
        replace(part, center=part.center[[0, 2, 1]] * [1, 0, 1], rotation=turn(0, np.pi / 2))
        for part in _posters(rng, 0.8, 1.4)
    ]
    bodies.append(still(sheets, frames, (0, 0.02, 0), rng.normal()))
    for _ in range(int(rng.integers(2, 14))):
        build = SMALL[int(rng.integers(len(SMALL)))]
        size = rng.uniform(0.2, 1.0)
        parts = [part.moved(np.zeros(3), size) for part in build(rng)]
        bodies.append(moving(rng, parts, times, (rng.normal() * 0.6, 0, rng.uniform(0, 1.6)), 0.3))
    setting = sunlit(rng) if rng.random() < 0.5 else lamplight(rng, np.array([0.5, 2.5, 0.5]))
    eye = np.array([0, rng.uniform(0.7, 2.5), rng.uniform(-0.8, 0.5)])
    target = np.array([rng.normal() * 0.15, 0, rng.uniform(0.55, 1.0)])
    return Scene(bodies, *setting, eye, target, 0.4, roll=0.6)
