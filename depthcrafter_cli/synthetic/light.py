"""Light and air: day, dusk, night, indoors, under water, in space."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from depthcrafter_cli.synthetic import textures
from depthcrafter_cli.synthetic.palette import Colour, colour
from depthcrafter_cli.synthetic.solids import Vector

Rng = np.random.Generator


@dataclass(frozen=True)
class Light:
    """A sun (``direction`` towards it) or, where ``lamp`` is set, a lamp at that place.

    ``lamps`` are further places and colours of lamps that throw no shadows; ``dapple`` repeats
    per metre of ``texture`` break the main light up like a canopy of leaves (0 = unbroken).
    """

    direction: Vector
    colour: Colour
    above: Colour
    below: Colour
    lamp: Vector | None = None
    lamps: tuple[tuple[Vector, Colour], ...] = ()
    dapple: float = 0.0
    texture: int = 0


@dataclass(frozen=True)
class Sky:
    """A gradient with clouds; disparity zero. ``haze`` is the density per metre of ``fog``."""

    horizon: Colour
    zenith: Colour
    clouds: float
    texture: int
    haze: float
    fog: Colour = (0.0, 0.0, 0.0)
    stars: bool = False


Setting = tuple[Light, Sky]


def _rgb(vector: Vector) -> Colour:
    red, green, blue = (float(x) for x in np.clip(vector, 0, 1.5))
    return (red, green, blue)


def _towards(rng: Rng, height: float) -> Vector:
    around = rng.uniform(0, 2 * np.pi)
    return np.array(
        [np.cos(around) * np.cos(height), np.sin(height), np.sin(around) * np.cos(height)]
    )


def _haze(rng: Rng, low: float = 0.001, high: float = 0.06) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def daylight(rng: Rng) -> Setting:
    """Sun, dusk or an overcast sky, with haze of the horizon's colour or of any other."""
    dusk = rng.random() < 0.25
    zenith = colour(rng, "sky" if rng.random() < 0.7 else "any")
    white = np.array(colour(rng, "snow"))
    pale = rng.uniform(0.1, 0.7)
    horizon = np.array(colour(rng, "autumn" if dusk else "sky")) * (1 - pale) + white * pale
    if rng.random() < 0.15:
        horizon = np.array(colour(rng, "any")) * rng.uniform(0.1, 1)
    direction = _towards(rng, rng.uniform(0.08, 0.5) if dusk else rng.uniform(0.3, 1.5))
    overcast = rng.random() < 0.3
    sun = np.array([1.0, rng.uniform(0.7, 1), rng.uniform(0.45, 1)]) * (0.25 if overcast else 1.0)
    above = np.array(zenith) * 0.4 + white * (0.55 if overcast else rng.uniform(0.02, 0.25))
    below = np.array(colour(rng, "earth")) * rng.uniform(0.05, 0.4)
    light = Light(direction, _rgb(sun), _rgb(above), _rgb(below))
    if rng.random() < 0.2:
        dapple = float(np.exp(rng.uniform(np.log(0.02), np.log(0.4))))
        light = replace(light, dapple=dapple, texture=textures.index("blotches", rng))
    fog = horizon if rng.random() < 0.75 else np.array(colour(rng, "any")) * rng.random()
    haze = _haze(rng) if rng.random() < 0.6 else 0.0
    cover = float(rng.uniform(0, 1))
    sky = Sky(_rgb(horizon), zenith, cover, int(rng.integers(4, 12)), haze, _rgb(fog))
    return light, sky


def night(rng: Rng) -> Setting:
    """A dark sky, a faint moon, and coloured lamps between 1 and 30 metres off."""
    blue = np.array([rng.uniform(0.1, 0.5), rng.uniform(0.2, 0.6), rng.uniform(0.5, 1)])
    dim = rng.uniform(0.01, 0.15)
    lamps = tuple(lamp_at(rng, _before(rng, 1.5, 30)) for _ in range(int(rng.integers(1, 5))))
    zenith, horizon = _rgb(blue * dim * 0.3), _rgb(blue * dim * rng.uniform(0.3, 3))
    moon = _rgb(blue * rng.uniform(0.02, 0.4))
    light = Light(_towards(rng, rng.uniform(0.2, 1.4)), moon, _rgb(blue * dim), (0.01, 0.01, 0.01))
    haze = _haze(rng) if rng.random() < 0.5 else 0.0
    clouds, stars = float(rng.uniform(0, 0.6)), bool(rng.random() < 0.5)
    sky = Sky(horizon, zenith, clouds, int(rng.integers(4, 12)), haze, horizon, stars)
    return replace(light, lamps=lamps), sky


def _before(rng: Rng, near: float, far: float) -> Vector:
    z = float(np.exp(rng.uniform(np.log(near), np.log(far))))
    return np.array([rng.normal() * z * 0.5, rng.uniform(0.3, 4.0), z])


def lamp_at(rng: Rng, place: Vector) -> tuple[Vector, Colour]:
    """A lamp of any colour and of a brightness that reaches a few metres."""
    tint = np.array(colour(rng, "any" if rng.random() < 0.6 else "snow"))
    return place, _rgb(tint / max(tint.max(), 1e-3) * rng.uniform(0.5, 1.5))


def sunlit(rng: Rng) -> Setting:
    """Outdoor light: mostly day, sometimes night."""
    return night(rng) if rng.random() < 0.15 else daylight(rng)


def lamplight(rng: Rng, lamp: Vector) -> Setting:
    """Indoor light: one lamp with shadows, perhaps coloured ones, bright or gloomy."""
    warm = np.array([1.0, rng.uniform(0.7, 1.0), rng.uniform(0.4, 1.0)])
    glow = float(np.exp(rng.uniform(np.log(0.03), np.log(0.6))))
    above, below = glow * warm, glow * rng.uniform(0.3, 1.2) * np.array(colour(rng, "wall"))
    lamps = tuple(
        lamp_at(rng, lamp + rng.normal(size=3) * [2, 0.3, 2.5])
        for _ in range(int(rng.choice([0, 0, 1, 2, 3])))
    )
    light = Light(np.array([0.0, 1.0, 0.0]), _rgb(warm), _rgb(above), _rgb(below), lamp, lamps)
    outside = colour(rng, "sky" if rng.random() < 0.6 else "any")
    haze = _haze(rng, 0.005, 0.08) if rng.random() < 0.15 else 0.0
    fog = _rgb(np.array(colour(rng, "any")) * rng.random())
    return light, Sky(outside, outside, 0.0, 4, haze, fog)


def underwater(rng: Rng) -> Setting:
    """Dense coloured fog everywhere, darker or brighter than what is near."""
    water = np.array([rng.uniform(0, 0.3), rng.uniform(0.2, 0.8), rng.uniform(0.3, 1.0)])
    water = water * rng.uniform(0.05, 0.9)
    sun = np.array([0.5, 0.9, 1.0]) * rng.uniform(0.2, 1.2)
    light = Light(_towards(rng, rng.uniform(0.9, 1.5)), _rgb(sun), _rgb(water), _rgb(water * 0.4))
    light = replace(
        light, dapple=float(rng.uniform(0.1, 0.6)), texture=textures.index("marble", rng)
    )
    fog = _rgb(water)
    return light, Sky(fog, _rgb(water * rng.uniform(0.5, 1.6)), 0.0, 4, _haze(rng, 0.02, 0.25), fog)


def space(rng: Rng) -> Setting:
    """Black sky, hard light from one side."""
    sun = np.array([1.0, rng.uniform(0.8, 1), rng.uniform(0.7, 1)]) * 1.2
    dim = _rgb(np.array(colour(rng, "any")) * 0.06)
    black = _rgb(np.array(colour(rng, "any")) * rng.choice([0.0, 0.0, 0.02, 0.2]))
    light = Light(_towards(rng, rng.uniform(-1.2, 1.2)), _rgb(sun), dim, dim)
    return light, Sky(black, black, 0.0, 4, 0.0, black, stars=True)
