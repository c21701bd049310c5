"""Models in the MD3 format: things, and people made of legs, trunk and head."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from levels.packages import Packages

Rng = np.random.Generator
_UNIT = 1 / 64


@dataclass(frozen=True)
class Mesh:
    """Triangles [n, 3, 3] with texture places [n, 3, 2] and the number of each one's material."""

    place: np.ndarray
    uv: np.ndarray
    material: np.ndarray

    def moved(
        self, rotation: np.ndarray, shift: np.ndarray, scale: float | np.ndarray = 1.0
    ) -> Mesh:
        return Mesh((self.place * scale) @ rotation.T + shift, self.uv, self.material)

    @staticmethod
    def joined(parts: list[Mesh]) -> Mesh:
        return Mesh(
            *(
                np.concatenate([getattr(p, key) for p in parts])
                for key in ("place", "uv", "material")
            )
        )


@dataclass(frozen=True)
class Model:
    """Per surface its name, shader, triangles, uv and places [frames, vertices, 3]; and tags."""

    surfaces: list[tuple[str, str, np.ndarray, np.ndarray, np.ndarray]]
    tags: list[dict[str, tuple[np.ndarray, np.ndarray]]]

    @property
    def frames(self) -> int:
        return min(len(surface[4]) for surface in self.surfaces)


def _text(raw: bytes) -> str:
    return raw.split(b"\0")[0].decode("latin1").lower()


def read_model(content: bytes) -> Model:
    frames, tags, count, _, _, tags_at, at = struct.unpack_from("<7i", content, 76)
    if content[:4] != b"IDP3" or not count:
        raise ValueError("not a model with surfaces")
    surfaces = []
    for _ in range(count):
        name = _text(content[at + 4 : at + 68])
        own, _, points, triangles, t_at, s_at, st_at, xyz_at, end = struct.unpack_from(
            "<9i", content, at + 72
        )
        shader = _text(content[at + s_at : at + s_at + 64])
        corners = np.frombuffer(content, "<i4", triangles * 3, at + t_at).reshape(-1, 3)
        uv = np.frombuffer(content, "<f4", points * 2, at + st_at).reshape(-1, 2)
        xyz = np.frombuffer(content, "<i2", own * points * 4, at + xyz_at).reshape(own, points, 4)
        surfaces.append((name, shader, corners, uv, xyz[..., :3].astype(np.float32) * _UNIT))
        at += end
    held = []
    for frame in range(frames):
        here = {}
        for tag in range(tags):
            start = tags_at + 112 * (frame * tags + tag)
            values = np.frombuffer(content, "<f4", 12, start + 64)
            here[_text(content[start : start + 64])] = (values[:3], values[3:].reshape(3, 3))
        held.append(here)
    return Model(surfaces, held)


class Shelf:
    """All models of the packages that can be read, as meshes whose materials it numbers."""

    def __init__(self, packages: Packages) -> None:
        self._packages = packages
        self.materials: list[str] = []
        self.things = [
            model
            for name in packages.names(r"models/(?!players|weaphits|gibs).*\.md3$")
            if not re.search(r"(_[12]|flash|ring|hand)(_1)?\.md3$", name)
            and (model := self._read(name)) is not None
        ]
        self.people = [
            person
            for name in packages.names(r"models/players/[^/]+/lower\.md3$")
            if (person := self._person(name)) is not None
        ]

    def _read(self, name: str) -> Model | None:
        try:
            return read_model(self._packages.read(name))
        except (ValueError, KeyError, struct.error):
            return None

    def _person(self, lower: str) -> tuple[list[Model], list[dict[str, str]]] | None:
        home = str(PurePosixPath(lower).parent)
        parts = [self._read(f"{home}/{part}.md3") for part in ("lower", "upper", "head")]
        if any(part is None for part in parts) or "tag_torso" not in parts[0].tags[0]:
            return None
        skins = self._packages.names(re.escape(home) + r"/lower_[a-z]+\.skin$")
        wear = []
        for skin in skins:
            kind, names = skin[len(home) + 7 :], {}
            for part in ("lower", "upper", "head"):
                path = f"{home}/{part}_{kind}"
                if path in self._packages:
                    for line in self._packages.read(path).decode("latin1").lower().splitlines():
                        if "," in line:
                            surface, texture = line.split(",", 1)
                            names[surface.strip()] = texture.strip()
            wear.append(names)
        return (parts, wear) if wear else None

    def _number(self, shader: str) -> int:
        if shader not in self.materials:
            self.materials.append(shader)
        return self.materials.index(shader)

    def _mesh(self, model: Model, frame: int, wear: dict[str, str]) -> Mesh:
        parts = []
        for name, shader, corners, uv, places in model.surfaces:
            texture = wear.get(name, shader)
            number = np.full(len(corners), self._number(texture))
            parts.append(Mesh(places[frame % len(places)][corners], uv[corners], number))
        return Mesh.joined(parts)

    def thing(self, rng: Rng) -> Mesh:
        """A thing, upright."""
        model = self.things[int(rng.integers(len(self.things)))]
        return self._mesh(model, int(rng.integers(model.frames)), {})

    def person(self, rng: Rng) -> Mesh:
        """Someone in a random pose, feet near 0, facing +x."""
        (lower, upper, head), skins = self.people[int(rng.integers(len(self.people)))]
        wear = skins[int(rng.integers(len(skins)))]
        legs, trunk = int(rng.integers(lower.frames)), int(rng.integers(upper.frames))
        if rng.random() < 0.7:  # not one of the falls, which come first in both
            legs, trunk = min(legs + 90, lower.frames - 1), min(trunk + 90, upper.frames - 1)
        parts = [self._mesh(lower, legs, wear)]
        origin, axes = lower.tags[legs % len(lower.tags)]["tag_torso"]
        parts.append(self._mesh(upper, trunk, wear).moved(axes.T, origin))
        held = upper.tags[trunk % len(upper.tags)].get("tag_head")
        if held is not None:
            parts.append(
                self._mesh(head, 0, wear).moved(axes.T @ held[1].T, origin + axes.T @ held[0])
            )
        return Mesh.joined(parts)
