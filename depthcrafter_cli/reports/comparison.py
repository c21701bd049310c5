"""Films side by side: some of their frames, and one column of each over time."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from depthcrafter_cli.reports.profiles import ColumnProfiles, enlarged, profile_of
from depthcrafter_cli.types import RgbImage, Size

_GROUND, _INK, _LINE = (20, 21, 25), (235, 235, 235), (255, 255, 255)
_GAP, _CAPTION = 8, 20
_SHEET_FRAMES, _MOST_COLUMNS = 4, 3


@dataclass(frozen=True)
class Comparison:
    """Films of one length and size, by their names, the source first.

    ``profiles`` has one column of each, at the share ``column`` of the width.
    """

    names: Sequence[str]
    profiles: ColumnProfiles
    size: Size
    frames: int
    column: float

    def sheet_frames(self) -> list[int]:
        """The frames that are in the sheet, evenly chosen."""
        count = min(_SHEET_FRAMES, self.frames)
        chosen = np.linspace(0, self.frames - 1, count).round().astype(int)
        return [int(index) for index in chosen]

    def sheet(self, pictures: Sequence[Sequence[RgbImage]]) -> Image.Image:
        """A row for each film: its ``pictures`` of :meth:`sheet_frames`, and its profile."""
        cell = self.size
        strip = 2 * cell.width
        width = len(pictures[0]) * (cell.width + _GAP) + strip + 2 * _GAP
        row_height = cell.height + _CAPTION + _GAP
        sheet = Image.new("RGB", (width, len(self.names) * row_height), _GROUND)
        draw = ImageDraw.Draw(sheet)
        for row, (name, chosen) in enumerate(zip(self.names, pictures, strict=True)):
            top = row * row_height
            draw.text((_GAP, top + 4), name, _INK)
            for place, picture in enumerate(chosen):
                at = (_GAP + place * (cell.width + _GAP), top + _CAPTION)
                sheet.paste(Image.fromarray(picture), at)
            left = _GAP + len(chosen) * (cell.width + _GAP)
            draw.text((left, top + 4), f"column at {self.column:.0%}, over time", _INK)
            sheet.paste(self._profile(row, Size(cell.height, strip)), (left, top + _CAPTION))
        return sheet

    def video_size(self) -> Size:
        """The size of the frames of the video, whose sides are even."""
        columns = min(_MOST_COLUMNS, len(self.names))
        rows = -(-len(self.names) // columns)
        width = columns * (self.size.width + _GAP) + _GAP
        height = rows * (self.size.height + self._strip + _CAPTION + 2 * _GAP)
        return Size(height + height % 2, width + width % 2)

    @property
    def _strip(self) -> int:
        return max(32, self.size.height // 3)

    def background(self) -> Image.Image:
        """What does not change in the video: names and profiles."""
        whole = self.video_size()
        ground = Image.new("RGB", (whole.width, whole.height), _GROUND)
        draw = ImageDraw.Draw(ground)
        for film, name in enumerate(self.names):
            left, top = self._place(film)
            draw.text((left, top - _CAPTION + 4), name, _INK)
            strip = self._profile(film, Size(self._strip, self.size.width))
            ground.paste(strip, (left, top + self.size.height + _GAP // 2))
        return ground

    def video_frame(
        self, background: Image.Image, pictures: Sequence[RgbImage], index: int
    ) -> RgbImage:
        """A frame of the video: a picture of each film, and where it is in the profiles."""
        frame = background.copy()
        draw = ImageDraw.Draw(frame)
        across = round((index + 0.5) / self.frames * self.size.width)
        for film, picture in enumerate(pictures):
            left, top = self._place(film)
            frame.paste(Image.fromarray(picture), (left, top))
            strip = top + self.size.height + _GAP // 2
            draw.line((left + across, strip, left + across, strip + self._strip - 1), _LINE)
        return np.asarray(frame)

    def _profile(self, film: int, size: Size) -> Image.Image:
        return enlarged(profile_of(self.profiles.columns(film)[0]), size)

    def _place(self, film: int) -> tuple[int, int]:
        """Where the picture of a film begins in the video: its left and its top."""
        row, column = divmod(film, min(_MOST_COLUMNS, len(self.names)))
        height = self.size.height + self._strip + _CAPTION + 2 * _GAP
        return _GAP + column * (self.size.width + _GAP), row * height + _CAPTION
