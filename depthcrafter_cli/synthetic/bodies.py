"""Solids that move as one: on their own way through a clip, or fixed to the camera."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from depthcrafter_cli.synthetic.solids import Solid, Vector, turn

Rng = np.random.Generator


@dataclass(frozen=True)
class Body:
    """Solids in their own frame (feet at the origin, facing +z) and the body's way through a clip.

    ``position`` [T, 3] is in metres, ``heading`` [T] radians about the vertical, ``bounce`` scales
    the height over time [T] (1 = as built). ``attitude`` [T, 3, 3] replaces the heading where a
    body tumbles or is fixed to the camera.
    """

    solids: list[Solid]
    position: Vector
    heading: Vector
    bounce: Vector
    attitude: Vector | None = None

    @property
    def parts(self) -> list[Solid]:
        """The solids, each followed by its hole if it has one."""
        return [part for solid in self.solids for part in (solid, solid.hole) if part is not None]

    def poses(self, times: Vector) -> tuple[Vector, Vector, Vector]:
        """Centres [T, P, 3], rotations [T, P, 3, 3], sizes [T, P, 3] of ``parts`` in the world."""
        frames, parts = len(times), self.parts
        centers = np.empty((frames, len(parts), 3))
        rotations = np.empty((frames, len(parts), 3, 3))
        for j, part in enumerate(parts):
            if part.swing is None:
                centers[:, j], rotations[:, j] = part.center, part.rotation
            else:
                for i, time in enumerate(times):
                    centers[i, j], rotations[i, j] = part.at(float(time))
        centers[..., 1] *= self.bounce[:, None]
        facing = self.attitude
        if facing is None:
            facing = np.stack([turn(1, angle) for angle in self.heading])
        centers = np.einsum("tij,tpj->tpi", facing, centers) + self.position[:, None]
        rotations = facing[:, None] @ rotations
        sizes = np.broadcast_to(np.stack([part.size for part in parts]), centers.shape)
        return centers, rotations, sizes


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


def floating(
    rng: Rng, solids: list[Solid], times: Vector, at: Sequence[float], pace: float
) -> Body:
    """A body in the air, in water or in space: drifts and tumbles slowly about a random axis."""
    frames = len(times)
    drift = rng.normal(size=3) * pace * rng.random()
    position = np.asarray(at, float) + times[:, None] * drift
    start = turn(1, rng.uniform(0, 6.3)) @ turn(0, rng.normal() * 0.6)
    axis, rate = int(rng.integers(3)), rng.normal() * rng.choice([0.0, 0.3, 1.0])
    attitude = np.stack([start @ turn(axis, rate * time) for time in times])
    return Body(solids, position, np.zeros(frames), np.ones(frames), attitude)
