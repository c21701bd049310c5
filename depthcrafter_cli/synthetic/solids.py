"""The solids everything is built of, and where a ray enters and leaves them.

A solid is a canonical shape (unit sphere, cube or cylinder about the origin) that is scaled,
rotated and moved. Rays are carried into the canonical frame instead; the transform is linear,
so the ray parameter ``t`` means the same in both frames.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import IntEnum

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Vector = npt.NDArray[np.float64]

FAR = 1e9


class Shape(IntEnum):
    """Canonical shapes; ``ROOM`` is a cube seen from inside, a cone's tip is at (0, 1, 0)."""

    SPHERE = 0
    CUBE = 1
    CYLINDER = 2
    ROOM = 3
    CONE = 4


class Cut(IntEnum):
    """What the see-through part of a surface looks like: patches, or gaps between blades."""

    PATCHES = 0
    BLADES = 1


@dataclass(frozen=True)
class Material:
    """Two colours (linear RGB, 0 to 1) mixed by a texture of the atlas, stained with a third.

    ``scale`` is texture repeats per metre, ``fuzz`` the fraction of the surface that is
    see-through (in the way of ``cut``), ``gloss`` the strength of the highlight, ``mirror`` that
    of the sky's reflection, ``glow`` own light, ``bump`` how much the texture tilts the surface.
    """

    dark: tuple[float, float, float]
    light: tuple[float, float, float]
    texture: int = 0
    scale: float = 1.0
    fuzz: float = 0.0
    gloss: float = 0.0
    glow: float = 0.0
    mirror: float = 0.0
    bump: float = 0.0
    stain: tuple[float, float, float] = (0.0, 0.0, 0.0)
    stain_texture: int = 0
    stain_scale: float = 0.2
    stained: float = 0.0
    cut: Cut = Cut.PATCHES


@dataclass(frozen=True)
class Swing:
    """A rotation to and fro about ``pivot``: ``angle = amplitude * sin(rate * time + phase)``."""

    pivot: tuple[float, float, float]
    axis: int
    amplitude: float
    rate: float
    phase: float


@dataclass(frozen=True)
class Solid:
    """A canonical shape of half-extents ``size`` (metres) at ``center``; y is up.

    ``hole`` is a convex solid in the same frame that is cut out of this one.
    """

    shape: Shape
    center: Vector
    size: Vector
    material: Material
    rotation: Vector = field(default_factory=lambda: np.eye(3))
    swing: Swing | None = None
    casts_shadow: bool = True
    hole: Solid | None = None

    def at(self, time: float) -> tuple[Vector, Vector]:
        """Centre and rotation in the body's frame, swung to ``time`` seconds."""
        if self.swing is None:
            return self.center, self.rotation
        turned = turn(
            self.swing.axis,
            self.swing.amplitude * float(np.sin(self.swing.rate * time + self.swing.phase)),
        )
        pivot = np.asarray(self.swing.pivot)
        return turned @ (self.center - pivot) + pivot, turned @ self.rotation

    def moved(self, offset: Vector, scale: float = 1.0) -> Solid:
        """The solid scaled about the origin and shifted, before any swing is added."""
        hole = None if self.hole is None else self.hole.moved(offset, scale)
        return replace(self, center=self.center * scale + offset, size=self.size * scale, hole=hole)


def turn(axis: int, angle: float) -> Vector:
    """The rotation by ``angle`` radians about coordinate axis 0, 1 or 2."""
    c, s = np.cos(angle), np.sin(angle)
    i, j = [(1, 2), (2, 0), (0, 1)][axis]
    matrix = np.eye(3)
    matrix[i, i] = matrix[j, j] = c
    matrix[i, j], matrix[j, i] = -s, s
    return matrix


def _slab(origin: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    inverse = 1.0 / torch.where(direction.abs() < 1e-9, torch.full_like(direction, 1e-9), direction)
    a, b = (-1.0 - origin) * inverse, (1.0 - origin) * inverse
    return torch.minimum(a, b), torch.maximum(a, b)


def _round(origin: list[Tensor], direction: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Interval inside the sphere (three axes) or the endless cylinder (two axes)."""
    a = sum((d * d for d in direction), start=torch.tensor(1e-12, device=direction[0].device))
    b = sum(o * d for o, d in zip(origin, direction, strict=True))
    c = sum(o * o for o in origin) - 1.0
    root = b * b - a * c
    miss = root < 0
    root = root.clamp_min(0).sqrt()
    return ((-b - root) / a).masked_fill(miss, FAR), ((-b + root) / a).masked_fill(miss, -FAR)


def _cone(origin: list[Tensor], direction: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Interval inside the cone of radius ``(1 - y) / 2``; the nappe above the tip is left out."""
    rest, slope = 0.5 * (1.0 - origin[1]), -0.5 * direction[1]  # radius along the ray
    a = direction[0] ** 2 + direction[2] ** 2 - slope**2
    a = torch.where(a.abs() < 1e-9, torch.full_like(a, 1e-9), a)
    b = origin[0] * direction[0] + origin[2] * direction[2] - rest * slope
    c = origin[0] ** 2 + origin[2] ** 2 - rest**2
    root = b * b - a * c
    miss = root < 0
    root = root.clamp_min(0).sqrt()
    one, two = (-b - root) / a, (-b + root) / a
    low, high = torch.minimum(one, two), torch.maximum(one, two)
    steep, down = a < 0, slope > 0  # steeper than the side: one end of the ray stays inside
    enter = torch.where(steep, torch.where(down, high, torch.full_like(high, -FAR)), low)
    leave = torch.where(steep, torch.where(down, torch.full_like(low, FAR), low), high)
    near, far = _slab(origin[1], direction[1])
    enter, leave = torch.maximum(enter, near), torch.minimum(leave, far)
    gone = miss & ~steep
    return enter.masked_fill(gone, FAR), leave.masked_fill(gone, -FAR)


def interval(shape: Shape, origin: list[Tensor], direction: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Where canonical rays enter and leave a convex shape; empty where enter > leave.

    ``origin`` and ``direction`` are lists of the three coordinates, broadcastable tensors.
    """
    if shape == Shape.SPHERE:
        return _round(origin, direction)
    if shape == Shape.CYLINDER:
        enter, leave = _round(origin[::2], direction[::2])
        cap_enter, cap_leave = _slab(origin[1], direction[1])
        return torch.maximum(enter, cap_enter), torch.minimum(leave, cap_leave)
    if shape == Shape.CONE:
        return _cone(origin, direction)
    enter, leave = _slab(origin[0], direction[0])
    for o, d in zip(origin[1:], direction[1:], strict=True):
        near, far = _slab(o, d)
        enter, leave = torch.maximum(enter, near), torch.minimum(leave, far)
    return enter, leave


def normals(shape: Tensor, point: Tensor) -> Tensor:
    """Canonical normals (not of unit length) of points on surfaces: [N], [N, 3] -> [N, 3].

    Outward; a room, or the wall of a hole, is seen from the other side.
    """
    size = point.abs()
    face = torch.zeros_like(point).scatter_(1, size.argmax(1, keepdim=True), 1.0) * point.sign()
    radial = (point[:, 0] ** 2 + point[:, 2] ** 2).sqrt()
    cap = (size[:, 1] > radial)[:, None]
    up = torch.tensor([0.0, 1.0, 0.0], device=point.device)
    side = point * (1 - up)
    tube = torch.where(cap, point * up, side)
    result = torch.where((shape == Shape.SPHERE)[:, None], point, face)
    result = torch.where((shape == Shape.CYLINDER)[:, None], tube, result)
    base = (point[:, 1] < -0.9999)[:, None]
    slope = torch.where(base, -up, side + up * 0.5 * radial[:, None])
    return torch.where((shape == Shape.CONE)[:, None], slope, result)
