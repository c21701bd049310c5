"""Resizing of pictures (swscale, as the reference reads them) and of disparity (float)."""

import math
import struct
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, TypeAlias

import av
import av.error
import av.filter
import numpy as np
import numpy.typing as npt
from av.sidedata.sidedata import Type
from PIL import Image

from depthcrafter_cli.media.hdr import ToSdr
from depthcrafter_cli.progress import ignore
from depthcrafter_cli.types import Disparity, Hdr, RgbImage, Size

_UNSPECIFIED = 2  # ITU-T H.273, for primaries, transfer and matrix alike
_FULL_RANGE = 2  # FFmpeg's code
Filters: TypeAlias = Sequence[tuple[str, str]]
"""Names of FFmpeg's filters, with their arguments."""

_UNSAID = ("setparams", "color_primaries=unknown:color_trc=unknown:colorspace=unknown")
_EXACT = "accurate_rnd+full_chroma_int"
_HD_HEIGHT, _HD_WIDTH = 720, 1280  # of pictures as they are stored
# ITU-T H.273: a standard defines its primaries and its matrix together.
_MATRIX_OF_PRIMARIES = {1: "bt709", 5: "bt601", 6: "bt601", 7: "smpte240m", 9: "bt2020"}
_TRANSPOSE = "transpose"
_DEEP = "gbrp16le"  # swscale's conversion to rgb48le is wrong for some formats with these flags


def upright_filters(picture: av.VideoFrame, before: Filters = ()) -> Filters:
    """The filters, with their arguments, that show a picture as its display matrix says.

    Of the eight positions a picture can have by quarter turns and mirrors, the one nearest to the
    matrix is meant. One without any is as those ``before`` it: a bare stream says it only once for
    a group of pictures.
    """
    matrix = _display_matrix(picture)
    if matrix is None:
        return before
    # The pixel at (x, y) is shown at (a x + c y, b x + d y).
    a, b, c, d = matrix
    if abs(b) + abs(c) > abs(a) + abs(d):
        rows_go_left, columns_go_up = c < 0, b < 0
        turn = {
            (False, False): "cclock_flip",
            (False, True): "cclock",
            (True, False): "clock",
            (True, True): "clock_flip",
        }
        return ((_TRANSPOSE, turn[rows_go_left, columns_go_up]),)
    mirrors = (("hflip", a < 0), ("vflip", d < 0))
    return tuple((name, "") for name, is_mirrored in mirrors if is_mirrored)


def _display_matrix(picture: av.VideoFrame) -> tuple[float, float, float, float] | None:
    try:
        side_data = picture.side_data.get(Type.DISPLAYMATRIX)
    except ValueError:  # PyAV has no name for what else there is, such as EXIF
        turn = math.radians(picture.rotation)
        return math.cos(turn), -math.sin(turn), math.sin(turn), math.cos(turn)
    if side_data is None:
        return None
    a, b, _, c, d = struct.unpack_from("=5i", bytes(side_data))
    return a, b, c, d


def swaps_sides(filters: Filters) -> bool:
    """Whether filters show a picture as high as it is stored wide."""
    return any(name == _TRANSPOSE for name, _arguments in filters)


class PictureScaler:
    """Turns decoded pictures upright and resizes them to uint8 RGB [H, W, 3].

    Bilinear in the same step as the conversion to RGB: bit-identical to the reference's reader.
    ``matrix`` is that of pictures which do not name their own, as in :class:`ReadOptions`. What is
    stored as ``hdr`` keeps all its bits until it is SDR. ``unknown`` is told of a matrix, by its
    number in ITU-T H.273, that FFmpeg cannot convert from, such as YCgCo.
    """

    def __init__(
        self,
        size: Size,
        matrix: str = "auto",
        hdr: Hdr | None = None,
        unknown: Callable[[int], None] = ignore,
    ) -> None:
        self.size = size
        self.matrix = matrix
        self.hdr = hdr
        self._unknown = unknown
        self._upright: Filters = ()
        self._to_sdr: ToSdr | None = None
        self._made_for: tuple[object, ...] = ()
        self._graph: _Conversion | None = None
        self._last_row: _Conversion | None = None

    def __call__(self, picture: av.VideoFrame) -> RgbImage:
        stored = (picture.width, picture.height, picture.format.name, picture.colorspace)
        # Not its side data: who asks a picture for them keeps it until garbage is collected, which
        # may be a hundred pictures later.
        kind = (*stored, _primaries(picture), picture.rotation)
        if kind != self._made_for:  # first picture, or a stream that changes its size midway
            self._prepare(picture)
            self._made_for = kind
        try:
            return self._converted(picture)
        except av.error.FFmpegError:
            # A damaged stream may name colours that do not exist; then they are taken as unsaid.
            self._unknown(picture.colorspace)
            picture.colorspace = _UNSPECIFIED
            self._prepare(picture, _UNSAID)
            return self._converted(picture)

    def _converted(self, picture: av.VideoFrame) -> RgbImage:
        assert self._graph is not None
        rgb = self._graph(picture)
        if self._to_sdr is not None:
            return self._to_sdr(rgb)
        if self._last_row is not None:
            rgb[-1] = self._last_row(picture)[-1]
        return rgb

    def _prepare(self, picture: av.VideoFrame, *before: tuple[str, str]) -> None:
        """Make the graphs for pictures like this one, which these filters go ``before``."""
        self._upright = upright_filters(picture, self._upright)
        filters = (*before, *self._upright)
        if self.hdr is not None:
            colours = _input_matrix(picture, self.matrix, "bt2020") or f"+{_EXACT}"
            self._graph = _Conversion(picture, filters, self.size, colours, to=_DEEP)
            self._to_sdr = ToSdr(self.hdr, _white_of(picture))
            return
        is_hd = picture.height >= _HD_HEIGHT or picture.width >= _HD_WIDTH
        colours = _input_matrix(picture, self.matrix, "bt709" if is_hd else "bt601")
        self._graph, self._last_row = _Conversion(picture, filters, self.size, colours), None
        if not colours and self._keeps_only_height(picture):
            # The reference's FFmpeg takes chroma of an unscaled height from the nearer row of
            # two or from their mean; newer ones interpolate. These chroma positions give the
            # old rows, and the last row (always a mean there) comes from a second conversion.
            self._graph = _Conversion(picture, filters, self.size, ":in_v_chr_pos=256")
            self._last_row = _Conversion(picture, filters, self.size, ":in_v_chr_pos=512")

    def _keeps_only_height(self, picture: av.VideoFrame) -> bool:
        width, height = picture.width, picture.height
        if swaps_sides(self._upright):
            width, height = height, width
        subsampled = "420p" in picture.format.name or picture.format.name.startswith("nv12")
        return bool(subsampled and height == self.size.height and width != self.size.width)


def _input_matrix(picture: av.VideoFrame, matrix: str, usual: str) -> str:
    """What to add to the scale filter's flags for a colour matrix, empty where none is needed.

    The primaries, where a picture names them, tell the matrix, else it is the ``usual`` one:
    untagged HD is meant as BT.709, and players show it so; FFmpeg and the reference take BT.601 for
    all. Where nothing is to equal the reference, colours are rounded, not cut off.
    """
    if picture.colorspace != _UNSPECIFIED or picture.format.is_rgb or picture.format.has_palette:
        return ""
    if matrix == "auto":
        matrix = _MATRIX_OF_PRIMARIES.get(_primaries(picture), usual)
    return "" if matrix == "bt601" else f"+{_EXACT}:in_color_matrix={matrix}"


def _white_of(picture: av.VideoFrame) -> int:
    """The level of 16 bits that swscale makes of white: it adds zeros, and repeats no bits."""
    if picture.format.is_rgb or picture.color_range == _FULL_RANGE:
        bits = min(picture.format.components[0].bits, 16)  # floats have more
        return int(((1 << bits) - 1) << (16 - bits))
    return 0xFF00


def _primaries(picture: av.VideoFrame) -> int:
    """The code of a picture's colour primaries; PyAV 16 does not tell them."""
    return getattr(picture, "color_primaries", _UNSPECIFIED)


class _Conversion:
    """One filter graph: these filters, scale, RGB of the format ``to``."""

    def __init__(
        self, picture: av.VideoFrame, filters: Filters, size: Size, more: str, to: str = "rgb24"
    ) -> None:
        graph = av.filter.Graph()
        source = graph.add_buffer(
            width=picture.width,
            height=picture.height,
            format=picture.format,
            time_base=picture.time_base or Fraction(1, 1000),
        )
        scale = f"{size.width}:{size.height}:flags=bilinear{more}"
        last = (("scale", scale), ("format", to), ("buffersink", ""))
        nodes = [graph.add(name, arguments) for name, arguments in (*filters, *last)]
        graph.link_nodes(source, *nodes).configure()
        self._graph = graph

    def __call__(self, picture: av.VideoFrame) -> npt.NDArray[Any]:
        self._graph.push(picture)
        scaled: npt.NDArray[Any] = self._graph.pull().to_ndarray()
        return scaled


def resize_disparity(disparity: Disparity, size: Size) -> Disparity:
    """Disparity float32 [H, W] at another size, bilinear; it never leaves its range.

    Float arithmetic throughout: swscale would pass through 16-bit integers.
    """
    if disparity.shape == (size.height, size.width):
        return disparity
    image = Image.fromarray(np.ascontiguousarray(disparity, dtype=np.float32))
    resized = image.resize((size.width, size.height), Image.Resampling.BILINEAR)
    return np.asarray(resized, dtype=np.float32)
