"""Temporal profiles as pictures: columns of a film side by side, time to the right."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageDraw

from depthcrafter_cli.types import RgbImage, Size

_CAPTION, _GAP, _GROUND, _INK = 18, 6, (20, 21, 25), (235, 235, 235)
_LEAST_WIDTH, _HEIGHT = 480, 180  # pixels of a profile


def profile_of(frames: Sequence[RgbImage]) -> RgbImage:
    """Columns uint8 [H, 3] of all frames as a picture [H, T, 3]."""
    return np.stack(frames, axis=1)


@dataclass
class ColumnProfiles:
    """Takes the frames of several films of one size, and keeps some columns of each.

    ``shares`` say which, from 0 (left) to 1 (right). ``films`` are their names.
    """

    films: Sequence[str]
    shares: Sequence[float]
    _kept: list[list[list[RgbImage]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._kept = [[[] for _ in self.shares] for _ in self.films]

    def add(self, pictures: Sequence[RgbImage]) -> None:
        """Take the next frame of each film, uint8 [H, W, 3]."""
        for kept, picture in zip(self._kept, pictures, strict=True):
            for columns, share in zip(kept, self.shares, strict=True):
                columns.append(picture[:, round(share * (picture.shape[1] - 1))].copy())

    def columns(self, film: int) -> list[list[RgbImage]]:
        """What was kept of a film: for each place the columns uint8 [H, 3] of all frames."""
        return self._kept[film]

    def sheet(self) -> Image.Image:
        """The profiles, a row for each film and a column for each place, with names."""
        frames = len(self._kept[0][0])
        width, height = frames * max(1, -(-_LEAST_WIDTH // frames)), _HEIGHT
        rows = [
            [enlarged(profile_of(columns), Size(height, width)) for columns in kept]
            for kept in self._kept
        ]
        sheet = Image.new(
            "RGB",
            (len(self.shares) * (width + _GAP) + _GAP, len(rows) * (height + _CAPTION + _GAP)),
            _GROUND,
        )
        draw = ImageDraw.Draw(sheet)
        for row, (name, pictures) in enumerate(zip(self.films, rows, strict=True)):
            top = row * (height + _CAPTION + _GAP)
            for column, (share, picture) in enumerate(zip(self.shares, pictures, strict=True)):
                left = _GAP + column * (width + _GAP)
                draw.text((left, top + 3), f"{name}, column at {share:.0%}", _INK)
                sheet.paste(picture, (left, top + _CAPTION))
        return sheet


def enlarged(picture: RgbImage, size: Size) -> Image.Image:
    """A profile at ``size``, so that single frames can still be told apart."""
    image = Image.fromarray(picture)
    wide = image.resize((size.width, image.height), Image.Resampling.NEAREST)
    return wide.resize((size.width, size.height), Image.Resampling.BILINEAR)
