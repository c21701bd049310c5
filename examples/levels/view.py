"""One frame of a level: a camera, the light on what it sees, things before it, sky and haze."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from levels.level import Level
from levels.packages import MIPS, sample
from levels.things import Studio, put_things

Rng = np.random.Generator
_TEXEL = 0.7  # units of a level, of a texture of usual size
_LAMPS = 0.35  # of all frames are lit anew, most of them dark but for a few places


class Rays:
    """The rays of a picture's pixels, row by row, from ``eye``.

    ``axes`` are the directions forward, right and up; ``half`` is the tangent of half the picture's
    width. ``ways`` go 1 forward, so that what is hit after t of them has the depth t.
    """

    def __init__(
        self, eye: np.ndarray, axes: np.ndarray, half: float, height: int, width: int
    ) -> None:
        self.eye, self.axes, self.half, self.height, self.width = eye, axes, half, height, width
        x = ((np.arange(width) + 0.5) / width * 2 - 1) * half
        y = (1 - (np.arange(height) + 0.5) / height * 2) * half * height / width
        forward, right, up = axes
        ways = forward + x[None, :, None] * right + y[:, None, None] * up
        self.ways = ways.reshape(-1, 3).astype(np.float32)
        self.starts = np.broadcast_to(eye.astype(np.float32), self.ways.shape).copy()


@dataclass
class Seen:
    """What the rays meet: ``colour`` [n, 3] from 0 up, ``depth`` [n], infinite for ``sky`` [n].

    ``triangle`` numbers the level's; ``near``, ``middle`` and ``far`` are depths of the level.
    """

    rays: Rays
    colour: np.ndarray
    depth: np.ndarray
    sky: np.ndarray
    triangle: np.ndarray
    near: float
    middle: float
    far: float


def frame(
    studio: Studio, level: Level, rng: Rng, height: int, width: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """``rgb`` uint8 [H, W, 3] and ``disparity`` float16 [H, W], median 1; None for a poor view."""
    seen = _look(level, rng, _camera(rng, level, height, width))
    if seen is None:
        return None
    put_things(studio, level, rng, seen)
    if rng.random() < _LAMPS:
        _put_lamps(rng, seen)
    _finish(rng, seen)
    inverse = np.where(np.isfinite(seen.depth), 1 / np.maximum(seen.depth, 1e-3), 0)
    inverse /= np.median(inverse[inverse > 0])
    picture = np.clip(seen.colour * 255 + 0.5, 0, 255).astype(np.uint8)
    disparity = np.clip(inverse, 0, 1000).astype(np.float16)
    return picture.reshape(height, width, 3), disparity.reshape(height, width)


def _camera(rng: Rng, level: Level, height: int, width: int) -> Rays:
    """Near a place of the level where something starts, level as a rule, now and then tilted."""
    place = level.origins[int(rng.integers(len(level.origins)))]
    lift = rng.uniform(8, 90) if rng.random() < 0.8 else rng.uniform(90, 300)
    eye = place + np.array([rng.normal() * 60, rng.normal() * 60, lift])
    steep = 0.5 if rng.random() < 0.15 else 0.2
    pitch = float(np.clip(rng.normal() * steep - 0.05, -1.2, 1.2))
    roll = rng.normal() * (0.3 if rng.random() < 0.08 else 0.03)
    half = float(np.tan(np.radians(rng.uniform(22, 50))))
    return Rays(eye, _axes(rng.uniform(0, 2 * np.pi), pitch, roll), half, height, width)


def _axes(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """Rows forward, right and up; z is up in a level."""
    cy, sy, cp, sp = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch)
    forward, right = np.array([cy * cp, sy * cp, sp]), np.array([sy, -cy, 0])
    up, c, s = np.cross(right, forward), np.cos(roll), np.sin(roll)
    return np.stack([forward, right * c + up * s, up * c - right * s])


def _look(level: Level, rng: Rng, rays: Rays) -> Seen | None:
    """The level alone; None where there is too little of it, or a wall in the face."""
    hit = level.scene.run(rays.starts, rays.ways, output=1)
    triangle, depth = hit["primID"].astype(np.int64), hit["tfar"].copy()
    met = triangle >= 0
    sky = np.ones(len(depth), bool)
    sky[met] = level.sky[level.material[triangle[met]]]
    if met.mean() < 0.7 or sky.mean() > 0.65:
        return None
    near, middle, far = np.quantile(depth[~sky], [0.02, 0.5, 0.98])
    if near < 8 or far / near < (1.5 if rng.random() < 0.3 else 3.0):
        return None
    depth[sky] = np.inf
    seen = Seen(
        rays, np.zeros((len(depth), 3), np.float32), depth, sky, triangle, near, middle, far
    )
    solid = np.flatnonzero(~sky)
    seen.colour[solid] = _lit(level, rng, seen, solid, hit["u"][solid], hit["v"][solid])
    return seen


def _lit(
    level: Level, rng: Rng, seen: Seen, solid: np.ndarray, u: np.ndarray, v: np.ndarray
) -> np.ndarray:
    """Texture times baked light, [n, 3], of the rays ``solid`` at places within triangles."""
    which, u, v = seen.triangle[solid], u[:, None], v[:, None]
    a, b, c = level.corners[which].T

    def between(values: np.ndarray) -> np.ndarray:
        result: np.ndarray = values[a] * (1 - u - v) + values[b] * u + values[c] * v
        return result

    place = between(level.uv)
    pixel = seen.depth[solid] * seen.rays.half * 2 / seen.rays.width
    mip = np.clip(np.log2(np.maximum(pixel, 1e-3) / _TEXEL), 0, MIPS - 1).astype(int)
    base = sample(level.textures, level.material[which], place, mip) / 255
    light = np.clip(between(level.colour) / 255 * 2, 0, 2)
    mapped = np.flatnonzero(level.light[which] >= 0)
    if len(level.light_maps) and len(mapped):
        place = np.clip(between(level.light_uv)[mapped], 0.002, 0.998)
        finest = np.zeros(len(mapped), int)
        light[mapped] = sample([level.light_maps], level.light[which][mapped], place, finest)
        light[mapped] *= 2.2 / 255
    return base * (light + rng.uniform(0.08, 0.45))


def _put_lamps(rng: Rng, seen: Seen) -> None:
    """Dim what is seen, and light it from up to five places, near or far; now and then by a torch.

    So what is bright is near as often as far.
    """
    depth = np.minimum(seen.depth, 2 * seen.far)[:, None]
    solid = np.flatnonzero(~seen.sky)
    light = np.full(depth.shape, rng.uniform(0.05, 0.5))
    for _ in range(int(rng.integers(1, 6))):
        hit = int(rng.choice(solid))
        # Before the surface that it lights, off the line of sight.
        lamp = seen.rays.ways[hit] * depth[hit] * rng.uniform(0.6, 1) + rng.normal(size=3) * (
            0.15 * depth[hit]
        )
        reach = depth[hit] * rng.uniform(0.1, 0.6)
        tint = 1 + rng.normal(size=3) * 0.25 * rng.random()
        apart = ((seen.rays.ways * depth - lamp) ** 2).sum(1, keepdims=True)
        light = light + np.clip(tint, 0.2, 2) * rng.uniform(0.5, 3) / (1 + apart / reach**2)
    if rng.random() < 0.2:
        light = light * np.exp(-depth / (rng.uniform(0.3, 2) * seen.middle))
    seen.colour[solid] *= light[solid].astype(np.float32)


def _finish(rng: Rng, seen: Seen) -> None:
    """Sky, haze, exposure and grain; colour ends between 0 and 1."""
    colour, sky = seen.colour, seen.sky
    if sky.any():
        top, bottom = rng.random(3) * 0.6 + 0.2, rng.random(3) * 0.5 + 0.5
        if rng.random() < 0.5:  # blue above, pale below
            top = np.array([0.35, 0.5, 0.85]) * rng.uniform(0.5, 1.2)
            bottom = np.array([0.8, 0.85, 0.9]) * rng.uniform(0.7, 1.1)
        ways = seen.rays.ways[sky]
        high = np.clip(ways[:, 2] / np.linalg.norm(ways, axis=1), 0, 1)[:, None]
        colour[sky] = bottom * (1 - high) + top * high
    if rng.random() < 0.15:
        through = np.exp(-rng.uniform(0.2, 1.0) / seen.far * np.minimum(seen.depth, 2 * seen.far))
        haze = rng.uniform(0.3, 0.9) + rng.normal(size=3) * 0.08
        colour[:] = colour * through[:, None] + haze * (1 - through[:, None])
    bright = max(float(np.quantile(colour.mean(1)[::16], rng.uniform(0.6, 0.95))), 0.02)
    colour[:] = np.clip(colour * rng.uniform(0.4, 0.9) / bright, 0, 1) ** rng.uniform(0.6, 1.0)
    colour += rng.normal(size=colour.shape).astype(np.float32) * rng.uniform(0, 0.02)
    np.clip(colour, 0, 1, out=colour)
