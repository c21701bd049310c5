"""Cameras: where they stand, how they move, what they see.

The world is left-handed: x right, y up, z forward for a camera at rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from depthcrafter_cli.training.generator.solids import Vector, turn
from depthcrafter_cli.training.generator.staging import Scene

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
    return amount * sum(np.sin(rate[i] * steps + phase[i]) for i in range(2)) / 2


def film(rng: Rng, scene: Scene, times: Vector) -> Camera:
    """A camera path through a scene: still, panning, dolly, truck, orbit, crane, with shake."""
    frames = len(times)
    span = np.linspace(-0.5, 0.5, frames)[:, None] if frames > 1 else np.zeros((1, 1))
    eye = np.tile(scene.eye, (frames, 1))
    target = np.tile(scene.target, (frames, 1))
    view = scene.target - scene.eye
    side = np.cross([0.0, 1.0, 0.0], view)
    side /= np.linalg.norm(side)
    away = float(np.linalg.norm(view))
    gain = rng.normal() * min(1.0, frames / 24 + 0.3)
    move = str(rng.choice(["still", "pan", "dolly", "truck", "orbit", "crane"]))
    if move == "pan":
        target = target + span * gain * side * away * 0.6
    elif move == "dolly":
        eye = eye + span * gain * scene.roam * view / away
        target = target + span * gain * scene.roam * view / away
    elif move == "truck":
        eye = eye + span * gain * scene.roam * side
        target = target + span * gain * scene.roam * side
    elif move == "orbit":
        eye = eye + span * gain * scene.roam * side
    elif move == "crane":
        eye = eye + span * gain * scene.roam * 0.5 * np.array([0.0, 1.0, 0.0])
    eye[:, 1] = np.maximum(eye[:, 1], 0.12)
    shake = rng.random() ** 3
    eye = eye + _smooth(rng, frames, shake * 0.03)
    target = target + _smooth(rng, frames, shake * 0.04 * away)
    roll = rng.normal() * 0.04
    rotation = np.stack([look_at(e, t, roll) for e, t in zip(eye, target, strict=True)])
    zoom = np.exp(span[:, 0] * rng.normal() * 0.2) if rng.random() < 0.15 else np.ones(frames)
    return Camera(eye, rotation, zoom * rng.uniform(0.75, 2.2))
