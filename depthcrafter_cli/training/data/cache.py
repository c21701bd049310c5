"""Encoded clips kept on disk and held in memory, for recipes whose data is small.

A cached clip is one ``.npz`` of float16 ``image`` and ``disparity`` [T, 4, h, w], ``embeds``
[T, e], ``mask`` and ``inverse_depth`` [T, 1, h, w]. Half of the clips may be mirrored. Of several
frames it also holds the truth as it was read, ``truth`` float32 and ``valid`` bool [T, H, W]: what
is shown gets a scale and a shift of its own, so the truth of a part of a clip is encoded anew.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import torch

from depthcrafter_cli.datasets.clip import ClipSource, Shape, drawn_frames, require_known
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
    mirror: bool = True,
) -> None:
    """Encode the clips that ``folder``, called as the source, lacks; safe to stop.

    Those that ``rejects`` leaves out get no file. ``share`` picks the clips of one of several
    processes. With ``mirror`` half of them are mirrored.
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
            if mirror and np.random.default_rng([index, 3]).random() < 0.5:
                clip = clip.mirrored()
            latents = encoder.encode(clip, index)
            arrays = {name: getattr(latents, name).half().cpu().numpy() for name in _NAMES}
            if len(clip.rgb) > 1:
                arrays |= {"truth": clip.disparity.numpy(), "valid": clip.valid.numpy()}
            keep(path, **arrays)
        observer(Progress(f"encode {folder.name}", done, len(mine), "clips"))


class CachedClips:
    """All clips of one source that were encoded, in memory.

    Raises:
        UsageError: a file is damaged, or of another version of the program.
    """

    def __init__(self, folder: Path, source: ClipSource, encoder: Encoder) -> None:
        self._encoder = encoder
        self._clips: list[Latents] = []
        self._names: list[str] = []
        self._paths: list[Path] = []
        for index in range(len(source)):
            path = kept_path(folder, source, index)
            if path.exists():
                self._clips.append(Latents(*map(torch.from_numpy, kept(path, *_NAMES))))
                self._names.append(source.name(index))
                self._paths.append(path)

    def name(self, index: int) -> str:
        return self._names[index]

    def shapes(self) -> list[Shape]:
        """Frames and latent sides of every clip."""
        return [
            (clip.image.shape[0], clip.image.shape[2], clip.image.shape[3]) for clip in self._clips
        ]

    def read(self, index: int, frames: int, stride: int, rng: np.random.Generator) -> Latents:
        """``frames`` frames of a clip, so many apart, from a random start.

        Raises InputError where nothing is known of them.
        """
        clip = self._clips[index]
        wanted = drawn_frames(len(clip.embeds), frames, stride, rng)
        if frames == len(clip.embeds):
            return clip
        chosen = slice(wanted.start, wanted.stop, wanted.step)
        disparity, valid = (
            torch.from_numpy(array[chosen]) for array in kept(self._paths[index], "truth", "valid")
        )
        require_known(valid, wanted, self._names[index])
        truth = self._encoder.encode_truth(disparity, valid)
        latents, mask, inverse_depth = (each.half().cpu() for each in truth)
        return Latents(clip.image[chosen], latents, clip.embeds[chosen], mask, inverse_depth)
