"""A small picture that moves and begins again, for chats, browsers and file managers."""

import math
from fractions import Fraction

from PIL import Image

from depthcrafter_cli.media.look import Look
from depthcrafter_cli.media.resize import as_shown
from depthcrafter_cli.media.sinks.base import RANGE, SHAPE, DepthFrame, FileSink
from depthcrafter_cli.media.sinks.shown import shown, shows_source
from depthcrafter_cli.types import Size

_MOST_FRAMES, _WIDTH = 60, 320


class PreviewSink(FileSink):
    """``.gif`` and ``.webp``: at most 60 frames of the whole, in colours, 320 pixels wide.

    Twice as wide where the source stands beside the depth.
    """

    bytes_per_pixel = 0.0
    options = SHAPE | RANGE | {"colormap", "side_by_side", "overlay"}

    @classmethod
    def frame_bytes(cls, out: object, size: Size, look: Look) -> float:
        return 0.1 * min(size.height * size.width, _WIDTH**2)

    @property
    def needs_rgb(self) -> bool:
        return shows_source(self.settings.look)

    def _begin(self) -> None:
        self._step = math.ceil(self.settings.frame_count / _MOST_FRAMES)
        self._seen, self._pictures = 0, list[Image.Image]()

    def _write(self, frame: DepthFrame) -> None:
        if self._seen % self._step == 0:
            picture = Image.fromarray(shown(frame, self.settings))
            width = _WIDTH * (1 + self.settings.look.side_by_side)
            self._pictures.append(small(picture, width, self.settings.pixel_aspect))
        self._seen += 1

    def _end(self) -> None:
        first, *others = self._pictures
        kind = self.path.suffix[1:].upper()
        shown_ms = max(20, round(1000 * self._step / self.settings.rate))
        film = {"save_all": True, "append_images": others, "duration": shown_ms, "loop": 0}
        # By Pillow's quickest method, its own for films in WebP, slopes of depth become stripes.
        first.save(self._file, kind, quality=95, method=4, **film)

    def _release(self) -> None:
        self._pictures = []


def small(picture: Image.Image, width: int, pixel_aspect: Fraction) -> Image.Image:
    """Return the picture with square pixels, as it is shown, not wider than ``width`` of them."""
    size = as_shown(Size(picture.height, picture.width), pixel_aspect)
    if size.width > width:
        size = Size(max(1, round(size.height * width / size.width)), width)
    if (size.width, size.height) == picture.size:
        return picture
    return picture.resize((size.width, size.height), Image.Resampling.BILINEAR)
