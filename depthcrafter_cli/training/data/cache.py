"""Encoded clips kept on disk and held in memory, for recipes whose data is small.

A cached clip is one ``.npz`` of float16 ``image`` and ``disparity`` [T, 4, h, w], ``embeds``
[T, e], ``mask`` and ``inverse_depth`` [T, 1, h, w]. Half of the clips are mirrored.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import torch

from depthcrafter_cli.datasets.clip import ClipSource, Shape
from depthcrafter_cli.progress import Observer, Progress, ignore
from depthcrafter_cli.training.data.kept import keep, kept, kept_path
from depthcrafter_cli.training.data.latents import Encoder, Latents
from depthcrafter_cli.training.data.rejects import Rejects

_NAMES = [field.name for field in fields(Latents)]


def fill_cache(
    folder: Path,
    source: ClipSource,
    encoder: Encoder,
    observer: Observer = ignore,
    share: slice = slice(None),
    rejects: Rejects | None = None,
) -> None:
    """Encode the clips that ``folder``, called as the source, lacks; safe to stop.

    Those that ``rejects`` leaves out get no file. ``share`` picks the clips of one of several
    processes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rejects = rejects or Rejects(0)
    mine = range(len(source))[share]
    observer(Progress(f"encode {folder.name}", 0, len(mine), "clips"))
    for done, index in enumerate(mine, start=1):
        path = kept_path(folder, source, index)
        clip = None
        if not path.exists():
            clip = rejects.read(folder.name, source, index, range(source.shape(index)[0]))
        if clip is not None:
            if np.random.default_rng([index, 3]).random() < 0.5:
                clip = clip.mirrored()
            latents = encoder.encode(clip, index)
            keep(path, **{name: getattr(latents, name).half().cpu().numpy() for name in _NAMES})
        observer(Progress(f"encode {folder.name}", done, len(mine), "clips"))


class CachedClips:
    """All clips of one source that were encoded, in memory.

    Raises:
        UsageError: a file is damaged, or of another version of the program.
    """

    def __init__(self, folder: Path, source: ClipSource) -> None:
        self._clips: list[Latents] = []
        self._names: list[str] = []
        for index in range(len(source)):
            path = kept_path(folder, source, index)
            if path.exists():
                self._clips.append(Latents(*map(torch.from_numpy, kept(path, *_NAMES))))
                self._names.append(source.name(index))

    def name(self, index: int) -> str:
        return self._names[index]

    def shapes(self) -> list[Shape]:
        """Frames and latent sides of every clip."""
        return [
            (clip.image.shape[0], clip.image.shape[2], clip.image.shape[3]) for clip in self._clips
        ]

    def read(self, index: int, frames: int, rng: np.random.Generator) -> Latents:
        """``frames`` consecutive frames of a clip, from a random start."""
        clip = self._clips[index]
        start = int(rng.integers(len(clip.embeds) - frames + 1))
        return clip.part(start, frames)
