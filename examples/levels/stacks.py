"""Stacks of frames, as recipes read them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np


def write_stack(home: Path, frames: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """Write pictures and disparity in random order into the folder ``home``, or nothing."""
    order = np.random.default_rng(len(frames)).permutation(len(frames))
    unfinished = home.with_name(f"{home.name}.partial")
    shutil.rmtree(unfinished, ignore_errors=True)  # left by a killed run
    unfinished.mkdir(parents=True)
    np.save(unfinished / "rgb.npy", np.stack([frames[index][0] for index in order]))
    np.save(unfinished / "disparity.npy", np.stack([frames[index][1] for index in order]))
    unfinished.replace(home)
