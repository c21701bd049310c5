"""What scenes are made with: light, sky, ground, and bodies placed or moving on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from depthcrafter_cli.training.generator import buildings, props
from depthcrafter_cli.training.generator.palette import Colour, colour, material
from depthcrafter_cli.training.generator.solids import Body, Shape, Solid, Vector

Rng = np.random.Generator


@dataclass(frozen=True)
class Light:
    """A sun (``direction`` towards it) or, where ``lamp`` is set, a lamp at that place."""

    direction: Vector
    colour: Colour
    above: Colour
    below: Colour
    lamp: Vector | None = None


@dataclass(frozen=True)
class Sky:
    """A gradient with clouds; disparity zero. ``haze`` is fog density per metre."""

    horizon: Colour
    zenith: Colour
    clouds: float
    texture: int
    haze: float


@dataclass(frozen=True)
class Scene:
    """All that is drawn, and where a camera may stand: ``eye``, ``target``, ``roam`` metres."""

    bodies: list[Body]
    light: Light
    sky: Sky
    eye: Vector
    target: Vector
    roam: float
    clear: float = field(default=0.5)


def still(solids: list[Solid], frames: int, at: Sequence[float], heading: float = 0.0) -> Body:
    """A body that does not move."""
    ones = np.ones(frames)
    return Body(solids, np.tile(np.asarray(at, float), (frames, 1)), ones * heading, ones)


def moving(rng: Rng, solids: list[Solid], times: Vector, at: Sequence[float], pace: float) -> Body:
    """A body that stands, walks on a line or a curve, turns, hops or breathes."""
    frames = len(times)
    heading = rng.uniform(0, 2 * np.pi) if rng.random() < 0.6 else np.pi + rng.normal() * 0.5
    spin = rng.normal() * 0.6 if rng.random() < 0.3 else 0.0
    speed = rng.uniform(0, pace) if rng.random() < 0.6 else 0.0
    angle = heading + spin * times
    step = np.diff(times, prepend=times[0])
    path = np.stack([np.sin(angle), np.zeros(frames), np.cos(angle)], axis=1) * speed
    position = np.asarray(at, float) + np.cumsum(path * step[:, None], axis=0)
    if rng.random() < 0.2:
        hop = np.abs(np.sin(rng.uniform(2, 6) * times)) * rng.uniform(0.05, 0.5)
        position[:, 1] += hop
    bounce = 1 + rng.uniform(0, 0.05) * np.sin(rng.uniform(1, 6) * times)
    return Body(solids, position, angle, bounce)


def daylight(rng: Rng) -> tuple[Light, Sky]:
    dusk = rng.random() < 0.2
    zenith = colour(rng, "sky" if rng.random() < 0.75 else "any")
    white = np.array(colour(rng, "snow"))
    horizon = np.array(colour(rng, "autumn" if dusk else "sky")) * 0.4 + white * 0.6
    height = rng.uniform(0.15, 0.6) if dusk else rng.uniform(0.4, 1.5)
    around = rng.uniform(0, 2 * np.pi)
    direction = np.array(
        [np.cos(around) * np.cos(height), np.sin(height), np.sin(around) * np.cos(height)]
    )
    overcast = rng.random() < 0.3
    sun = np.array([1.0, rng.uniform(0.8, 1), rng.uniform(0.55, 1)]) * (0.25 if overcast else 1.0)
    above = np.array(zenith) * 0.4 + white * (0.55 if overcast else 0.15)
    below = np.array(colour(rng, "earth")) * 0.3
    light = Light(direction, _rgb(sun), _rgb(above), _rgb(below))
    haze = float(np.exp(rng.uniform(np.log(0.001), np.log(0.06)))) if rng.random() < 0.7 else 0.0
    sky = Sky(_rgb(horizon), zenith, float(rng.uniform(0, 1)), int(rng.integers(4, 12)), haze)
    return light, sky


def lamplight(rng: Rng, lamp: Vector) -> tuple[Light, Sky]:
    warm = np.array([1.0, rng.uniform(0.75, 1.0), rng.uniform(0.5, 1.0)])
    glow = float(rng.uniform(0.15, 0.6))
    above, below = glow * warm, glow * rng.uniform(0.4, 0.9) * np.array(colour(rng, "wall"))
    light = Light(np.array([0.0, 1.0, 0.0]), _rgb(warm), _rgb(above), _rgb(below), lamp)
    return light, Sky((0, 0, 0), (0, 0, 0), 0.0, 0, 0.0)


def _rgb(vector: Vector) -> Colour:
    red, green, blue = (float(x) for x in np.clip(vector, 0, 1.5))
    return (red, green, blue)


def ground(rng: Rng, frames: int, kinds: str) -> Body:
    """A level floor without end, its top at height zero."""
    kind = str(rng.choice(kinds.split()))
    snowy = "plain fractal marble"
    patterns = snowy if kind == "snow" else "grass fractal blotches grass bricks checks"
    floor = material(
        rng, kind, patterns, scale=float(rng.uniform(0.1, 0.8)), contrast=rng.uniform(0.1, 0.7)
    )
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
    rng: Rng, builders: Sequence[props.Builder], count: int, times: Vector,
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


FIGURES = (props.person, props.furry, props.furry, props.beast)
GREEN = (props.tree, props.tree, props.bush, props.rock)
FURNITURE = (buildings.table, buildings.seat, buildings.cabinet, buildings.post, buildings.heap)
SMALL = (buildings.lump, buildings.lump, buildings.heap, props.rock, props.furry)
