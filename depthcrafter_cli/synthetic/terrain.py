"""Land as a height above every point of the plane, and caves as such land under such a roof."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from depthcrafter_cli.synthetic.solids import Solid, Vector

STEPS = 64


@dataclass(frozen=True)
class Terrain:
    """Periodic ``heights`` [N, N] in metres, one each ``cell`` metres, bilinear in between.

    A valley winds along z: its floor is ``valley`` metres to either side of
    ``bend[0] * sin(z / bend[1])`` and its sides are ``rise`` steep. With a ``roof`` (its height)
    the same land hangs upside down above, and the sides close to a tunnel. Land ends at ``far``.
    """

    heights: Vector
    cell: float
    surface: Solid
    valley: float = 4.0
    rise: float = 0.0
    bend: tuple[float, float] = (0.0, 1.0)
    roof: float | None = None
    far: float = 400.0

    def floor(self, x: Tensor, z: Tensor) -> Tensor:
        """Height of the ground in metres at points of the plane."""
        return self._relief(x, z) + self._sides(x, z)

    def ceiling(self, x: Tensor, z: Tensor) -> Tensor:
        """Height of the roof in metres, infinite where there is none."""
        if self.roof is None:
            return torch.full_like(x, torch.inf)
        return self.roof - self._relief(x + 17.3 * self.cell, z * 0.9) - self._sides(x, z)

    def clearance(self, points: Tensor) -> Tensor:
        """Distance along y to ground or roof, negative inside the earth: [..., 3] -> [...]."""
        x, y, z = points.unbind(-1)
        clear = y - self.floor(x, z)
        return clear if self.roof is None else torch.minimum(clear, self.ceiling(x, z) - y)

    def _relief(self, x: Tensor, z: Tensor) -> Tensor:
        grid = torch.as_tensor(self.heights, dtype=torch.float32, device=x.device)
        side = len(grid)
        u, v = x / self.cell, z / self.cell
        i, j = u.floor(), v.floor()
        a, b = u - i, v - j
        left, right = i.long() % side, (i.long() + 1) % side
        low, high = j.long() % side * side, (j.long() + 1) % side * side
        flat = grid.flatten()
        near = torch.lerp(flat[low + left], flat[low + right], a)
        return torch.lerp(near, torch.lerp(flat[high + left], flat[high + right], a), b)

    def _sides(self, x: Tensor, z: Tensor) -> Tensor:
        if self.rise == 0:
            return torch.zeros_like(x)
        middle = self.bend[0] * torch.sin(z / self.bend[1])
        outside = ((x - middle).abs() - self.valley).clamp_min(0)
        return self.rise * outside**2 / (outside + self.valley)

    def normals(self, points: Tensor) -> Tensor:
        """Unit normals of surface points [N, 3], by finite differences over half a cell."""
        step = 0.5 * self.cell

        def clearance(axis: int, by: float) -> Tensor:
            shift = torch.zeros(3, device=points.device)
            shift[axis] = by
            return self.clearance(points + shift)

        gradient = [clearance(a, step) - clearance(a, -step) for a in range(3)]
        return F.normalize(torch.stack(gradient, dim=-1), dim=-1)

    def cast(self, eye: Tensor, rays: Tensor, limit: Tensor) -> Tensor:
        """Ray parameter of the first hit before ``limit``, else infinite.

        ``eye`` [N, 3], ``rays`` [N, 3], ``limit`` [N]. Steps grow with the clearance, so a crest
        thinner than a twelfth of its distance may be missed; what is hit is hit exactly.
        """
        found = torch.full_like(limit, torch.inf)
        alive = torch.arange(len(limit), device=limit.device)
        before = torch.full_like(limit, 0.05)
        top = float(self.heights.max()) if self.rise == 0 else float("inf")
        t = before.clone()
        for step in range(STEPS):
            points = eye[alive] + rays[alive] * t[:, None]
            clear = self.clearance(points)
            hit = clear < 0
            found[alive[hit]] = self._refine(eye[alive[hit]], rays[alive[hit]], before[hit], t[hit])
            keep = ~hit & (t < limit[alive].clamp_max(self.far))
            keep &= ~((points[:, 1] > top) & (rays[alive, 1] > 0))
            alive, before, clear = alive[keep], t[keep], clear[keep]
            if len(alive) == 0:
                break
            t = before + torch.maximum(0.45 * clear, before * (0.05 + 0.001 * step)) + 0.01
        return found.masked_fill(found > limit, torch.inf)

    def _refine(self, eye: Tensor, rays: Tensor, low: Tensor, high: Tensor) -> Tensor:
        for _ in range(12):
            middle = 0.5 * (low + high)
            inside = self.clearance(eye + rays * middle[:, None]) < 0
            low, high = torch.where(inside, low, middle), torch.where(inside, middle, high)
        return high


def relief(rng: np.random.Generator, side: int, roughness: float) -> Vector:
    """Periodic smooth heights [side, side] from 0 to 1."""
    frequency = np.fft.fftfreq(side) * side
    radius = np.hypot(frequency[:, None], frequency[None, :])
    spectrum = np.fft.fft2(rng.normal(size=(side, side))) / np.maximum(radius, 1.0) ** roughness
    spectrum[0, 0] = 0
    field = np.fft.ifft2(spectrum).real
    return np.asarray((field - field.min()) / (field.max() - field.min()))
