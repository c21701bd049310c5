"""Training clips: drawn once from their seeds, kept on disk, read back at random.

A cached clip is one ``.npz`` of ``rgb`` uint8 [T, H, W, 3] and ``disparity`` float16 [T, H, W].
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from depthcrafter_cli.progress import Observer, Progress, ignore
from depthcrafter_cli.training.generator import draw_clip

HELD_OUT = 10_000_000
"""Seeds from here on are for evaluation and are never trained on."""

Shape = tuple[int, int, int]  # T, H, W

_SHAPES: Sequence[tuple[float, Shape]] = (
    (0.50, (4, 128, 192)),
    (0.12, (8, 128, 192)),
    (0.08, (4, 192, 128)),
    (0.10, (4, 128, 128)),
    (0.10, (4, 128, 256)),
    (0.07, (3, 192, 320)),
    (0.03, (24, 64, 128)),
)


@dataclass(frozen=True)
class Sample:
    """``rgb`` uint8 [T, H, W, 3]; ``disparity`` float32 [T, H, W] in [0, 1], 1 nearest."""

    rgb: Tensor
    disparity: Tensor


def shape_of(seed: int) -> Shape:
    """Frames, height and width of the training clip of a seed."""
    shares = np.array([share for share, _ in _SHAPES])
    pick = np.random.default_rng([seed, 1]).choice(len(_SHAPES), p=shares / shares.sum())
    return _SHAPES[int(pick)][1]


def target_disparity(depth: Tensor) -> Tensor:
    """Disparity of a clip under one scale and one shift, float32 [T, H, W] in [0, 1].

    ``depth`` is in metres, infinite for sky. The ends are the 0.5 and 99 % quantiles of the whole
    clip, so that a speck in front of the lens does not flatten everything else.
    """
    disparity = 1.0 / depth.clamp_min(0.05)
    values = disparity.flatten()
    values = values[:: max(1, len(values) // 100_000)]
    low, high = torch.quantile(values, torch.tensor([0.005, 0.99], device=values.device))
    return ((disparity - low) / (high - low).clamp_min(1e-6)).clamp(0, 1)


def draw_sample(seed: int, shape: Shape | None = None) -> Sample:
    """The training clip of a seed, drawn now."""
    clip = draw_clip(seed, *(shape or shape_of(seed)))
    return Sample(clip.rgb, target_disparity(clip.depth))


def clip_path(folder: Path, seed: int) -> Path:
    """Where the cache keeps the clip of a seed."""
    return folder / f"{seed:08d}.npz"


def fill_cache(folder: Path, seeds: Sequence[int], observer: Observer = ignore) -> None:
    """Draw the clips that the cache lacks; safe to stop and to run twice at once."""
    folder.mkdir(parents=True, exist_ok=True)
    for done, seed in enumerate(seeds):
        observer(Progress("clips", done, len(seeds), "clips"))
        path = clip_path(folder, seed)
        if path.exists():
            continue
        sample = draw_sample(seed)
        partial = path.with_suffix(f".{os.getpid()}.partial")
        with partial.open("wb") as file:
            np.savez(
                file, rgb=sample.rgb.numpy(), disparity=sample.disparity.numpy().astype(np.float16)
            )
        partial.replace(path)


def read_clip(path: Path) -> Sample:
    """A clip of the cache."""
    with np.load(path) as arrays:
        return Sample(
            torch.from_numpy(arrays["rgb"]),
            torch.from_numpy(arrays["disparity"].astype(np.float32)),
        )


class ClipCache:
    """Cached clips drawn at random, with the whole folder's index in memory."""

    def __init__(self, folder: Path, clips: int) -> None:
        self._folder = folder
        self._clips = clips
        self._by_shape: dict[Shape, list[int]] = {}
        self.refresh()

    def refresh(self) -> None:
        """Look again which of the clips are there."""
        present = sorted(int(path.stem) for path in self._folder.glob("*.npz"))
        self._by_shape = {}
        for seed in present:
            if seed < self._clips:
                self._by_shape.setdefault(shape_of(seed), []).append(seed)

    def seeds(self) -> list[int]:
        """The clips that are there."""
        return sorted(seed for seeds in self._by_shape.values() for seed in seeds)

    def batch(
        self, rng: np.random.Generator, clips: int, frames: int, crop: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """``rgb`` uint8 [B, T, H, W, 3] and ``disparity`` [B, T, H, W] of clips of one size.

        T is at most ``frames``. Half of the clips are mirrored. With ``crop``, each is cut to a
        square of that many pixels.
        """
        shapes = [shape for shape in self._by_shape if shape[1] * shape[2] <= 128 * 256]
        counts = np.array([len(self._by_shape[shape]) for shape in shapes], float)
        shape = shapes[int(rng.choice(len(shapes), p=counts / counts.sum()))]
        length = min(frames, shape[0])
        rgb, disparity = [], []
        for seed in rng.choice(self._by_shape[shape], clips):
            clip = read_clip(clip_path(self._folder, int(seed)))
            start = int(rng.integers(shape[0] - length + 1))
            top = int(rng.integers(shape[1] - crop + 1)) if crop else 0
            left = int(rng.integers(shape[2] - crop + 1)) if crop else 0
            part = (
                slice(start, start + length),
                slice(top, top + (crop or shape[1])),
                slice(left, left + (crop or shape[2])),
            )
            axes = [2] if rng.random() < 0.5 else []
            rgb.append(clip.rgb[part].flip(axes))
            disparity.append(clip.disparity[part].flip(axes))
        return torch.stack(rgb), torch.stack(disparity)
