"""What scenes are made with: ground, hills, things spread over them, things in the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from depthcrafter_cli.synthetic import buildings, figures, plants
from depthcrafter_cli.synthetic.bodies import Body, moving, still
from depthcrafter_cli.synthetic.light import Light, Sky
from depthcrafter_cli.synthetic.palette import material
from depthcrafter_cli.synthetic.props import Builder
from depthcrafter_cli.synthetic.solids import Shape, Solid, Vector
from depthcrafter_cli.synthetic.terrain import Terrain

Rng = np.random.Generator


@dataclass(frozen=True)
class Scene:
    """All that is drawn, and where a camera may stand: ``eye``, ``target``, ``roam`` metres.

    With a ``terrain``, heights of bodies, eye and target are above it. ``mounts`` are fixed to
    the camera, which they see from (0, 0, 0) along +z. ``focal`` is the range of focal lengths in
    half pictures (see ``Camera``), ``roll`` the spread of the camera's roll in radians.
    """

    bodies: list[Body]
    light: Light
    sky: Sky
    eye: Vector
    target: Vector
    roam: float
    terrain: Terrain | None = None
    mounts: tuple[Solid, ...] = ()
    focal: tuple[float, float] = (0.65, 2.6)
    roll: float = 0.05


def ground(rng: Rng, frames: int, kinds: str) -> Body:
    """A level floor without end, its top at height zero."""
    kind = str(rng.choice(kinds.split()))
    snowy = "plain fractal marble"
    patterns = snowy if kind == "snow" else "grass fractal blotches grass bricks checks photo plain"
    scale = float(np.exp(rng.uniform(np.log(0.06), np.log(1.5))))
    floor = material(rng, kind, patterns, scale=scale, contrast=rng.uniform(0.1, 0.9))
    if rng.random() < 0.12:  # water, ice, a wet road
        floor = replace(floor, mirror=float(rng.uniform(0.4, 0.95)), bump=rng.uniform(0, 0.3))
    slab = Solid(
        Shape.CUBE, np.array([0, -1.0, 0]), np.array([900.0, 1.0, 900.0]), floor, casts_shadow=False
    )
    return still([slab], frames, (0, 0, 0))


def hills(rng: Rng, frames: int, kinds: str) -> list[Body]:
    """Gentle mounds near by and ridges far off."""
    bodies = []
    for _ in range(int(rng.integers(0, 8))):
        far = float(np.exp(rng.uniform(np.log(8), np.log(250))))
        wide = far * rng.uniform(0.2, 0.8)
        tall = wide * rng.uniform(0.08, 0.6)
        soil = material(rng, str(rng.choice(kinds.split())), "grass fractal blotches", scale=0.1)
        mound = Solid(Shape.SPHERE, np.zeros(3), np.array([wide, tall, wide * rng.uniform(0.6, 1)]),
                      soil,
                      casts_shadow=False)  # fmt: skip
        across = rng.uniform(-1, 1) * far
        bodies.append(
            still([mound], frames, (across, -tall * rng.uniform(0, 0.4), far + wide * 0.9))
        )
    return bodies


def spread(
    rng: Rng, builders: Sequence[Builder], count: int, times: Vector,
    near: float, far: float, *, pace: float = 0.0, width: float = 0.9,
) -> list[Body]:  # fmt: skip
    """Things on the ground, dense near and sparse far, within ``width`` of the view's tangent."""
    bodies = []
    for _ in range(count):
        z = float(np.exp(rng.uniform(np.log(near), np.log(far))))
        at = (rng.uniform(-width, width) * z, 0.0, z)
        build = builders[int(rng.integers(len(builders)))]
        if pace > 0:
            bodies.append(moving(rng, build(rng), times, at, pace))
        else:
            bodies.append(still(build(rng), len(times), at, rng.uniform(0, 2 * np.pi)))
    return bodies


def settle(scene: Scene) -> Scene:
    """The scene with bodies, eye and target lifted onto its terrain."""
    if scene.terrain is None:
        return scene
    bodies = [
        replace(body, position=_lifted(scene.terrain, body.position)) for body in scene.bodies
    ]
    eye, target = _lifted(scene.terrain, np.stack([scene.eye, scene.target]))
    return replace(scene, bodies=bodies, eye=eye, target=target)


def _lifted(terrain: Terrain, points: Vector) -> Vector:
    x, z = torch.from_numpy(points[:, [0, 2]]).float().unbind(1)
    up = terrain.floor(x, z).numpy().astype(float)
    lifted: Vector = points + up[:, None] * np.array([0.0, 1.0, 0.0])
    return lifted


FIGURES = (figures.person, figures.person, figures.furry, figures.furry, figures.beast)
GREEN = (plants.tree, plants.tree, plants.conifer, plants.bush, plants.rock)
LOW = (plants.bush, plants.rock, plants.grass, plants.grass)
FURNITURE = (buildings.table, buildings.seat, buildings.cabinet, buildings.post, buildings.heap)
SMALL = (buildings.lump, buildings.lump, buildings.heap, buildings.vessel, plants.rock)
