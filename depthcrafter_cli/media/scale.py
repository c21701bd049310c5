"""Resizing of pictures (swscale, as the reference reads them) and of disparity (float)."""

from fractions import Fraction

import av
import av.error
import av.filter
import numpy as np
from PIL import Image

from depthcrafter_cli.types import Disparity, RgbImage, Size

# Filters that turn a picture upright, by its counter-clockwise display rotation in degrees.
_UPRIGHT: dict[int, list[tuple[str, str]]] = {
    0: [],
    90: [("transpose", "cclock")],
    180: [("hflip", ""), ("vflip", "")],
    270: [("transpose", "clock")],
}

_UNSPECIFIED = 2  # ITU-T H.273, for primaries, transfer and matrix alike


def quarter_turns(picture: av.VideoFrame) -> int:
    """The picture's display rotation, counter-clockwise, as 0, 90, 180 or 270 degrees."""
    return round(picture.rotation / 90) * 90 % 360


class PictureScaler:
    """Turns decoded pictures upright and resizes them to uint8 RGB [H, W, 3].

    Bilinear in the same step as the conversion to RGB: bit-identical to the reference's reader.
    """

    def __init__(self, size: Size) -> None:
        self.size = size
        self._made_for: tuple[object, ...] = ()
        self._graph: _Conversion | None = None
        self._last_row: _Conversion | None = None

    def __call__(self, picture: av.VideoFrame) -> RgbImage:
        kind = (picture.width, picture.height, picture.format.name, quarter_turns(picture))
        if kind != self._made_for:  # first picture, or a stream that changes its size midway
            self._prepare(picture)
            self._made_for = kind
        try:
            return self._converted(picture)
        except av.error.FFmpegError:
            # A damaged stream may name colours that do not exist; then they are taken as unsaid.
            picture.colorspace = picture.color_trc = picture.color_primaries = _UNSPECIFIED
            self._prepare(picture)
            return self._converted(picture)

    def _converted(self, picture: av.VideoFrame) -> RgbImage:
        assert self._graph is not None
        rgb = self._graph(picture)
        if self._last_row is not None:
            rgb[-1] = self._last_row(picture)[-1]
        return rgb

    def _prepare(self, picture: av.VideoFrame) -> None:
        self._graph, self._last_row = _Conversion(picture, self.size), None
        if self._keeps_only_height(picture):
            # The reference's FFmpeg takes chroma of an unscaled height from the nearer row of
            # two or from their mean; newer ones interpolate. These chroma positions give the
            # old rows, and the last row (always a mean there) comes from a second conversion.
            self._graph = _Conversion(picture, self.size, ":in_v_chr_pos=256")
            self._last_row = _Conversion(picture, self.size, ":in_v_chr_pos=512")

    def _keeps_only_height(self, picture: av.VideoFrame) -> bool:
        width, height = picture.width, picture.height
        if quarter_turns(picture) in (90, 270):
            width, height = height, width
        subsampled = "420p" in picture.format.name or picture.format.name.startswith("nv12")
        return subsampled and height == self.size.height and width != self.size.width


class _Conversion:
    """One filter graph: upright, scale, RGB."""

    def __init__(self, picture: av.VideoFrame, size: Size, scale_options: str = "") -> None:
        graph = av.filter.Graph()
        source = graph.add_buffer(
            width=picture.width,
            height=picture.height,
            format=picture.format,
            time_base=picture.time_base or Fraction(1, 1000),
        )
        scale = f"{size.width}:{size.height}:flags=bilinear{scale_options}"
        filters = [
            *_UPRIGHT[quarter_turns(picture)],
            ("scale", scale),
            ("format", "rgb24"),
            ("buffersink", ""),
        ]
        graph.link_nodes(source, *(graph.add(name, args) for name, args in filters)).configure()
        self._graph = graph

    def __call__(self, picture: av.VideoFrame) -> RgbImage:
        self._graph.push(picture)
        return self._graph.pull().to_ndarray()


def resize_disparity(disparity: Disparity, size: Size) -> Disparity:
    """Disparity float32 [H, W] at another size, bilinear; it never leaves its range.

    Float arithmetic throughout: swscale would pass through 16-bit integers.
    """
    if disparity.shape == (size.height, size.width):
        return disparity
    image = Image.fromarray(np.ascontiguousarray(disparity, dtype=np.float32))
    resized = image.resize((size.width, size.height), Image.Resampling.BILINEAR)
    return np.asarray(resized, dtype=np.float32)
