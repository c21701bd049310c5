"""Things between the camera and the scene: frames, branches, bars, people, hands, dashboards.

Without them a network learns that the top of a picture is far and only its bottom near.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from depthcrafter_cli.synthetic import buildings, figures, plants
from depthcrafter_cli.synthetic.bodies import Body, floating
from depthcrafter_cli.synthetic.camera import look_at
from depthcrafter_cli.synthetic.palette import anything, material
from depthcrafter_cli.synthetic.props import limb, solid
from depthcrafter_cli.synthetic.solids import Shape, Solid, Vector, turn
from depthcrafter_cli.synthetic.staging import Scene

Rng = np.random.Generator


def _placed(scene: Scene, solids: list[Solid], at: Vector, frames: int, spin: float = 0.0) -> Body:
    """Solids set before the camera at rest: ``at`` is right, up, forward in metres."""
    axes = look_at(scene.eye, scene.target) @ np.diag([1.0, -1.0, 1.0])
    position = np.tile(scene.eye + axes @ at, (frames, 1))
    attitude = np.tile(axes @ turn(1, spin), (frames, 1, 1))
    return Body(solids, position, np.zeros(frames), np.ones(frames), attitude)


def opening(rng: Rng, scene: Scene, times: Vector) -> Scene:
    """A window, doorway, porthole or cave mouth that the scene is seen through."""
    z = float(np.exp(rng.uniform(np.log(0.7), np.log(3))))
    across, up = z * rng.uniform(0.25, 0.7), z * rng.uniform(0.2, 0.5)
    where = np.array([rng.normal() * 0.15 * z, rng.normal() * 0.12 * z, 0.0])
    thick = rng.uniform(0.02, 0.3)
    edge = anything(rng)
    if rng.random() < 0.6:
        gap = Solid(Shape.CUBE, where, np.array([across, up, 1.0]), edge)
    else:
        gap = Solid(Shape.SPHERE, where, np.array([across, up, 4.0]), edge)
    wall = anything(rng, 0.5)
    size = np.array([8.0, 8.0, thick])
    pane = Solid(Shape.CUBE, np.zeros(3), size, wall, casts_shadow=False, hole=gap)
    body = _placed(scene, [pane], np.array([0, 0, z]), len(times), rng.normal() * 0.2)
    return replace(scene, bodies=[*scene.bodies, body])


def hanging(rng: Rng, scene: Scene, times: Vector) -> Scene:
    """Foliage reaching in from above or from a side."""
    bodies = []
    for _ in range(int(rng.integers(1, 5))):
        z = float(np.exp(rng.uniform(np.log(0.8), np.log(4))))
        edge = rng.uniform(0.1, 0.6)
        across = rng.uniform(-0.8, 0.8) if rng.random() < 0.7 else rng.choice([-0.7, 0.7])
        at = np.array([across, edge if rng.random() < 0.8 else -edge, 1.0]) * z
        size = z * rng.uniform(0.3, 0.8)
        twigs = [part.moved(np.zeros(3), size) for part in plants.branch(rng)]
        bodies.append(_placed(scene, twigs, at, len(times), rng.normal() * 0.7))
    return replace(scene, bodies=[*scene.bodies, *bodies])


def bystander(rng: Rng, scene: Scene, times: Vector) -> Scene:
    """A person seen from behind or from the side at the edge of the picture."""
    z = rng.uniform(0.7, 1.8)
    someone = figures.person(rng)
    tall = max(float(part.center[1]) for part in someone)
    at = np.array([rng.choice([-1, 1]) * rng.uniform(0.15, 0.6) * z, -tall + rng.normal() * 0.1, z])
    spin = rng.normal() * 0.6 + rng.choice([0, 0, np.pi])
    body = _placed(scene, someone, at, len(times), spin)
    return replace(scene, bodies=[*scene.bodies, body])


def bars(rng: Rng, scene: Scene, times: Vector) -> Scene:
    """A fence, grid, railing or blind."""
    z = float(np.exp(rng.uniform(np.log(0.6), np.log(4))))
    paint = material(rng, "any", "plain fractal stripes")
    gap, girth = z * rng.uniform(0.12, 0.5), z * rng.uniform(0.006, 0.03)
    shape = Shape.CYLINDER if rng.random() < 0.5 else Shape.CUBE
    high = 6.0 if rng.random() < 0.6 else z * rng.uniform(0.1, 0.4)
    low = 0.0 if high == 6.0 else -z * rng.uniform(0.2, 0.6)
    parts = [
        solid(shape, (i * gap, low, 0), (girth, high, girth), paint) for i in range(-8, 9)
    ]  # fmt: skip
    for y in rng.uniform(-0.4, 0.4, int(rng.integers(0, 4))) * z:
        parts.append(solid(Shape.CUBE, (0, low + y, 0), (9 * gap, girth, girth), paint))
    body = _placed(scene, parts, np.array([0, 0, z]), len(times), rng.normal() * 0.4)
    return replace(scene, bodies=[*scene.bodies, body])


def clutter(rng: Rng, scene: Scene, times: Vector) -> Scene:
    """Things near the camera anywhere in the picture, some of them drifting."""
    axes = look_at(scene.eye, scene.target) @ np.diag([1.0, -1.0, 1.0])
    bodies = []
    for _ in range(int(rng.integers(1, 6))):
        z = float(np.exp(rng.uniform(np.log(0.8), np.log(4))))
        at = scene.eye + axes @ (np.array([rng.uniform(-0.8, 0.8), rng.uniform(-0.5, 0.5), 1]) * z)
        build = (buildings.lump, buildings.vessel)[int(rng.integers(2))]
        size = z * rng.uniform(0.2, 0.7)
        parts = [part.moved(np.zeros(3), size) for part in build(rng)]
        bodies.append(floating(rng, parts, times, list(at), 0.3))
    return replace(scene, bodies=[*scene.bodies, *bodies])


def hands(rng: Rng, scene: Scene, times: Vector) -> Scene:
    """What a first-person camera sees of its bearer: arms with a tool, or a dashboard."""
    del times
    parts: list[Solid] = []
    z = rng.uniform(0.5, 1.0)
    if rng.random() < 0.6:
        skin, sleeve, metal = material(rng, "skin", "plain"), anything(rng), anything(rng, 3)
        for side in (-1, 1) if rng.random() < 0.5 else (rng.choice([-1, 1]),):
            grip = np.array([side * rng.uniform(0.05, 0.35), -rng.uniform(0.12, 0.35), 1]) * z
            elbow = grip + np.array([side * 0.25, -0.3, -0.3]) * z
            parts += [limb(elbow, grip, 0.07 * z, sleeve)]
            parts += [Solid(Shape.SPHERE, grip, np.full(3, 0.07 * z), skin)]
            tip = grip + np.array([-side * rng.uniform(0, 0.2), rng.uniform(0, 0.4), 0.6]) * z
            parts += [limb(grip, tip, rng.uniform(0.015, 0.06) * z, metal)]
    else:
        panel, pillar = anything(rng), anything(rng)
        top = -rng.uniform(0.2, 0.45) * z
        parts.append(solid(Shape.CUBE, (0, top - 0.5 * z, z), (3, 0.5 * z, 0.3 * z), panel))
        for side in (-1, 1):
            lean = turn(2, side * rng.uniform(0.1, 0.5))
            post = np.array([side * rng.uniform(0.7, 1.1) * z, 0.0, z])
            parts.append(Solid(Shape.CUBE, post, np.array([0.05 * z, 2, 0.05]), pillar, lean))
        if rng.random() < 0.5:
            roof = (0, rng.uniform(0.4, 0.6) * z + 0.3, z)
            parts.append(solid(Shape.CUBE, roof, (3, 0.3, 0.05), panel))
    return replace(scene, mounts=tuple(replace(part, casts_shadow=False) for part in parts))


Layer = Callable[[Rng, Scene, Vector], Scene]
LAYERS: dict[str, tuple[Layer, float]] = {  # with the share of all clips
    "opening": (opening, 0.05), "hanging": (hanging, 0.08), "bystander": (bystander, 0.07),
    "bars": (bars, 0.03), "clutter": (clutter, 0.06), "hands": (hands, 0.05),
}  # fmt: skip


def overlay(rng: Rng, scene: Scene, times: Vector) -> Scene:
    """The scene behind one of the layers, or as it is."""
    pick = rng.random()
    for layer, share in LAYERS.values():
        if pick < share:
            return layer(rng, scene, times)
        pick -= share
    return scene
