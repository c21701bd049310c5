"""What two windows say of the same frames, for :mod:`depthcrafter_cli.depth.align` to compare."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from depthcrafter_cli.depth.align import Overlap
from depthcrafter_cli.pipeline.windows import Layout, Window
from depthcrafter_cli.types import Disparity

if TYPE_CHECKING:
    from torch import Tensor

Decode = Callable[["Tensor"], Disparity]
PIXELS = 4096  # of a frame, that are kept to compare


def compared_frames(shared: range, chunk: int) -> list[range]:
    """Half a chunk at each end of the frames that two windows share, or all of a few."""
    half = max(chunk // 2, 1)
    return [shared] if len(shared) <= 2 * half else [shared[:half], shared[-half:]]


def overlap_of(
    window: Window, layout: Layout, before: Tensor, own: Tensor, decode: Decode, chunk: int
) -> Overlap:
    """What a window and the one before it say of the frames that they share.

    ``before`` are the stitched latents [o, 4, h, w] of these frames, ``own`` the window's, [m, 4,
    h, w]. Frames that more windows have were mixed in stitching, and are left out.
    """
    unmixed = layout.start(window.index - 2) + layout.window - 1 if window.index > 1 else 0
    shared = range(max(window.start, unmixed), window.start + window.overlap)
    runs = compared_frames(shared, chunk)

    def seen(latents: Tensor) -> Disparity:
        first = window.start
        return coarse([decode(latents[run.start - first : run.stop - first]) for run in runs])

    frames = tuple(frame for run in runs for frame in run)
    return Overlap(window.start, frames, seen(before), seen(own))


def coarse(parts: Sequence[Disparity]) -> Disparity:
    """Some pixels of each frame of ``parts``, [n, h, w], evenly over the picture."""
    frames = np.concatenate(parts)
    step = -int(-((frames[0].size / PIXELS) ** 0.5) // 1)
    return np.ascontiguousarray(frames[:, ::step, ::step])


def has_skeleton(align: str, windows: int | None) -> bool:
    """Whether a shot of so many windows gets one more; with fewer there is nothing to add up."""
    return align == "skeleton" and windows is not None and windows > 2


def skeleton_frames(window: int, total: int) -> tuple[int, ...]:
    """As many frames as a window has, spread over a whole shot, with its first and its last."""
    count = min(window, total)
    return tuple(index * (total - 1) // max(count - 1, 1) for index in range(count))
