"""TIFF that Pillow cannot read: linear light in floating-point numbers, and big-endian BigTIFF."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from depthcrafter_cli.errors import InputError
from depthcrafter_cli.media.decoding import image_errors, require_regular
from depthcrafter_cli.media.files import missing_package
from depthcrafter_cli.media.openexr import displayed
from depthcrafter_cli.types import RgbImage, Size

_BIG_ENDIAN_BIG = b"MM\0+"
# Tags and their values, TIFF 6.0.
_SAMPLE_FORMAT, _IEEE_FLOAT = 339, 3
PHOTOMETRIC, ORIENTATION = 262, 274
WHITE_IS_0, _BLACK_IS_0, _RGB = 0, 1, 2
# How the first page's place, the number of its entries and an entry are stored, by version: that
# of TIFF, and that of BigTIFF. An entry ends with its values or their place.
_FORMS = {42: ("4xI", "H", "HHII"), 43: ("8xQ", "Q", "HHQQ")}
_VALUE_AT = {42: 8, 43: 12}
_ODD_BITS = 24  # of a float, which NumPy does not know
_MOST = {"uint8": 255, "uint16": 65535}  # of levels, by their type
LYING = (5, 6, 7, 8)  # of orientations: rows are shown as columns
_MIRRORED, _UPSIDE_DOWN = (2, 3, 6, 7), (3, 4, 7, 8)  # after that


def is_tiff(file: Path) -> bool:
    """Whether a file begins as a TIFF, or BigTIFF, does. Raises OSError."""
    with file.open("rb") as opened:
        return opened.read(4) in (b"II*\0", b"MM\0*", b"II+\0", _BIG_ENDIAN_BIG)


def is_rare_tiff(file: Path) -> bool:
    """Whether a file is a TIFF of floats, or a big-endian BigTIFF, by the header of its first page.

    Raises InputError for what is no file.
    """
    require_regular(file)
    # ValueError: a place that no file reaches.
    with suppress(struct.error, OSError, ValueError), file.open("rb") as opened:
        is_big = opened.read(4) == _BIG_ENDIAN_BIG
        opened.seek(0)
        return is_big or _sample_format(opened) == _IEEE_FLOAT
    return False


def _sample_format(file: BinaryIO) -> int:
    """What kind of numbers a TIFF's first page holds, 0 where it is not said.

    Raises struct.error for a file that is cut off.
    """
    head = file.read(16)
    order = ">" if head[:2] == b"MM" else "<"
    (version,) = struct.unpack(order + "H", head[2:4])
    if version not in _FORMS:
        return 0
    first, count, entry = (struct.Struct(order + form) for form in _FORMS[version])
    file.seek(*first.unpack_from(head))
    (entries,) = count.unpack(file.read(count.size))
    for _ in range(entries):
        stored = file.read(entry.size)
        tag, _kind, values, place = entry.unpack(stored)
        if tag == _SAMPLE_FORMAT:
            value = stored[_VALUE_AT[version] :]  # where a place would be, if there is room
            if 2 * values > len(value):
                file.seek(place)
                value = file.read(2)
            return int(*struct.unpack_from(order + "H", value))
    return 0


def size_of_rare_tiff(file: Path) -> Size:
    """The size as it is shown. Raises InputError."""
    with _first_page(file) as (page, _count):
        height, width = page.imagelength, page.imagewidth
        return Size(width, height) if _tag(page, ORIENTATION) in LYING else Size(height, width)


def read_rare_tiff(file: Path, exposure: float) -> tuple[RgbImage, int]:
    """What is shown, upright, with ``exposure`` stops more light, and how many pages there are.

    Levels, which are no light, have no exposure. Raises InputError for a broken file, for colours
    that are neither RGB nor gray, and for levels of other than 8 or 16 bits.
    """
    with _first_page(file) as (page, count):
        meaning = _tag(page, PHOTOMETRIC, _BLACK_IS_0)
        if meaning not in (WHITE_IS_0, _BLACK_IS_0, _RGB):
            raise InputError(
                f"{file} holds {page.photometric.name} as {page.dtype}, expected RGB or gray: "
                "convert it first."
            )
        # Planes, depth, height, width, channels: one of the first and the last is 1.
        planes = page.asarray(maxworkers=1).reshape(page.shaped)[:, 0]
        most = _MOST.get(planes.dtype.name, 1)
        if most == 1 and planes.dtype.kind != "f":
            raise InputError(
                f"{file} holds numbers of type {planes.dtype}, expected 8 or 16 bits a channel, or "
                "floats: convert it first."
            )
        _planes, height, width, _channels = planes.shape
        light = planes.astype(np.float32).transpose(1, 2, 3, 0).reshape(height, width, -1) / most
        light = light[..., :3] if meaning == _RGB else np.repeat(light[..., :1], 3, axis=-1)
        if meaning == WHITE_IS_0:
            light = 1 - light
        shown = displayed(light, exposure) if most == 1 else (light * 255).round().astype(np.uint8)
        return _upright(shown, _tag(page, ORIENTATION)), count


@contextmanager
def _first_page(file: Path) -> Iterator[tuple[Any, int]]:
    """A file's first page and how many there are; inside, what is wrong with it is InputError."""
    _require(file, "tifffile")
    import tifffile

    # The packages let through whatever their parsers stumble over.
    with image_errors(file), tifffile.TiffFile(file) as opened:
        page = opened.pages.first
        is_plain = page.compression == page.predictor == 1 and page.bitspersample % 8 == 0
        if not is_plain or page.bitspersample == _ODD_BITS:
            _require(file, "imagecodecs")
        yield page, len(opened.pages)


def _require(file: Path, package: str) -> None:
    otherwise = "convert it to OpenEXR or 16-bit TIFF"
    if lacking := missing_package(file, package, "tiff", otherwise):
        raise InputError(lacking)


def _tag(page: Any, code: int, missing: int = 1) -> int:
    return int(page.tags.valueof(code, missing))


def _upright(stored: RgbImage, orientation: int) -> RgbImage:
    """A picture [H, W, 3] turned and mirrored as its EXIF orientation says."""
    shown = stored
    if orientation in LYING:
        shown = shown.swapaxes(0, 1)
    if orientation in _MIRRORED:
        shown = shown[:, ::-1]
    if orientation in _UPSIDE_DOWN:
        shown = shown[::-1]
    return np.ascontiguousarray(shown)
