"""One more window, over frames spread through a whole shot: errors cannot add up between them.

Each window of the shot is then compared with it rather than with the window before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from depthcrafter_cli.depth.align import Overlap
from depthcrafter_cli.pipeline.conditioning import Conditioning
from depthcrafter_cli.pipeline.noise import NoiseSource
from depthcrafter_cli.pipeline.overlaps import Decode, coarse
from depthcrafter_cli.pipeline.windows import FilledWindow, Window


class Skeleton:
    """The key frames, with what the windows of the shot have of them so far.

    ``frames`` are their numbers. ``kept`` are, of the first n of them, the image embeddings [n, e],
    the conditioning latents [n, 4, h, w], and the latents [n, 4, h, w] that their window gave: the
    last one that begins with the frame or before it.
    """

    def __init__(self, frames: Sequence[int], kept: tuple[Tensor, ...] = ()) -> None:
        self._frames, self.kept = frames, kept

    def __bool__(self) -> bool:
        return len(self._frames) > 0

    def add(self, filled: FilledWindow[Conditioning], own: Tensor) -> None:
        """Take the key frames of a window that are in no later one; ``own`` are its latents."""
        start = filled.window.start
        at = [frame - start for frame in self._frames if 0 <= frame - start < filled.final]
        if at:
            conditioning = Conditioning.join(filled.items[place] for place in at)
            found = conditioning.embeds, conditioning.latents, own[at]
            new = tuple(part.cpu() for part in found)
            both = zip(self.kept, new, strict=True) if self.kept else ()
            self.kept = tuple(map(torch.cat, both)) or new

    def conditioning(self, device: torch.device) -> Conditioning:
        """That of the key frames."""
        embeds, latents, _own = self.kept
        return Conditioning(embeds.to(device), latents.to(device))

    def noise(self, source: NoiseSource) -> Tensor:
        """Starting noise [n, 4, h, w], before scaling: that of the frames."""
        frames = self._frames[: len(self.kept[0])]
        return torch.cat([source.latents(Window(0, at, at + 1, 0)) for at in frames])

    def pins(
        self, latents: Tensor, starts: Sequence[int], decode: Decode, chunk: int
    ) -> Iterator[Overlap]:
        """What the skeleton, of ``latents``, and each window say of the frames they share.

        ``starts`` are the first frames of the windows.
        """
        frames, own = self._frames[: len(latents)], self.kept[2]
        for start, stop in zip(starts, (*starts[1:], frames[-1] + 1), strict=True):
            at = [place for place, frame in enumerate(frames) if start <= frame < stop]
            groups = [at[first : first + chunk] for first in range(0, len(at), chunk)]
            if at:
                shared = tuple(frames[place] for place in at)
                of = [coarse([decode(part[group]) for group in groups]) for part in (latents, own)]
                yield Overlap(start, shared, *of)
