"""Things put before the camera: solids, furniture, models and people, standing or in mid-air."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from embreex import rtcore_scene
from embreex.mesh_construction import TriangleMesh

from levels import props
from levels.level import Level
from levels.models import Mesh, Shelf
from levels.packages import Packages, mipmaps, sample

if TYPE_CHECKING:
    from levels.view import Seen

Rng = np.random.Generator
_KINDS, _MODELLED = ("person", "thing", "furniture", "solid"), ("person", "thing")


class Studio:
    """What all levels share: packages, models, and the textures that solids get."""

    def __init__(self, packages: Packages) -> None:
        self.packages, self.shelf = packages, Shelf(packages)
        self._textures = packages.names(r"textures/.*\.(jpg|tga|png)$")

    def texture(self, rng: Rng) -> np.ndarray:
        """A random one, uint8 [SIDE, SIDE, 3]."""
        found = None
        while found is None:
            found = self.packages.texture(str(rng.choice(self._textures)))
        return found

    def kind(self, rng: Rng, shares: tuple[float, ...]) -> str:
        """One of ``_KINDS``; a solid where the packages have no such models."""
        kind = _KINDS[int(rng.choice(len(_KINDS), p=shares))]
        lacking = {"person": not self.shelf.people, "thing": not self.shelf.things}
        return "solid" if lacking.get(kind) else kind

    def make(self, kind: str, rng: Rng) -> Mesh:
        """A mesh of a kind, upright."""
        makers = {
            "person": self.shelf.person, "thing": self.shelf.thing,
            "furniture": props.furniture, "solid": props.solid,
        }  # fmt: skip
        return makers[kind](rng)


class Thing(NamedTuple):
    """A mesh in the world, and whether it has textures of its own."""

    mesh: Mesh
    painted: bool


def put_things(studio: Studio, level: Level, rng: Rng, seen: Seen) -> None:
    """Draw up to eleven of them over what is seen, with their shadows on it."""
    things = _things(studio, level, rng, seen)
    if not things:
        return
    rays, triangles = seen.rays, np.concatenate([t.mesh.place for t in things]).astype(np.float32)
    scene = rtcore_scene.EmbreeScene()
    TriangleMesh(scene, triangles)
    hit = scene.run(rays.starts, rays.ways, output=1)
    number = hit["primID"].astype(np.int64)
    front = np.flatnonzero((number >= 0) & (hit["tfar"] < seen.depth))
    sun = rng.normal(size=3)
    sun[2] = abs(sun[2]) + 0.4
    sun = (sun / np.linalg.norm(sun)).astype(np.float32)
    bright = float(np.clip(seen.colour[~seen.sky].mean() * 2, 0.35, 1.3))
    if rng.random() < 0.7:
        _cast_shadows(scene, rng, seen, sun)
    if not len(front):
        return
    which, u, v = number[front], hit["u"][front][:, None], hit["v"][front][:, None]
    normal = _normals(triangles, which, u, v)
    normal *= -np.sign((normal * rays.ways[front]).sum(1, keepdims=True))
    shade = 0.4 + 0.6 * np.clip(normal @ sun, 0, 1) * rng.uniform(0.6, 1.2)
    seen.colour[front] = _paint(studio, rng, things, which, u, v) * shade[:, None] * bright
    seen.depth[front] = hit["tfar"][front]
    seen.sky[front] = False


def _things(studio: Studio, level: Level, rng: Rng, seen: Seen) -> list[Thing]:
    flat = np.abs(level.normal[seen.triangle][:, 2]) > 0.7
    ground = np.flatnonzero(~seen.sky & flat & (seen.rays.ways[:, 2] < 0) & (seen.depth > 20))
    things = []
    for _ in range(int(rng.choice([0, 1, 2, 3, 4, 6, 8, 11]))):
        if len(ground) > 200 and rng.random() < 0.75:
            ray = int(ground[rng.integers(len(ground))])
            things.append(
                _standing(studio, rng, seen.rays.eye + seen.rays.ways[ray] * seen.depth[ray])
            )
        else:
            things.append(_floating(studio, rng, seen))
    return things


def _standing(studio: Studio, rng: Rng, foot: np.ndarray) -> Thing:
    """Something upright on the ground at ``foot``."""
    kind = studio.kind(rng, (0.4, 0.15, 0.25, 0.2))
    spread = {"person": 0.15, "thing": 0.4, "furniture": 0.25, "solid": 0.6}[kind]
    mesh = studio.make(kind, rng)
    scale = np.exp(rng.normal() * spread) * (14 if kind == "solid" else 1)
    angle = rng.uniform(0, 2 * np.pi)
    c, s = np.cos(angle), np.sin(angle)
    place = (mesh.place * scale) @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])
    place += foot - np.array([0, 0, place[..., 2].min()])
    return Thing(Mesh(place, mesh.uv, mesh.material), kind in _MODELLED)


def _floating(studio: Studio, rng: Rng, seen: Seen) -> Thing:
    """Something anyhow turned, anywhere in view, from close to the lens to the middle depth."""
    rays, kind = seen.rays, studio.kind(rng, (0.15, 0.2, 0.15, 0.5))
    away = float(np.exp(rng.uniform(np.log(max(seen.near * 0.5, 8)), np.log(seen.middle * 1.1))))
    across = rng.uniform(-1, 1) * rays.half
    above = rng.uniform(-1, 0.8) * rays.half * rays.height / rays.width
    centre = rays.eye + away * (rays.axes[0] + across * rays.axes[1] + above * rays.axes[2])
    mesh = studio.make(kind, rng)
    low, high = mesh.place.min((0, 1)), mesh.place.max((0, 1))
    size = (
        away
        * rays.half
        * np.exp(rng.normal() * 0.5 - 1.4)
        * 2
        / max(float((high - low).max()), 1e-6)
    )
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    place = (mesh.place - (low + high) / 2) * size @ turn.T + centre
    return Thing(Mesh(place, mesh.uv, mesh.material), kind in _MODELLED)


def _cast_shadows(scene: rtcore_scene.EmbreeScene, rng: Rng, seen: Seen, sun: np.ndarray) -> None:
    lit = np.flatnonzero(~seen.sky)
    rays = seen.rays
    starts = rays.starts[lit] + rays.ways[lit] * seen.depth[lit][:, None] * 0.999
    towards = np.broadcast_to(sun, starts.shape).copy()
    hidden = np.asarray(scene.run(starts.astype(np.float32), towards, query="OCCLUDED")) >= 0
    seen.colour[lit[hidden]] *= rng.uniform(0.35, 0.75)


def _normals(triangles: np.ndarray, which: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Unit normals at hits; smooth where neighbouring faces lie alike."""
    face = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    corners = np.round(triangles.reshape(-1, 3), 2)
    _, shared = np.unique(corners.view([("", corners.dtype)] * 3).ravel(), return_inverse=True)
    total = np.zeros((shared.max() + 1, 3), np.float32)
    np.add.at(total, shared, np.repeat(face, 3, 0))
    flat, smooth = _unit(face)[:, None], _unit(total)[shared].reshape(-1, 3, 3)
    smooth = np.where((smooth * flat).sum(-1, keepdims=True) > 0.75, smooth, flat)
    return _unit(smooth[which, 0] * (1 - u - v) + smooth[which, 1] * u + smooth[which, 2] * v)


def _unit(vectors: np.ndarray) -> np.ndarray:
    result: np.ndarray = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)
    return result


def _paint(
    studio: Studio, rng: Rng, things: list[Thing], which: np.ndarray, u: np.ndarray, v: np.ndarray
) -> np.ndarray:
    """Colours [n, 3] of the triangles ``which`` of all things, at places within them."""
    uv = np.concatenate([thing.mesh.uv for thing in things])
    material = np.concatenate([thing.mesh.material for thing in things])[which]
    owner = np.repeat(np.arange(len(things)), [len(thing.mesh.place) for thing in things])[which]
    place = uv[which, 0] * (1 - u - v) + uv[which, 1] * u + uv[which, 2] * v
    colour = np.empty((len(which), 3), np.float32)
    for number in np.unique(owner):
        here = np.flatnonzero(owner == number)
        if not things[number].painted and rng.random() < 0.2:
            colour[here] = rng.random(3)
            continue
        if things[number].painted:
            names, order = np.unique(material[here], return_inverse=True)
            textures = studio.packages.textures([studio.shelf.materials[name] for name in names])
        else:
            order, textures = np.zeros(len(here), int), studio.texture(rng)[None]
        mip = np.ones(len(here), int)
        colour[here] = sample(mipmaps(textures), order, place[here], mip) / 255
        colour[here] *= rng.uniform(0.7, 1.5)
    return colour
