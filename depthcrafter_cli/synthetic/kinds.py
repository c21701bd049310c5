"""All kinds of scenes, and how often each is drawn."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from depthcrafter_cli.synthetic import closeups, foreground, indoors, landscapes, scenes
from depthcrafter_cli.synthetic.solids import Vector
from depthcrafter_cli.synthetic.staging import Scene, settle

Rng = np.random.Generator
Kind = Callable[[Rng, Vector], Scene]

KINDS: dict[str, tuple[Kind, float]] = {  # with the share of all clips
    "meadow": (scenes.meadow, 0.09), "forest": (scenes.forest, 0.07),
    "street": (scenes.street, 0.1), "aerial": (scenes.aerial, 0.04),
    "room": (indoors.room, 0.13), "corridor": (indoors.corridor, 0.05),
    "closeup": (closeups.closeup, 0.12), "portrait": (closeups.portrait, 0.1),
    "still_life": (closeups.still_life, 0.06), "wall": (closeups.wall, 0.04),
    "tabletop": (closeups.tabletop, 0.03), "land": (landscapes.land, 0.07),
    "cave": (landscapes.cave, 0.04), "hillside": (landscapes.hillside, 0.07),
    "reef": (landscapes.reef, 0.02), "void": (landscapes.void, 0.02),
}  # fmt: skip


def arrange(rng: Rng, times: Vector) -> Scene:
    """A scene of a random kind, perhaps with something in front of it."""
    shares = np.array([share for _, share in KINDS.values()])
    kind = list(KINDS)[int(rng.choice(len(KINDS), p=shares / shares.sum()))]
    return foreground.overlay(rng, settle(KINDS[kind][0](rng, times)), times)
