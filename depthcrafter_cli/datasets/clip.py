"""One clip with true depth, and where clips come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from depthcrafter_cli.errors import InputError

if TYPE_CHECKING:
    import numpy as np
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

    def part(self, frames: range) -> Sample:
        """Return the sample's frames of these numbers."""
        chosen = slice(frames.start, frames.stop, frames.step)
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

    def name(self, index: int) -> str:
        """What messages call a clip."""
        ...

    def version(self, index: int) -> str:
        """Another one where a clip's content may be another; empty if its number fixes it."""
        ...

    def read(self, index: int, frames: range, place: float = 0.5) -> Sample:
        """The frames of a clip that have these numbers.

        Where a clip is cropped, ``place`` says where: 0 is left or top, 1 right or bottom. Raises
        InputError where one of them cannot be read.
        """
        ...

    @property
    def rejected(self) -> Mapping[str, str]:
        """The clips that were found and cannot be used, and why, by name; they have no number."""
        ...


def known_part(source: ClipSource, index: int, frames: range, place: float = 0.5) -> Sample:
    """Read frames of a clip. Raises InputError also where no depth is known in them."""
    sample = source.read(index, frames, place)
    require_known(sample.valid, frames, source.name(index))
    return sample


def require_known(valid: Tensor, frames: range, clip: str) -> None:
    """Raise InputError where no depth is known in these frames of a clip."""
    if not bool(valid.any()):
        raise InputError(
            f"got no known depth in the frames {frames.start} to {frames[-1]} of the clip {clip}, "
            "expected some: complete it or leave it out."
        )


def drawn_frames(length: int, frames: int, stride: int, rng: np.random.Generator) -> range:
    """``frames`` of a clip of so many, ``stride`` apart, from a random start."""
    start = int(rng.integers(length - (frames - 1) * stride))
    return range(start, start + frames * stride, stride)
