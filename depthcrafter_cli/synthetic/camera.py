"""Cameras: where they stand, how they move, what they see.

The world is left-handed: x right, y up, z forward for a camera at rest.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from depthcrafter_cli.synthetic.bodies import Body
from depthcrafter_cli.synthetic.solids import Vector, turn
from depthcrafter_cli.synthetic.staging import Scene

Rng = np.random.Generator


@dataclass(frozen=True)
class Camera:
    """``eye`` [T, 3]; ``rotation`` [T, 3, 3] from camera axes (right, down, forward) to the world.

    ``focal`` [T] is in units of half the picture's longer side.
    """

    eye: Vector
    rotation: Vector
    focal: Vector


def look_at(eye: Vector, target: Vector, roll: float = 0.0) -> Vector:
    """The rotation whose columns are right, down and forward, rolled about the view axis."""
    forward = target - eye
    forward = forward / np.linalg.norm(forward)
    right = np.cross([0.0, 1.0, 0.0], forward)
    right = right / max(float(np.linalg.norm(right)), 1e-6)
    down = np.cross(right, forward)
    return np.stack([right, down, forward], axis=1) @ turn(2, roll)


def _smooth(rng: Rng, frames: int, amount: float) -> Vector:
    """Hand shake: two slow waves a coordinate, [T, 3]."""
    phase = rng.uniform(0, 2 * np.pi, (2, 3))
    rate = rng.uniform(0.1, 0.9, (2, 3))
    steps = np.arange(frames)[:, None]
    waves: Vector = amount * sum(np.sin(rate[i] * steps + phase[i]) for i in range(2)) / 2
    return waves


def film(rng: Rng, scene: Scene, times: Vector) -> Camera:
    """A camera path through a scene, by tripod, dolly, hand, crane, vehicle or drone."""
    frames = len(times)
    span = np.linspace(-0.5, 0.5, frames) if frames > 1 else np.zeros(1)
    aim = _tilted(rng, scene)
    eye, target = _path(rng, scene, aim, span[:, None])
    away = float(np.linalg.norm(aim - scene.eye))
    shake = rng.random() ** 3
    eye = eye + _smooth(rng, frames, shake * 0.03)
    target = target + _smooth(rng, frames, shake * 0.04 * away)
    eye = _clear(scene, eye)
    spread = 0.35 if rng.random() < 0.08 else scene.roll
    roll = rng.normal() * spread + span * rng.normal() * spread
    rotation = np.stack([look_at(e, t, r) for e, t, r in zip(eye, target, roll, strict=True)])
    zoom = np.exp(span * rng.normal() * 0.2) if rng.random() < 0.15 else np.ones(frames)
    focal = float(np.exp(rng.uniform(*np.log(scene.focal))))
    return Camera(eye, rotation, zoom * focal)


def at_random(rng: Rng, paths: list[Camera]) -> Camera:
    """One camera of each path, at a random place of it."""
    places = [int(rng.integers(len(path.eye))) for path in paths]
    return Camera(
        *(
            np.stack(
                [getattr(path, part)[place] for path, place in zip(paths, places, strict=True)]
            )
            for part in ("eye", "rotation", "focal")
        )
    )


def _tilted(rng: Rng, scene: Scene) -> Vector:
    """The target, sometimes far up, down or aside, so that no height is always the horizon."""
    if rng.random() > 0.22:
        return scene.target
    view = scene.target - scene.eye
    away = float(np.linalg.norm(view))
    shift = np.array([0.0, rng.choice([-1.0, 1.0]) * rng.uniform(0.15, 0.6), 0.0])
    shift[[0, 2]] = np.array([view[2], -view[0]]) / away * rng.normal() * 0.25
    return scene.target + shift * away


def _path(rng: Rng, scene: Scene, aim: Vector, span: Vector) -> tuple[Vector, Vector]:
    """Places of the camera and of what it points at, [T, 3] each."""
    frames = len(span)
    view = aim - scene.eye
    away = float(np.linalg.norm(view))
    side = np.cross([0.0, 1.0, 0.0], view)
    side /= max(float(np.linalg.norm(side)), 1e-6)
    gain = rng.normal() * min(1.0, frames / 24 + 0.3)
    move = str(rng.choice(["still", "pan", "tilt", "dolly", "truck", "orbit", "crane", "ride"]))
    eye, target = np.tile(scene.eye, (frames, 1)), np.tile(aim, (frames, 1))
    step = {
        "dolly": view / away * scene.roam,
        "ride": view / away * scene.roam * 2.5 * np.sign(gain),
        "truck": side * scene.roam,
        "orbit": side * scene.roam,
        "crane": np.array([0.0, 0.5, 0.0]) * scene.roam,
    }.get(move, np.zeros(3))
    swing = {"pan": side * away * 0.6, "tilt": np.array([0.0, 0.4, 0.0]) * away}
    eye = eye + span * gain * step
    if move != "orbit":
        target = target + span * gain * (step + swing.get(move, 0.0))
    return eye, target


def _clear(scene: Scene, eye: Vector) -> Vector:
    """The path lifted out of the ground, and lowered out of the roof of a cave."""
    if scene.terrain is None:
        return np.stack([eye[:, 0], np.maximum(eye[:, 1], 0.12), eye[:, 2]], axis=1)
    x, z = torch.from_numpy(eye[:, [0, 2]]).float().unbind(1)
    floor = scene.terrain.floor(x, z).numpy().astype(float)
    roof = scene.terrain.ceiling(x, z).numpy().astype(float)
    y = np.minimum(np.maximum(eye[:, 1], floor + 0.25), np.maximum(roof - 0.25, floor + 0.05))
    return np.stack([eye[:, 0], y, eye[:, 2]], axis=1)


def mounted(scene: Scene, camera: Camera) -> Scene:
    """The scene with its ``mounts`` as a body that follows the camera."""
    if not scene.mounts:
        return scene
    ones = np.ones(len(camera.eye))
    upright = camera.rotation @ np.diag([1.0, -1.0, 1.0])
    body = Body(list(scene.mounts), camera.eye, ones * 0, ones, upright)
    return replace(scene, bodies=[*scene.bodies, body])
