"""Whole clips kept on disk and read back at random: what stage 0 learns from.

A cached clip is one ``.npz`` of ``rgb`` uint8 [T, H, W, 3] and ``disparity`` float16 [T, H, W] in
[0, 1].
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from depthcrafter_cli.datasets.clip import ClipSource, Shape
from depthcrafter_cli.progress import Observer, Progress, ignore
from depthcrafter_cli.training.data.kept import keep, kept, kept_path
from depthcrafter_cli.training.data.rejects import Rejects
from depthcrafter_cli.training.data.targets import target_disparity

LARGEST = 128 * 256  # pixels; larger clips teach stage 0 nothing more and take longer


def clips_for_foundation(source: ClipSource) -> dict[Shape, list[int]]:
    """The numbers of the clips that stage 0 learns from, by size."""
    by_shape: dict[Shape, list[int]] = {}
    for index in range(len(source)):
        shape = source.shape(index)
        if shape[1] * shape[2] <= LARGEST:
            by_shape.setdefault(shape, []).append(index)
    return by_shape


class ClipCache:
    """The clips of a source that are small enough, drawn once."""

    def __init__(
        self,
        folder: Path,
        source: ClipSource,
        observer: Observer = ignore,
        rejects: Rejects | None = None,
        name: str = "clips",
        mirror: bool = True,
    ) -> None:
        self._mirror = mirror
        self._source, self._by_shape = source, clips_for_foundation(source)
        wanted = [index for held in self._by_shape.values() for index in held]
        self._paths = {index: kept_path(folder, source, index) for index in wanted}
        folder.mkdir(parents=True, exist_ok=True)
        self._fill(observer, rejects or Rejects(0), name)

    def _fill(self, observer: Observer, rejects: Rejects, name: str) -> None:
        for done, (index, path) in enumerate(self._paths.items()):
            observer(Progress("clips", done, len(self._paths), "clips"))
            if path.exists():
                continue
            shape = self._source.shape(index)
            clip = rejects.read(name, self._source, index, range(shape[0]))
            if clip is None:
                self._by_shape[shape].remove(index)
                continue
            disparity = target_disparity(clip.disparity, clip.valid)
            keep(path, rgb=clip.rgb.numpy(), disparity=disparity.numpy().astype(np.float16))

    def batch(
        self, rng: np.random.Generator, clips: int, frames: int, crop: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """``rgb`` uint8 [B, T, H, W, 3] and ``disparity`` [B, T, H, W] of clips of one size.

        T is at most ``frames``. Half of the clips are mirrored, if any. With ``crop``, each is
        cut to a square of that many pixels.
        """
        shapes = [shape for shape, held in self._by_shape.items() if held]
        counts = np.array([len(self._by_shape[shape]) for shape in shapes], float)
        shape = shapes[int(rng.choice(len(shapes), p=counts / counts.sum()))]
        length = min(frames, shape[0])
        rgb, disparity = [], []
        for index in rng.choice(self._by_shape[shape], clips):
            drawn, target = kept(self._paths[int(index)], "rgb", "disparity")
            pictures, maps = torch.from_numpy(drawn), torch.from_numpy(target.astype(np.float32))
            start = int(rng.integers(shape[0] - length + 1))
            top = int(rng.integers(shape[1] - crop + 1)) if crop else 0
            left = int(rng.integers(shape[2] - crop + 1)) if crop else 0
            part = (
                slice(start, start + length),
                slice(top, top + (crop or shape[1])),
                slice(left, left + (crop or shape[2])),
            )
            axes = [2] if rng.random() < 0.5 and self._mirror else []
            rgb.append(pictures[part].flip(axes))
            disparity.append(maps[part].flip(axes))
        return torch.stack(rgb), torch.stack(disparity)
