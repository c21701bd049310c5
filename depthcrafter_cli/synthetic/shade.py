"""Light on surfaces: textures, lamps, reflections, fog and sky."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from depthcrafter_cli.synthetic.cast import NEAR, Posed
from depthcrafter_cli.synthetic.solids import Shape, Solid, normals
from depthcrafter_cli.synthetic.staging import Scene
from depthcrafter_cli.synthetic.textures import LEVELS, SIDE


@dataclass(frozen=True)
class Surface:
    """What is seen at N pixels."""

    point: Tensor  # [N, 3] world
    normal: Tensor  # [N, 3] world, unit
    view: Tensor  # [N, 3] towards the camera, unit
    albedo: Tensor  # [N, 3]
    gloss: Tensor  # [N]
    mirror: Tensor  # [N]
    glow: Tensor  # [N]


def _vector(value: object, device: torch.device) -> Tensor:
    return torch.tensor(np.asarray(value), dtype=torch.float32, device=device)


def _column(solids: list[Solid], name: str, device: torch.device) -> Tensor:
    return torch.tensor([getattr(solid.material, name) for solid in solids], device=device)


def _texel(atlas: Tensor, level: Tensor, texture: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Bilinear look-up [N] at texel coordinates, periodic."""
    i, j = u.floor(), v.floor()
    a, b = u - i, v - j
    base = (level * atlas.shape[1] + texture) * (SIDE * SIDE)
    left, right = i.long() % SIDE, (i.long() + 1) % SIDE
    low, high = base + j.long() % SIDE * SIDE, base + (j.long() + 1) % SIDE * SIDE
    flat = atlas.view(-1)
    near = torch.lerp(flat[low + left], flat[low + right], a)
    return torch.lerp(near, torch.lerp(flat[high + left], flat[high + right], a), b)


def _level(footprint: Tensor) -> Tensor:
    return (torch.log2(footprint.clamp_min(1)) / 2 + 0.3).long().clamp(0, LEVELS - 1)


def _local_normals(
    posed: Posed, point: Tensor, metric: Tensor, size: Tensor, ident: Tensor
) -> Tensor:
    """Outward normals [N, 3] in the frames of the parts, unit."""
    shapes = torch.tensor([int(solid.shape) for solid in posed.solids], device=point.device)
    local = F.normalize(normals(shapes[ident], metric / size) / size, dim=1)
    if posed.terrain is not None:
        land = ident == len(posed.solids) - 1
        local[land] = posed.terrain.normals(point[land])
    return local


def surface(
    posed: Posed, point: Tensor, ray: Tensor, depth: Tensor, frame: Tensor, ident: Tensor,
    atlas: Tensor, pixel: float,
) -> Surface:  # fmt: skip
    """Look up what is at N seen points; ``pixel`` is the size of one at unit depth."""
    device = point.device
    center, size = posed.center[frame, ident], posed.size[frame, ident]
    rotation = posed.rotation[frame, ident]
    metric = (rotation * (point - center)[:, :, None]).sum(1)  # transposed rotation
    local = _local_normals(posed, point, metric, size, ident)
    facing = local.abs().argmax(1)
    slant = ((rotation * local[:, None, :]).sum(2) * ray).sum(1).abs().clamp_min(0.05)
    spread = depth * pixel * SIDE / (slant / ray.norm(dim=1)).sqrt()

    def column(name: str) -> Tensor:
        return _column(posed.solids, name, device)[ident]

    metric = metric + 50 * torch.frac(ident[:, None] * 0.618)  # no two things in step
    across = torch.where(facing == 0, metric[:, 2], metric[:, 0])
    along = torch.where(facing == 1, metric[:, 2], metric[:, 1])
    scale, texture = column("scale"), column("texture")
    u, v, level = across * scale * SIDE, along * scale * SIDE, _level(spread * scale)
    grey = _texel(atlas, level, texture, u, v)
    albedo = torch.lerp(column("dark"), column("light"), grey[:, None])
    scale = column("stain_scale")
    cover = _texel(
        atlas, _level(spread * scale), column("stain_texture"), across * scale * SIDE,
        along * scale * SIDE,
    )  # fmt: skip
    albedo = torch.lerp(albedo, column("stain"), (cover * column("stained"))[:, None])

    bump = column("bump") * 0.6 / (1 + level.float()) ** 2
    tilt_u = bump * (_texel(atlas, level, texture, u + 1.5, v) - grey)
    tilt_v = bump * (_texel(atlas, level, texture, u, v + 1.5) - grey)
    rows = torch.arange(len(local), device=device)
    local[rows, torch.where(facing == 0, 2, 0)] -= tilt_u
    local[rows, torch.where(facing == 1, 2, 1)] -= tilt_v
    normal = F.normalize((rotation * local[:, None, :]).sum(2), dim=1)
    inside = torch.tensor([solid.shape == Shape.ROOM for solid in posed.solids], device=device)
    for hole in posed.holes:
        inside[hole] = True
    normal = torch.where(inside[ident][:, None], -normal, normal)
    view = -F.normalize(ray, dim=1)
    return Surface(point, normal, view, albedo, column("gloss"), column("mirror"), column("glow"))


def _reach(place: object, surface: Surface) -> tuple[Tensor, Tensor]:
    """Unit vectors towards a lamp and its strength without shadows."""
    towards = _vector(place, surface.point.device) - surface.point
    distance = towards.norm(dim=1).clamp_min(1e-3)
    return towards / distance[:, None], 2.0 / (1.0 + 0.25 * distance**2)


def lit(scene: Scene, surface: Surface, seen: Tensor, atlas: Tensor) -> Tensor:
    """Linear colour [N, 3] of surfaces; ``seen`` [N] is 0 in the main light's shadow."""
    light = scene.light
    device = surface.point.device
    if light.lamp is None:
        towards, strength = _vector(light.direction, device)[None], seen
    else:
        towards, strength = _reach(light.lamp, surface)
        strength = strength * seen
    if light.dapple > 0:
        ground = (surface.point[:, [0, 2]] + surface.point[:, 1:2] * 0.5) * light.dapple * SIDE
        u, v = ground.unbind(1)
        flat = torch.zeros_like(u, dtype=torch.long)
        leaves = _texel(atlas, flat, flat + light.texture, u, v)
        strength = strength * (leaves * 3 - 1).clamp(0, 1)
    sky = 0.5 + 0.5 * surface.normal[:, 1:2]
    colour = _vector(light.below, device) * (1 - sky) + _vector(light.above, device) * sky
    shine = torch.zeros_like(colour)
    sources = [(towards, strength, light.colour)]
    sources += [(*_reach(place, surface), tint) for place, tint in light.lamps]
    for towards, strength, tint in sources:
        facing = ((surface.normal * towards).sum(1).clamp_min(0) * strength)[:, None]
        colour = colour + facing * _vector(tint, device)
        half = F.normalize(towards + surface.view, dim=1)
        glint = (surface.normal * half).sum(1).clamp_min(0) ** 30 * strength * surface.gloss
        shine = shine + glint[:, None] * _vector(tint, device)
    return surface.albedo * (colour + surface.glow[:, None]) + shine


def reflect(scene: Scene, surface: Surface, colour: Tensor) -> Tensor:
    """Add the sky's mirror image where surfaces have one, more at grazing angles."""
    shiny = surface.mirror > 0
    if not bool(shiny.any()):
        return colour
    normal, view = surface.normal[shiny], surface.view[shiny]
    cosine = (normal * view).sum(1, keepdim=True)
    up = (2 * cosine * normal - view)[:, 1:2].clamp(0, 1).sqrt()
    device = colour.device
    sky = torch.lerp(_vector(scene.sky.horizon, device), _vector(scene.sky.zenith, device), up)
    part = surface.mirror[shiny][:, None] * (0.25 + 0.75 * (1 - cosine.abs()) ** 3)
    colour[shiny] = torch.lerp(colour[shiny], sky, part)
    return colour


def crevices(depth: Tensor) -> Tensor:
    """A cheap ambient occlusion: darker where the surroundings are a little nearer."""
    log = depth.clamp(NEAR, 1e3).log()[:, None]
    around = F.avg_pool2d(F.pad(log, (6, 6, 0, 0), mode="replicate"), (1, 13), stride=1)
    around = F.avg_pool2d(F.pad(around, (0, 0, 6, 6), mode="replicate"), (13, 1), stride=1)
    return (1 - (log - around).clamp(0, 0.25) * 2.0)[:, 0]


def sky(scene: Scene, rays: Tensor, atlas: Tensor) -> Tensor:
    """Linear colour of the sky in the direction of every ray, [..., 3]."""
    device = rays.device
    direction = F.normalize(rays, dim=-1)
    up = direction[..., 1:2].clamp(0, 1)
    horizon, zenith = _vector(scene.sky.horizon, device), _vector(scene.sky.zenith, device)
    colour = torch.lerp(horizon, zenith, up.sqrt())
    plane = direction[..., [0, 2]] / (up + 0.12) * 40
    flat = torch.zeros_like(plane[..., 0], dtype=torch.long)
    cloud = _texel(atlas, flat, flat + scene.sky.texture, plane[..., 0], plane[..., 1])
    cover = ((cloud - 1 + scene.sky.clouds) * 2).clamp(0, 1) * (up[..., 0] * 4).clamp(0, 1)
    white = _vector(np.clip(np.array(scene.light.colour) + scene.light.above, 0, 0.95), device)
    colour = colour + (white - colour) * cover[..., None]
    if scene.sky.stars:
        cell = (direction * 220).floor() @ _vector([12.9898, 78.233, 37.719], device)
        spark = torch.frac(cell.sin().abs() * 43758.5453)[..., None]
        colour = colour + ((spark - 0.996) * 250).clamp(0, 1)
    sun = _vector(scene.light.direction, device)
    halo = (direction * sun).sum(-1).clamp_min(0)[..., None] ** 60
    return colour + halo * _vector(scene.light.colour, device) * 0.6
