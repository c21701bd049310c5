"""Where a pass over a shot can go on: all that one step hands to the next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor

from depthcrafter_cli.depth.align import Overlap


@dataclass(frozen=True)
class WindowPoint:
    """A pass between two windows, or between two steps of one.

    Attributes:
        windows: how many are finished.
        decoded: frames whose disparity has been handed out, on a border of the decode grid.
        latents: float32 [n, 4, h, w], final but not decoded: those of frame ``decoded`` and on.
        overlap: float32 [o, 4, h, w] of the frames the next window shares, None without overlap.
        last: whether the shot has no frames beyond ``latents``.
        steps: of the next window, how many are done.
        keys: of frames that the skeleton will have, as far as they are in these windows: see
            :class:`~depthcrafter_cli.pipeline.skeleton.Skeleton`.
        overlaps: what windows say of frames that they share, as far as no point before told it.
        under_way: float32 [m, 4, h, w], that window after ``steps``; None if it is not begun.
    """

    windows: int
    decoded: int
    latents: Tensor
    overlap: Tensor | None
    last: bool
    steps: int = 0
    under_way: Tensor | None = None
    keys: tuple[Tensor, ...] = ()
    overlaps: tuple[Overlap, ...] = ()

    @property
    def next_frame(self) -> int:
        """The first frame of the next window."""
        return self.decoded + len(self.latents)

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.last and not len(self.latents)

    def first_read(self, encode_batch: int) -> int:
        """The frame to read from: batches are encoded as if nothing had stopped, to the bit."""
        return self.next_frame // encode_batch * encode_batch

    def after(self, decoded: int) -> WindowPoint:
        """The same pass with ``decoded`` frames handed out."""
        return replace(self, decoded=decoded, latents=self.latents[decoded - self.decoded :])


Keep = Callable[[WindowPoint], None]


def forget(_point: WindowPoint) -> None:
    """Keeps nothing: for a pass that is not to go on."""
