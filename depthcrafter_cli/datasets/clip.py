"""One clip with true depth, and where clips come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor

Shape = tuple[int, int, int]  # T, H, W


@dataclass(frozen=True)
class ClipSize:
    """``share`` is how often a generated source draws clips of this size."""

    frames: int
    height: int
    width: int
    share: float = 1.0


@dataclass(frozen=True)
class Sample:
    """``rgb`` uint8 [T, H, W, 3]; ``disparity`` float32 [T, H, W], larger is nearer.

    Disparity is inverse depth in any unit, 0 infinitely far; ``valid`` bool [T, H, W] says where
    it is known.
    """

    rgb: Tensor
    disparity: Tensor
    valid: Tensor

    def part(self, start: int, frames: int) -> Sample:
        """Return the sample's ``frames`` frames from ``start`` on."""
        chosen = slice(start, start + frames)
        return Sample(self.rgb[chosen], self.disparity[chosen], self.valid[chosen])

    def mirrored(self) -> Sample:
        """Return the sample with left and right exchanged."""
        return Sample(self.rgb.flip(2), self.disparity.flip(2), self.valid.flip(2))


class ClipSource(Protocol):
    """Clips by number. Reading is a pure function, so any process may do it, in any order."""

    def __len__(self) -> int:
        """Return how many clips there are."""
        ...

    def shape(self, index: int) -> Shape:
        """Frames, height and width of a clip."""
        ...

    def version(self, index: int) -> str:
        """Another one where a clip's content may be another; empty if its number fixes it."""
        ...

    def read(self, index: int, start: int, frames: int) -> Sample:
        """``frames`` frames of a clip from ``start`` on."""
        ...
