"""Ray casting of a scene into colour and true depth, all frames of a clip at once, in torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from depthcrafter_cli.training.generator.camera import Camera
from depthcrafter_cli.training.generator.solids import FAR, Shape, Solid, Vector, interval, normals
from depthcrafter_cli.training.generator.staging import Scene
from depthcrafter_cli.training.generator.textures import LEVELS, SIDE

NEAR = 0.1  # metres


@dataclass(frozen=True)
class Image:
    """A rendered clip: linear ``colour`` [T, H, W, 3], ``depth`` [T, H, W] in metres along the
    optical axis (infinite for sky), ``ident`` [T, H, W] number of the solid seen (-1 sky)."""

    colour: Tensor
    depth: Tensor
    ident: Tensor


@dataclass(frozen=True)
class _Posed:
    solids: list[Solid]
    center: Tensor  # [T, P, 3]
    rotation: Tensor  # [T, P, 3, 3]
    size: Tensor  # [T, P, 3]


def _pose(scene: Scene, times: Vector, device: torch.device) -> _Posed:
    parts = [body.poses(times) for body in scene.bodies]
    stacked = [
        torch.from_numpy(np.concatenate([part[i] for part in parts], axis=1)).float().to(device)
        for i in range(3)
    ]
    solids = [solid for body in scene.bodies for solid in body.solids]
    return _Posed(solids, *stacked)


def _screen(camera: Camera, height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Ray slopes at pixel centres, x [T, 1, W] and y [T, H, 1]; the ray is (x, y, 1)."""
    half = max(height, width) / 2
    focal = torch.from_numpy(camera.focal).float().to(device)[:, None, None]
    x = (torch.arange(width, device=device) + 0.5 - width / 2) / half
    y = (torch.arange(height, device=device) + 0.5 - height / 2) / half
    return x[None, None, :] / focal, y[None, :, None] / focal


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


_CORNERS = torch.tensor([[a, b, c] for a in (-1.0, 1) for b in (-1.0, 1) for c in (-1.0, 1)])


def _cast(
    posed: _Posed, eye: Tensor, rotation: Tensor, x: Tensor, y: Tensor, grain: Tensor
) -> tuple[Tensor, Tensor]:
    """Depth [T, H, W] (FAR where nothing is hit) and number of the solid (-1)."""
    frames, height, width = len(eye), y.shape[1], x.shape[2]
    depth = torch.full((frames, height, width), FAR, device=x.device)
    ident = torch.full((frames, height, width), -1, device=x.device, dtype=torch.int16)
    to_local = posed.rotation.transpose(-1, -2) / posed.size[..., None]  # [T, P, 3, 3]
    origins = torch.einsum("tpij,tpj->tpi", to_local, eye[:, None] - posed.center)
    matrices = to_local @ rotation[:, None]
    for number, solid in enumerate(posed.solids):
        reach = posed.rotation[:, number] * posed.size[:, number, None, :]
        corners = _CORNERS.to(x.device) @ reach.transpose(-1, -2) + posed.center[:, number, None]
        window = _window((corners - eye[:, None]) @ rotation, x, y)
        if window is None:
            continue
        top, bottom, left, right = window
        xs, ys = x[:, :, left:right], y[:, top:bottom]
        matrix = matrices[:, number, :, :, None, None]
        direction = [
            matrix[:, i, 0] * xs + (matrix[:, i, 1] * ys + matrix[:, i, 2]) for i in range(3)
        ]
        origin = [origins[:, number, i, None, None] for i in range(3)]
        enter, leave = interval(solid.shape, origin, direction)
        t = leave if solid.shape == Shape.ROOM else enter
        best = depth[:, top:bottom, left:right]
        closer = (enter <= leave) & (t > NEAR) & (t < best)
        if solid.material.fuzz > 0:
            closer &= _leafy(solid, posed.size[0, number], origin, direction, t, grain)
        best[closer] = t[closer]
        ident[:, top:bottom, left:right].masked_fill_(closer, number)
    return depth, ident


def _leafy(
    solid: Solid,
    size: Tensor,
    origin: list[Tensor],
    direction: list[Tensor],
    t: Tensor,
    grain: Tensor,
) -> Tensor:
    """Where foliage is opaque: a pattern fixed to the solid's surface, ragged at the outline."""
    t = t.clamp(-1e3, 1e3)
    point = [o + d * t for o, d in zip(origin, direction, strict=True)]
    texel = 60.0 * solid.material.scale
    u = (point[0] * float(size[0]) + point[2] * float(size[2])) * texel
    v = point[1] * float(size[1]) * texel + point[2] * 3
    pattern = grain[v.long() % SIDE, u.long() % SIDE]
    return pattern > solid.material.fuzz


@dataclass(frozen=True)
class _Surface:
    """What is seen at N pixels."""

    point: Tensor  # [N, 3] world
    normal: Tensor  # [N, 3] world, unit
    view: Tensor  # [N, 3] towards the camera, unit
    albedo: Tensor  # [N, 3]
    gloss: Tensor  # [N]


def _column(solids: list[Solid], name: str, device: torch.device) -> Tensor:
    return torch.tensor([getattr(solid.material, name) for solid in solids], device=device)


def _surface(
    posed: _Posed, point: Tensor, ray: Tensor, depth: Tensor, frame: Tensor, ident: Tensor,
    atlas: Tensor, pixel: float,
) -> _Surface:  # fmt: skip
    device = point.device
    center, size = posed.center[frame, ident], posed.size[frame, ident]
    rotation = posed.rotation[frame, ident]
    metric = (rotation * (point - center)[:, :, None]).sum(1)  # transposed rotation
    shapes = torch.tensor([int(solid.shape) for solid in posed.solids], device=device)
    local = normals(shapes[ident], metric / size) / size
    normal = F.normalize((rotation * local[:, None, :]).sum(2), dim=1)

    scale = _column(posed.solids, "scale", device)[ident]
    metric = metric + 50 * torch.frac(ident[:, None] * 0.618)  # no two things in step
    facing = local.abs().argmax(1)
    u = torch.where(facing == 0, metric[:, 2], metric[:, 0]) * scale * SIDE
    v = torch.where(facing == 1, metric[:, 2], metric[:, 1]) * scale * SIDE
    slant = (normal * ray).sum(1).abs().clamp_min(0.05) / ray.norm(dim=1)
    footprint = depth * pixel * scale * SIDE / slant.sqrt()
    level = (torch.log2(footprint.clamp_min(1)) / 2 + 0.3).long().clamp(0, LEVELS - 1)
    texture = _column(posed.solids, "texture", device)[ident]
    grey = atlas[level, texture, v.floor().long() % SIDE, u.floor().long() % SIDE][:, None]
    dark, light = (_column(posed.solids, name, device)[ident] for name in ("dark", "light"))
    gloss = _column(posed.solids, "gloss", device)[ident]
    return _Surface(point, normal, -F.normalize(ray, dim=1), dark + (light - dark) * grey, gloss)


def _shade(scene: Scene, surface: _Surface, lit: Tensor) -> Tensor:
    """Linear colour [N, 3] of surfaces; ``lit`` [N] is 0 in shadow."""
    light = scene.light
    device = surface.point.device

    def vector(value: object) -> Tensor:
        return torch.tensor(np.asarray(value), dtype=torch.float32, device=device)

    if light.lamp is None:
        towards, strength = vector(light.direction)[None], lit
    else:
        towards = vector(light.lamp) - surface.point
        distance = towards.norm(dim=1)
        towards = towards / distance[:, None]
        strength = lit * 2.0 / (1.0 + 0.25 * distance**2)
    diffuse = ((surface.normal * towards).sum(1).clamp_min(0) * strength)[:, None]
    sky = 0.5 + 0.5 * surface.normal[:, 1:2]
    ambient = vector(light.below) * (1 - sky) + vector(light.above) * sky
    colour = surface.albedo * (diffuse * vector(light.colour) + ambient)
    half = F.normalize(towards + surface.view, dim=1)
    shine = ((surface.normal * half).sum(1).clamp_min(0) ** 30 * strength * surface.gloss)[:, None]
    return colour + shine * vector(light.colour)


def _shadows(scene: Scene, posed: _Posed, eye: Tensor, rays: Tensor, depth: Tensor) -> Tensor:
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
    for number, solid in enumerate(posed.solids):
        if not solid.casts_shadow:
            continue
        matrix = to_local[:, number, None]  # [T, 1, 3, 3]
        offset = (point - posed.center[:, number, None, None]).flatten(1, 2)
        origin = (offset @ matrix[:, 0].transpose(-1, -2)).unflatten(1, lit.shape[1:])
        aim = towards.expand_as(point).flatten(1, 2) if lamp is not None else towards[None, None]
        direction = aim @ matrix[:, 0].transpose(-1, -2)
        direction = direction.unflatten(1, lit.shape[1:] if lamp is not None else (1, 1))
        enter, leave = interval(solid.shape, list(origin.unbind(-1)), list(direction.unbind(-1)))
        lit[(enter <= leave) & (leave > 0.03) & (enter > -0.03) & (enter < end)] = 0.0
    return F.interpolate(lit[:, None], size=depth.shape[1:], mode="bilinear")[:, 0]


def _crevices(depth: Tensor) -> Tensor:
    """A cheap ambient occlusion: darker where the surroundings are a little nearer."""
    log = depth.clamp(NEAR, 1e3).log()[:, None]
    around = F.avg_pool2d(F.pad(log, (6, 6, 6, 6), mode="replicate"), 13, stride=1)
    return (1 - (log - around).clamp(0, 0.25) * 2.0)[:, 0]


def _sky(scene: Scene, rays: Tensor, atlas: Tensor) -> Tensor:
    device = rays.device
    direction = F.normalize(rays, dim=-1)
    up = direction[..., 1:2].clamp(0, 1)
    horizon, zenith = (
        torch.tensor(c, device=device) for c in (scene.sky.horizon, scene.sky.zenith)
    )
    colour = horizon + (zenith - horizon) * up.sqrt()
    plane = direction[..., [0, 2]] / (up + 0.12) * 40
    cloud = atlas[0, scene.sky.texture][plane[..., 1].long() % SIDE, plane[..., 0].long() % SIDE]
    cover = ((cloud - 1 + scene.sky.clouds) * 2).clamp(0, 1) * (up[..., 0] * 4).clamp(0, 1)
    colour = colour + (torch.ones(3, device=device) * 0.95 - colour) * cover[..., None]
    sun = torch.tensor(scene.light.direction, dtype=torch.float32, device=device)
    halo = (direction * sun).sum(-1).clamp_min(0)[..., None] ** 60
    return colour + halo * torch.tensor(scene.light.colour, device=device) * 0.6


def render(
    scene: Scene, camera: Camera, times: Vector, height: int, width: int, atlas: Tensor,
    *, shadows: bool = True,
) -> Image:  # fmt: skip
    """Draw every frame of a clip; runs on the atlas's device."""
    device = atlas.device
    posed = _pose(scene, times, device)
    eye = torch.from_numpy(camera.eye).float().to(device)
    rotation = torch.from_numpy(camera.rotation).float().to(device)
    x, y = _screen(camera, height, width, device)
    depth, ident = _cast(posed, eye, rotation, x, y, atlas[0, 4])

    view = torch.stack(torch.broadcast_tensors(x, y, torch.ones_like(x)), dim=-1)  # [T, H, W, 3]
    rays = (view.flatten(1, 2) @ rotation.transpose(1, 2)).view_as(view)
    seen = depth < FAR
    frame = seen.nonzero()[:, 0]
    point = eye[frame] + rays[seen] * depth[seen][:, None]
    pixel = 2.0 / (max(height, width) * float(camera.focal[0]))
    surface = _surface(
        posed, point, rays[seen], depth[seen], frame, ident[seen].long(), atlas, pixel
    )
    lit = _shadows(scene, posed, eye, rays, depth) if shadows else torch.ones_like(depth)
    colour = _sky(scene, rays, atlas)
    shaded = _shade(scene, surface, lit[seen]) * _crevices(depth)[seen][:, None]
    if scene.sky.haze > 0:
        through = torch.exp(-depth[seen] * scene.sky.haze)[:, None]
        shaded = shaded * through + torch.tensor(scene.sky.horizon, device=device) * (1 - through)
    colour[seen] = shaded
    return Image(colour, depth.masked_fill(~seen, torch.inf), ident)
