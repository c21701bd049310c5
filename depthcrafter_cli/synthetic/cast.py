"""Which solid each ray meets first, how far away, and whether a light sees that place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from depthcrafter_cli.synthetic.solids import FAR, Cut, Shape, Solid, Vector, interval
from depthcrafter_cli.synthetic.staging import Scene
from depthcrafter_cli.synthetic.terrain import Terrain
from depthcrafter_cli.synthetic.textures import SIDE

NEAR = 0.1  # metres

_CORNERS = torch.tensor([[a, b, c] for a in (-1.0, 1) for b in (-1.0, 1) for c in (-1.0, 1)])


@dataclass(frozen=True)
class Posed:
    """The P parts of a scene at every time; the last one stands for the terrain, if any."""

    solids: list[Solid]
    center: Tensor  # [T, P, 3]
    rotation: Tensor  # [T, P, 3, 3]
    size: Tensor  # [T, P, 3]
    holes: set[int]  # parts that are only cut out of the part before them
    terrain: Terrain | None


def pose(scene: Scene, times: Vector, device: torch.device) -> Posed:
    """Place every part of a scene at every time, by frame."""
    parts = [body.poses(times) for body in scene.bodies]
    solids = [part for body in scene.bodies for part in body.parts]
    holes = {i + 1 for i, solid in enumerate(solids) if solid.hole is not None}
    if scene.terrain is not None:
        solids.append(scene.terrain.surface)
        ones = np.ones((len(times), 1, 3))
        parts.append((ones * 0, np.eye(3) * ones[..., None], ones))
    center, rotation, size = (
        torch.from_numpy(np.concatenate([part[i] for part in parts], axis=1)).float().to(device)
        for i in range(3)
    )
    return Posed(solids, center, rotation, size, holes, scene.terrain)


def _window(corners: Tensor, x: Tensor, y: Tensor) -> tuple[int, int, int, int] | None:
    """Rows and columns that may see a box with ``corners`` [T, 8, 3] in camera axes."""
    height, width = y.shape[1], x.shape[2]
    z = corners[..., 2]
    if bool((z < NEAR).all()):
        return None
    if bool((z < NEAR).any()):
        return 0, height, 0, width
    u, v = corners[..., 0] / z, corners[..., 1] / z
    low_u, high_u = u.amin(1)[:, None, None], u.amax(1)[:, None, None]
    low_v, high_v = v.amin(1)[:, None, None], v.amax(1)[:, None, None]
    columns = ((x >= low_u) & (x <= high_u)).any(0)[0].nonzero()
    rows = ((y >= low_v) & (y <= high_v)).any(0)[:, 0].nonzero()
    if len(columns) == 0 or len(rows) == 0:
        return None
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def _lines(matrix: Tensor, x: Tensor, y: Tensor) -> list[Tensor]:
    """Canonical directions of the rays (x, y, 1): three of [T, h, w]."""
    m = matrix[:, :, :, None, None]
    return [m[:, i, 0] * x + (m[:, i, 1] * y + m[:, i, 2]) for i in range(3)]


def _behind_hole(t: Tensor, leave: Tensor, hole: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Where rays meet a solid with a hole, FAR for never, and whether on the hole's wall."""
    start = t.clamp_min(0.5 * NEAR)
    through = (hole[0] <= start) & (hole[1] >= start) & (hole[0] <= hole[1])
    t = torch.where(through, hole[1], t)
    return torch.where(through & (hole[1] >= leave), torch.full_like(t, FAR), t), through


def cast(
    posed: Posed, eye: Tensor, rotation: Tensor, x: Tensor, y: Tensor, grain: Tensor
) -> tuple[Tensor, Tensor]:
    """Depth [T, H, W] (FAR where nothing is hit) and number of the part seen (-1)."""
    frames, height, width = len(eye), y.shape[1], x.shape[2]
    depth = torch.full((frames, height, width), FAR, device=x.device)
    ident = torch.full((frames, height, width), -1, device=x.device, dtype=torch.int16)
    to_local = posed.rotation.transpose(-1, -2) / posed.size[..., None]  # [T, P, 3, 3]
    origins = torch.einsum("tpij,tpj->tpi", to_local, eye[:, None] - posed.center)
    matrices = to_local @ rotation[:, None]
    reach = posed.rotation * posed.size[:, :, None, :]
    corners = _CORNERS.to(x.device) @ reach.transpose(-1, -2) + posed.center[:, :, None]
    corners = (corners - eye[:, None, None]) @ rotation[:, None]
    count = len(posed.solids) - (posed.terrain is not None)
    for number, solid in enumerate(posed.solids[:count]):
        window = None if number in posed.holes else _window(corners[:, number], x, y)
        if window is None:
            continue
        top, bottom, left, right = window
        xs, ys = x[:, :, left:right], y[:, top:bottom]
        direction = _lines(matrices[:, number], xs, ys)
        origin = [origins[:, number, i, None, None] for i in range(3)]
        enter, leave = interval(solid.shape, origin, direction)
        t = leave if solid.shape == Shape.ROOM else enter
        on_wall = None
        if solid.hole is not None:
            inner = [origins[:, number + 1, i, None, None] for i in range(3)]
            lines = _lines(matrices[:, number + 1], xs, ys)
            t, on_wall = _behind_hole(t, leave, interval(solid.hole.shape, inner, lines))
        best = depth[:, top:bottom, left:right]
        closer = (enter <= leave) & (t > NEAR) & (t < best)
        if solid.material.fuzz > 0:
            closer &= _opaque(solid, posed.size[0, number], origin, direction, t, grain)
        best[closer] = t[closer]
        seen = ident[:, top:bottom, left:right]
        seen.masked_fill_(closer, number)
        if on_wall is not None:
            seen.masked_fill_(closer & on_wall, number + 1)
    return depth, ident


def _opaque(
    solid: Solid, size: Tensor, origin: list[Tensor], direction: list[Tensor], t: Tensor,
    grain: Tensor,
) -> Tensor:  # fmt: skip
    """Where foliage is not seen through: a pattern fixed to the solid's surface."""
    t = t.clamp(-1e3, 1e3)
    point = [o + d * t for o, d in zip(origin, direction, strict=True)]
    if solid.material.cut == Cut.BLADES:
        up = 0.5 + 0.5 * point[1]
        along = point[0] * float(size[0]) * (20.0 / float(size[1])) + up**2 * 1.2
        blade = along.floor()
        tall = 0.35 + 0.65 * grain[(blade * 37).long() % SIDE, (blade * 11).long() % SIDE]
        wide = (1 - solid.material.fuzz) * (1 - up / tall)
        return (along - blade - 0.5).abs() < 0.5 * wide
    texel = 60.0 * solid.material.scale
    u = (point[0] * float(size[0]) + point[2] * float(size[2])) * texel
    v = point[1] * float(size[1]) * texel + point[2] * 3
    return grain[v.long() % SIDE, u.long() % SIDE] > solid.material.fuzz


def cast_terrain(
    terrain: Terrain, eye: Tensor, rays: Tensor, depth: Tensor, ident: Tensor, number: int
) -> None:
    """Put the terrain, part ``number``, into ``depth`` and ``ident`` [T, H, W] where it is seen."""
    origin = eye[:, None, None].expand_as(rays).reshape(-1, 3)
    t = terrain.cast(origin, rays.reshape(-1, 3), depth.flatten()).view_as(depth)
    closer = t < depth
    depth[closer] = t[closer].clamp_min(NEAR)
    ident.masked_fill_(closer, number)


def shadows(scene: Scene, posed: Posed, eye: Tensor, rays: Tensor, depth: Tensor) -> Tensor:
    """1 where the light is seen, 0 where a solid stands between, smooth, [T, H, W].

    Found on every third row and column only: soft edges for a ninth of the work.
    """
    coarse = depth[:, 1::3, 1::3]
    point = eye[:, None, None] + rays[:, 1::3, 1::3] * coarse.clamp_max(1e4)[..., None]
    lamp = scene.light.lamp
    towards = torch.tensor(scene.light.direction, dtype=torch.float32, device=depth.device)
    if lamp is not None:
        towards = torch.tensor(lamp, dtype=torch.float32, device=depth.device) - point
    lit = torch.ones_like(coarse)
    end = FAR if lamp is None else 1.0
    to_local = posed.rotation.transpose(-1, -2) / posed.size[..., None]

    def crossing(number: int) -> tuple[Tensor, Tensor]:
        matrix = to_local[:, number].transpose(-1, -2)
        offset = (point - posed.center[:, number, None, None]).flatten(1, 2)
        origin = (offset @ matrix).unflatten(1, lit.shape[1:])
        aim = towards.expand_as(point).flatten(1, 2) if lamp is not None else towards[None, None]
        direction = (aim @ matrix).unflatten(1, lit.shape[1:] if lamp is not None else (1, 1))
        shape = posed.solids[number].shape
        return interval(shape, list(origin.unbind(-1)), list(direction.unbind(-1)))

    for number, solid in enumerate(posed.solids):
        if not solid.casts_shadow or number in posed.holes:
            continue
        enter, leave = crossing(number)
        dark = (enter <= leave) & (leave > 0.03) & (enter > -0.03) & (enter < end)
        if solid.hole is not None:
            hole = crossing(number + 1)
            dark &= ~((hole[0] <= enter) & (hole[1] >= leave))
        lit[dark] = 0.0
    return F.interpolate(lit[:, None], size=depth.shape[1:], mode="bilinear")[:, 0]
