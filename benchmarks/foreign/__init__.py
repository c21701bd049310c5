"""Clips with true depth from renderers that share nothing with the generator nano learns from."""

import os
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import numpy as np

from foreign.clip import Clip

os.environ.setdefault("MUJOCO_GL", "egl")  # draw off screen; MuJoCo reads it when imported

SOURCES = ("mujoco", "doom")
HEIGHT, WIDTH, FRAMES = 192, 320, 20


def clips(
    source: str, count: int, frames: int = FRAMES, keep: Path | None = None
) -> Iterator[Clip]:
    """The first ``count`` clips of a source; the same on every call.

    In the folder ``keep`` they are kept as ``SOURCE-NUMBER-FRAMES.npz`` for the next time.
    """
    for seed in range(count):
        path = keep / f"{source}-{seed:03d}-{frames}.npz" if keep else None
        if path and path.exists():
            with np.load(path) as arrays:
                yield Clip(arrays["rgb"], arrays["depth"])
            continue
        clip = import_module(f"foreign.{source}_clips").draw(seed, frames, HEIGHT, WIDTH)
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(".partial")
            with partial.open("wb") as file:
                np.savez_compressed(file, **clip._asdict())
            partial.replace(path)
        yield clip
