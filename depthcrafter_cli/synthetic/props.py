"""The parts that builders of things have in common.

Every builder returns solids in the thing's own frame: metres, feet at the origin, facing +z.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from depthcrafter_cli.synthetic.solids import Material, Shape, Solid, Swing, Vector

Rng = np.random.Generator
Builder = Callable[[Rng], list[Solid]]


def solid(
    shape: Shape, center: tuple[float, float, float], size: tuple[float, float, float],
    made_of: Material, rotation: Vector | None = None,
) -> Solid:  # fmt: skip
    """A solid from plain tuples."""
    return Solid(
        shape, np.array(center, float), np.array(size, float), made_of,
        np.eye(3) if rotation is None else rotation,
    )  # fmt: skip


def any_rotation(rng: Rng) -> Vector:
    """A rotation matrix drawn from the uniform distribution."""
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q if np.linalg.det(q) > 0 else -q


def limb(
    start: Vector, end: Vector, width: float, skin: Material, swing: Swing | None = None
) -> Solid:
    """An ellipsoid stretched between two points."""
    along = end - start
    length = float(np.linalg.norm(along))
    up = along / max(length, 1e-6)
    side = np.cross(up, [0.3, 0.2, 0.9])
    side /= np.linalg.norm(side)
    rotation = np.stack([side, up, np.cross(side, up)], axis=1)
    size = np.array([width, length * 0.58, width])
    return Solid(Shape.SPHERE, (start + end) / 2, size, skin, rotation, swing)
