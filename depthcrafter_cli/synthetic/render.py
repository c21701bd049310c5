"""A scene seen through a camera: colour and true depth, all frames of a clip at once, in torch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from depthcrafter_cli.synthetic import shade
from depthcrafter_cli.synthetic.camera import Camera
from depthcrafter_cli.synthetic.cast import cast, cast_terrain, pose, shadows
from depthcrafter_cli.synthetic.solids import FAR, Vector
from depthcrafter_cli.synthetic.staging import Scene


@dataclass(frozen=True)
class Image:
    """A rendered clip: linear ``colour`` [T, H, W, 3], ``depth`` [T, H, W] in metres along the
    optical axis (infinite for sky), ``ident`` [T, H, W] number of the part seen (-1 sky)."""

    colour: Tensor
    depth: Tensor
    ident: Tensor

    def frame(self, number: int) -> Image:
        """One frame alone."""
        part = slice(number, number + 1)
        return Image(self.colour[part], self.depth[part], self.ident[part])


def _screen(camera: Camera, height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Ray slopes at pixel centres, x [T, 1, W] and y [T, H, 1]; the ray is (x, y, 1)."""
    half = max(height, width) / 2
    focal = torch.from_numpy(camera.focal).float().to(device)[:, None, None]
    x = (torch.arange(width, device=device) + 0.5 - width / 2) / half
    y = (torch.arange(height, device=device) + 0.5 - height / 2) / half
    return x[None, None, :] / focal, y[None, :, None] / focal


def render(
    scene: Scene, camera: Camera, times: Vector, height: int, width: int, atlas: Tensor,
    *, shadowed: bool = True,
) -> Image:  # fmt: skip
    """Draw every frame of a clip; runs on the atlas's device."""
    device = atlas.device
    posed = pose(scene, times, device)
    eye = torch.from_numpy(camera.eye).float().to(device)
    rotation = torch.from_numpy(camera.rotation).float().to(device)
    x, y = _screen(camera, height, width, device)
    depth, ident = cast(posed, eye, rotation, x, y, atlas[0, 4])

    view = torch.stack(torch.broadcast_tensors(x, y, torch.ones_like(x)), dim=-1)  # [T, H, W, 3]
    rays = (view.flatten(1, 2) @ rotation.transpose(1, 2)).view_as(view)
    if scene.terrain is not None:
        cast_terrain(scene.terrain, eye, rays, depth, ident, len(posed.solids) - 1)
    seen = depth < FAR
    frame = seen.nonzero()[:, 0]
    far = depth[seen]
    point = eye[frame] + rays[seen] * far[:, None]
    pixel = 2.0 / (max(height, width) * float(camera.focal[0]))
    surface = shade.surface(posed, point, rays[seen], far, frame, ident[seen].long(), atlas, pixel)
    bright = shadows(scene, posed, eye, rays, depth) if shadowed else torch.ones_like(depth)
    shaded = shade.lit(scene, surface, bright[seen], atlas) * shade.crevices(depth)[seen][:, None]
    shaded = shade.reflect(scene, surface, shaded)
    if scene.sky.haze > 0:
        through = torch.exp(-far * scene.sky.haze)[:, None]
        shaded = shaded * through + torch.tensor(scene.sky.fog, device=device) * (1 - through)
    colour = shade.sky(scene, rays, atlas)
    colour[seen] = shaded
    return Image(colour, depth.masked_fill(~seen, torch.inf), ident)
