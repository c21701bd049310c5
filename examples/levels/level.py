"""A level: its triangles, textures and light maps, and the places where players start."""

from __future__ import annotations

import re
import struct

import numpy as np
from embreex import rtcore_scene
from embreex.mesh_construction import TriangleMesh

from levels.packages import Packages, mipmaps

_VERTEX = np.dtype(
    [
        ("place", "<f4", 3),
        ("texture", "<f4", 2),
        ("light", "<f4", 2),
        ("normal", "<f4", 3),
        ("colour", "u1", 4),
    ]
)
_SKY, _NODRAW = 4, 0x80
_PATCH_STEPS = 5


class Level:
    """``corners`` [n, 3] index the vertices: ``place``, ``uv``, ``light_uv``, ``colour``.

    Of each triangle, ``material`` numbers its texture and ``light`` its light map (negative: none).
    """

    def __init__(self, packages: Packages, name: str) -> None:
        content = packages.read(name)
        if content[:4] != b"IBSP":
            raise ValueError(f"got {name}, expected a level in the Quake 3 format")
        places = [struct.unpack_from("<ii", content, 8 + 8 * i) for i in range(17)]
        lumps = [content[start : start + size] for start, size in places]
        self.entities = lumps[0].decode("latin1")
        shaders = [lumps[1][i : i + 72] for i in range(0, len(lumps[1]), 72)]
        names = [shader[:64].split(b"\0")[0].decode("latin1") for shader in shaders]
        flags = [struct.unpack_from("<i", shader, 64)[0] for shader in shaders]
        self.light_maps = np.frombuffer(lumps[14], np.uint8).reshape(-1, 128, 128, 3)
        self._faces(lumps, names, flags)
        self.sky = np.array(
            [
                bool(flag & _SKY) or "sky" in name.lower()
                for flag, name in zip(flags, names, strict=True)
            ]
        )
        self.textures = mipmaps(packages.textures(names))
        corners = self.place[self.corners]
        normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        self.normal = normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
        self.scene = rtcore_scene.EmbreeScene()
        TriangleMesh(self.scene, corners)
        origins = re.findall(r'"origin"\s+"([-\d. ]+)"', self.entities)
        self.origins = np.array(
            [[float(x) for x in text.split()] for text in origins if len(text.split()) == 3]
        )

    def _faces(self, lumps: list[bytes], names: list[str], flags: list[int]) -> None:
        vertices = np.frombuffer(lumps[10], _VERTEX)
        vertices = np.concatenate(
            [vertices["place"], vertices["texture"], vertices["light"], vertices["colour"][:, :3]],
            1,
        ).astype(np.float32)
        indices, faces = (
            np.frombuffer(lumps[11], "<i4"),
            np.frombuffer(lumps[13], "<i4").reshape(-1, 26),
        )
        used, corners, material, light, base = [], [], [], [], 0
        for face in faces:
            shader, kind, first, count, first_index, count_index, light_map = face[
                [0, 2, 3, 4, 5, 6, 7]
            ]
            name = names[shader].lower()
            if flags[shader] & _NODRAW or "fog" in name or "caulk" in name:
                continue
            own = vertices[first : first + count]
            if kind in (1, 3):
                triangles = indices[first_index : first_index + count_index].reshape(-1, 3)
            elif kind == 2:
                own, triangles = _patch(own.reshape(face[25], face[24], -1))
            else:
                continue
            if not len(triangles):
                continue
            used.append(own)
            corners.append(triangles + base)
            material.append(np.full(len(triangles), shader))
            light.append(np.full(len(triangles), light_map))
            base += len(own)
        self.corners, self.material, self.light = map(np.concatenate, (corners, material, light))
        points = np.concatenate(used)
        self.place, self.uv, self.light_uv, self.colour = (
            points[:, :3].copy(),
            points[:, 3:5],
            points[:, 5:7],
            points[:, 7:10],
        )


def _patch(grid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and triangles of a curved surface, from its control points [rows, columns, n]."""
    rows, columns = grid.shape[:2]
    steps = _PATCH_STEPS
    s = np.linspace(0, 1, steps + 1)
    weights = np.stack([(1 - s) ** 2, 2 * s * (1 - s), s**2], 1).astype(np.float32)
    cell = [
        (k, k + 1, k + steps + 1) if half == 0 else (k + 1, k + steps + 2, k + steps + 1)
        for a in range(steps)
        for b in range(steps)
        for half in (0, 1)
        for k in [a * (steps + 1) + b]
    ]
    points, triangles = [], []
    for y in range(0, rows - 2, 2):
        for x in range(0, columns - 2, 2):
            part = np.einsum("ai,bj,ijk->abk", weights, weights, grid[y : y + 3, x : x + 3])
            triangles.append(np.array(cell) + len(points) * (steps + 1) ** 2)
            points.append(part.reshape(-1, grid.shape[2]))
    if not points:
        return np.zeros((0, grid.shape[2]), np.float32), np.zeros((0, 3), int)
    return np.concatenate(points), np.concatenate(triangles)
