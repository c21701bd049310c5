"""A contact sheet: some frames of the source, with their depth below."""

from PIL import Image

from depthcrafter_cli.depth.colorize import colorize
from depthcrafter_cli.media.look import Look
from depthcrafter_cli.media.sinks.base import RANGE, SHAPE, DepthFrame, FileSink
from depthcrafter_cli.media.sinks.preview import small
from depthcrafter_cli.media.sinks.shown import source_of
from depthcrafter_cli.types import Size

_COLUMNS, _MOST_CELLS, _WIDTH, _GAP = 4, 12, 320, 4


class SheetSink(FileSink):
    """``.jpg``: up to 12 frames, from the first to the last, each above its depth in colours."""

    bytes_per_pixel = 0.0
    options = SHAPE | RANGE | {"colormap"}
    any_size = True

    @classmethod
    def frame_bytes(cls, out: object, size: Size, look: Look) -> float:
        return 0.5 * min(size.height * size.width, _WIDTH**2)

    @property
    def needs_rgb(self) -> bool:
        return True

    def _begin(self) -> None:
        count = self.settings.frame_count
        cells = min(count, _MOST_CELLS)
        self._chosen = {round(cell * (count - 1) / max(1, cells - 1)) for cell in range(cells)}
        self._seen, self._cells = 0, list[Image.Image]()

    def _write(self, frame: DepthFrame) -> None:
        if self._seen in self._chosen:
            look = self.settings.look
            colours = colorize(frame.normalized, look.colormap, dither=self.settings.dither)
            depth = small(Image.fromarray(colours), _WIDTH, self.settings.pixel_aspect)
            above = Image.fromarray(source_of(frame)).resize(depth.size, Image.Resampling.BILINEAR)
            cell = Image.new("RGB", (depth.width, 2 * depth.height))
            cell.paste(above, (0, 0))
            cell.paste(depth, (0, depth.height))
            self._cells.append(cell)
        self._seen += 1

    def _end(self) -> None:
        width, height = (side + _GAP for side in self._cells[0].size)
        columns = min(_COLUMNS, len(self._cells))
        rows = -(-len(self._cells) // columns)
        sheet = Image.new("RGB", (columns * width + _GAP, rows * height + _GAP))
        for index, cell in enumerate(self._cells):
            row, column = divmod(index, columns)
            sheet.paste(cell, (column * width + _GAP, row * height + _GAP))
        sheet.save(self._file, "JPEG", quality=90)

    def _release(self) -> None:
        self._cells = []
