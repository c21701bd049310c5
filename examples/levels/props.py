"""Simple things put into levels: solids, furniture, poles."""

from __future__ import annotations

import numpy as np

from levels.models import Mesh

Rng = np.random.Generator
_CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
_SIDES = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]


def box(
    low: tuple[float, float, float], high: tuple[float, float, float], repeat: float = 1.0
) -> Mesh:
    """A box between two corners, its texture repeated ``repeat`` times a side."""
    low_, high_ = np.array(low), np.array(high)
    corners = (_CORNERS + 1) / 2 * (high_ - low_) + low_
    square = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * repeat
    place, uv = [], []
    for a, b, c, d in _SIDES:
        place += [corners[[a, b, c]], corners[[a, c, d]]]
        uv += [square[[0, 1, 2]], square[[0, 2, 3]]]
    return Mesh(np.array(place), np.array(uv), np.zeros(len(place), int))


def turned(profile: np.ndarray, sides: int = 14, repeat: float = 1.0) -> Mesh:
    """A solid of revolution about z, from [n, 2] radii and heights."""
    angle = np.linspace(0, 2 * np.pi, sides + 1)
    ring = np.stack([np.cos(angle), np.sin(angle)], -1)
    grid = np.concatenate(
        [
            profile[:, None, :1] * ring,
            np.broadcast_to(profile[:, None, 1:], (len(profile), sides + 1, 1)),
        ],
        -1,
    )
    u, v = np.meshgrid(angle / (2 * np.pi) * 2 * repeat, np.linspace(0, repeat, len(profile)))
    flat = np.stack([u, v], -1)

    def quads(values: np.ndarray) -> np.ndarray:
        a, b, c, d = values[:-1, :-1], values[1:, :-1], values[1:, 1:], values[:-1, 1:]
        one, two = np.stack([a, b, c], 2), np.stack([a, c, d], 2)
        return np.concatenate([one.reshape(-1, *one.shape[2:]), two.reshape(-1, *two.shape[2:])])

    place = quads(grid)
    return Mesh(place, quads(flat), np.zeros(len(place), int))


def solid(rng: Rng) -> Mesh:
    """Box, ball, vase or lump around 0, about 1 large."""
    kind, repeat = int(rng.integers(4)), float(rng.choice([0.5, 1, 2]))
    if kind == 0:
        size = rng.uniform(0.2, 1, 3)
        return box(tuple(-size), tuple(size), repeat)
    if kind == 1:
        angle = np.linspace(0, np.pi, 10)
        profile = np.stack([np.sin(angle), np.cos(angle)], 1)
    elif kind == 2:
        profile = np.array(
            [
                [0, 1],
                [rng.uniform(0.2, 1), 1],
                [rng.uniform(0.2, 1), 0],
                [rng.uniform(0.2, 1), -1],
                [0, -1],
            ]
        )
    else:
        profile = np.stack([np.abs(rng.normal(0.5, 0.25, 9)), np.linspace(1, -1, 9)], 1)
        profile[[0, -1], 0] = 0
    mesh = turned(profile, repeat=repeat)
    return mesh.moved(np.eye(3), np.zeros(3), rng.uniform(0.4, 1, 3))


def furniture(rng: Rng) -> Mesh:
    """A table, chair, shelf, pole, fence or arch that stands at height 0, in units of a level."""
    w, d, h = rng.uniform(14, 45), rng.uniform(10, 30), rng.uniform(14, 34)
    t = rng.uniform(0.8, 2.5)
    kind = str(rng.choice(["table", "chair", "shelf", "pole", "fence", "arch"]))
    legs = [
        box((x * w - t, y * d - t, 0), (x * w + t, y * d + t, h))
        for x in (-0.9, 0.9)
        for y in (-0.9, 0.9)
    ]
    if kind == "table":
        return Mesh.joined([*legs, box((-w, -d, h), (w, d, h + 2 * t))])
    if kind == "chair":
        w, d, h = w * 0.4, w * 0.4, rng.uniform(12, 18)
        legs = [
            box((x * w - t, y * d - t, 0), (x * w + t, y * d + t, h))
            for x in (-0.9, 0.9)
            for y in (-0.9, 0.9)
        ]
        return Mesh.joined(
            [
                *legs,
                box((-w, -d, h), (w, d, h + t)),
                box((-w, -d, h), (-w + t, d, h * rng.uniform(1.8, 2.6))),
            ]
        )
    if kind == "shelf":
        height = rng.uniform(40, 80)
        boards = [
            box((-w, -d / 2, z), (w, d / 2, z + t))
            for z in np.linspace(0, height, int(rng.integers(3, 6)))
        ]
        return Mesh.joined(
            [
                *boards,
                box((-w - t, -d / 2, 0), (-w, d / 2, height)),
                box((w, -d / 2, 0), (w + t, d / 2, height)),
            ]
        )
    if kind == "pole":
        radius, height = rng.uniform(0.8, 4), rng.uniform(50, 160)
        parts = [turned(np.array([[radius, height], [radius, 0]]), 10)]
        if rng.random() < 0.6:
            parts.append(solid(rng).moved(np.eye(3), np.array([0, 0, height]), rng.uniform(5, 18)))
        return Mesh.joined(parts)
    if kind == "fence":
        height, count = rng.uniform(20, 60), int(rng.integers(4, 12))
        xs = np.linspace(-2 * w, 2 * w, count)
        bars = [box((x - t / 2, -t / 2, 0), (x + t / 2, t / 2, height)) for x in xs]
        return Mesh.joined(
            [
                *bars,
                box((-2 * w, -t, height * 0.8), (2 * w, t, height * 0.9)),
                box((-2 * w, -t, height * 0.2), (2 * w, t, height * 0.3)),
            ]
        )
    height = rng.uniform(50, 110)
    return Mesh.joined(
        [
            box((-w - 3 * t, -3 * t, 0), (-w, 3 * t, height)),
            box((w, -3 * t, 0), (w + 3 * t, 3 * t, height)),
            box((-w - 3 * t, -3 * t, height), (w + 3 * t, 3 * t, height + 6 * t)),
        ]
    )
