"""Single pictures: which kinds of files are read, and how. To add one, add an entry to _KINDS."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from depthcrafter_cli.errors import InputError
from depthcrafter_cli.media.decoding import image_errors, require_regular
from depthcrafter_cli.media.openexr import aspect_of_exr, displayed, read_exr, size_of_exr
from depthcrafter_cli.media.pyav_reader import VideoFile
from depthcrafter_cli.media.rare_tiff import (
    LYING,
    ORIENTATION,
    PHOTOMETRIC,
    WHITE_IS_0,
    is_rare_tiff,
    is_tiff,
    read_rare_tiff,
    size_of_rare_tiff,
)
from depthcrafter_cli.media.resize import require_sane
from depthcrafter_cli.types import RgbImage, Size

_MOST_ASPECT, _FINEST_ASPECT = Fraction(10), 10_000  # of pixels: what is beyond means nothing
_WHITE = 65535  # of 16-bit gray
_FILMS = ("PNG", "TIFF", "WEBP")
_SUBFILE, _NO_PAGE = 254, 1 | 4  # TIFF 6.0: a reduced copy, or a mask, of another page
_DPX_TRANSFER, _DPX_LOG = 801, (b"\1", b"\3")  # of the first channel: printing density, log
_BITS, _COMPRESSION, _PLANES, _NONE, _APART = 258, 259, 284, 1, 2  # TIFF 6.0 as well


class Picture(NamedTuple):
    """A picture as a decoder hands it out, and how many its file holds."""

    frame: av.VideoFrame
    pages: int = 1


class _Kind(NamedTuple):
    """How files of a kind are read.

    ``size`` gives that of the picture turned upright, from the header alone; ``read`` the picture,
    with the exposure in stops that applies to linear light; ``pixel_aspect`` a pixel's width to its
    height, if the kind tells it reliably. All raise InputError.
    """

    name: str
    size: Callable[[Path], Size]
    read: Callable[[Path, float], Picture]
    pixel_aspect: Callable[[Path], Fraction] | None = None


def suffixes() -> tuple[str, ...]:
    """Those of files that are pictures, rather than videos."""
    return tuple(_KINDS)


def is_picture(path: Path) -> bool:
    """Whether a file's suffix is that of a picture."""
    return path.suffix.lower() in _KINDS


def may_hold_several(path: Path) -> bool:
    """Whether a file is of a kind that can be a film as well, by its suffix."""
    return is_picture(path) and _KINDS[path.suffix.lower()].read in _BY_PILLOW


def kinds_read() -> str:
    """Return the names of the kinds of pictures that are read, for messages."""
    return ", ".join(dict.fromkeys(kind.name for kind in _KINDS.values()))


def stored_size(file: Path) -> Size:
    """The size of the picture as it is shown: quick for thousands of images.

    Raises InputError for a file that is no such picture, or one too large to decode.
    """
    size = _KINDS[file.suffix.lower()].size(file)
    require_sane(file, size)
    return size


def read_picture(file: Path, exposure: float = 0.0) -> Picture:
    """The picture in a file, the first one of several; ``exposure`` in stops for linear light.

    Raises InputError for a file that is no whole picture.
    """
    return _KINDS[file.suffix.lower()].read(file, exposure)


def pixel_aspect(file: Path) -> Fraction:
    """A pixel's width to its height. Raises InputError."""
    told = _KINDS[file.suffix.lower()].pixel_aspect
    aspect = Fraction(1) if told is None else told(file).limit_denominator(_FINEST_ASPECT)
    return aspect if 1 / _MOST_ASPECT <= aspect <= _MOST_ASPECT else Fraction(1)


def is_logarithmic(file: Path) -> bool:
    """Whether a picture says that its levels are those of film or log (DPX: SMPTE 268M)."""
    if file.suffix.lower() != ".dpx":
        return False
    with file.open("rb") as header:
        header.seek(_DPX_TRANSFER)
        return header.read(1) in _DPX_LOG


@contextmanager
def opened_image(file: Path) -> Iterator[Image.Image]:
    """An image, inside which whatever is wrong with it raises InputError, naming the file."""
    with image_errors(file):  # Pillow lets through whatever its parsers stumble over
        require_regular(file)
        try:
            with warnings.catch_warnings():
                # What is too large is refused by us.
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                image = Image.open(file, formats=_formats())
            with image:
                yield image
        except UnidentifiedImageError as error:
            if not is_tiff(file):
                raise
            raise InputError(
                f"{file} cannot be read as an image (a TIFF that is damaged or of a rare kind), "
                "expected 8 or 16 bits a channel, or floats: replace or convert it."
            ) from error


def pages_in(image: Image.Image) -> list[int]:
    """The numbers of the pictures that an image file holds, from 0.

    Previews and second views of a JPEG are none, nor are reduced copies and masks in a TIFF.
    """
    count = getattr(image, "n_frames", 1) if image.format in _FILMS else 1
    if count == 1 or image.format != "TIFF":
        return list(range(count))
    pages = []
    for page in range(count):
        image.seek(page)
        if not image.getexif().get(_SUBFILE, 0) & _NO_PAGE:
            pages.append(page)
    image.seek(0)
    return pages or [0]


def rgb_of(opened: Image.Image, file: Path) -> RgbImage:
    """The current picture of an image, upright.

    Raises InputError for numbers that are no levels, and for pages that Pillow reads wrong.
    """
    if _mixes_channels(opened):
        raise InputError(
            f"{file} has several pages with 16 bits whose channels are stored apart, expected them "
            "together, or compressed: convert it first."
        )
    image = ImageOps.exif_transpose(opened)
    if image.mode[0] not in "IF":
        return np.asarray(image.convert("RGB"))
    gray = np.asarray(image)  # Pillow would clip it to 255
    if opened.format == "TIFF" and opened.getexif().get(PHOTOMETRIC) == WHITE_IS_0:
        gray = _WHITE - gray  # which Pillow does for 8 bits alone
    if gray.dtype.kind == "f" or gray.min() < 0 or gray.max() > _WHITE:
        raise InputError(
            f"{file} holds numbers from {gray.min():g} to {gray.max():g} of type {gray.dtype}, "
            "expected 8 or 16 bits a channel: convert the images first."
        )
    levels = (gray / (_WHITE / 255)).round().astype(np.uint8)
    return np.repeat(levels[..., None], 3, axis=-1)


def _mixes_channels(image: Image.Image) -> bool:
    """Whether it is a TIFF whose channels of 16 bits Pillow mixes up."""
    tags: Mapping[int, Any] = getattr(image, "tag_v2", {})
    is_plain = tags.get(_COMPRESSION, _NONE) == _NONE and tags.get(_PLANES) == _APART
    return is_plain and max(tags.get(_BITS, (8,))) > 8


def _size_by_pillow(file: Path) -> Size:
    with opened_image(file) as image:
        size = Size(image.height, image.width)
        in_header = image.format != "PNG" or "exif" in image.info  # or all of it would be decoded
        if in_header and image.getexif().get(ORIENTATION) in LYING:
            size = Size(image.width, image.height)
    return size


def _read_by_pillow(file: Path, _exposure: float) -> Picture:
    with opened_image(file) as image:
        pages = len(pages_in(image))
        if pages == 1 and _mixes_channels(image):
            return _read_by_ffmpeg(file, _exposure)
        return _as_picture(rgb_of(image, file), pages)


def _size_of_tiff(file: Path) -> Size:
    return size_of_rare_tiff(file) if is_rare_tiff(file) else _size_by_pillow(file)


def _read_tiff(file: Path, exposure: float) -> Picture:
    if is_rare_tiff(file):
        rgb, pages = read_rare_tiff(file, exposure)
        return _as_picture(rgb, pages)
    return _read_by_pillow(file, exposure)


def _size_by_ffmpeg(file: Path) -> Size:
    return VideoFile(file).stored_size()


def _read_by_ffmpeg(file: Path, _exposure: float) -> Picture:
    damage: list[str] = []
    frames = [
        frame for _time, _shown, frame in VideoFile(file).pictures(Fraction(0), damage.append)
    ]
    if not frames or damage:
        raise InputError(
            f"{file} cannot be read as an image ({' '.join(damage) or 'it is broken'}), expected a "
            "complete one: replace or remove it."
        )
    return Picture(frames[0])


def _read_radiance(file: Path, exposure: float) -> Picture:
    """Linear light, as that of OpenEXR."""
    light = _read_by_ffmpeg(file, exposure).frame.to_ndarray(format="gbrpf32le")
    return _as_picture(displayed(light, exposure))


def _read_openexr(file: Path, exposure: float) -> Picture:
    return _as_picture(read_exr(file, exposure))


def _as_picture(shown: RgbImage, pages: int = 1) -> Picture:
    return Picture(av.VideoFrame.from_ndarray(shown, format="rgb24"), pages)


def _aspect_by_ffmpeg(file: Path) -> Fraction:
    shape = VideoFile(file).info().anamorphic
    return Fraction(1) if shape is None else shape.pixel_aspect


def _by_pillow(name: str) -> _Kind:
    """A kind by Pillow's name of it."""
    return _Kind(name, _size_by_pillow, _read_by_pillow)


def _formats() -> list[str]:
    """Those that Pillow may choose from.

    By a file's content it would choose any parser, among them one that hands PostScript to
    Ghostscript.
    """
    by_pillow = (kind.name for kind in _KINDS.values() if kind.read in _BY_PILLOW)
    return list(dict.fromkeys(by_pillow))


def _by_ffmpeg(name: str) -> _Kind:
    return _Kind(name, _size_by_ffmpeg, _read_by_ffmpeg, _aspect_by_ffmpeg)


_BY_PILLOW = _read_by_pillow, _read_tiff
_TIFF = _Kind("TIFF", _size_of_tiff, _read_tiff)
_KINDS: Mapping[str, _Kind] = {
    ".png": _by_pillow("PNG"),
    ".jpg": _by_pillow("JPEG"),
    ".jpeg": _by_pillow("JPEG"),
    ".jpe": _by_pillow("JPEG"),
    ".jfif": _by_pillow("JPEG"),
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".bmp": _by_pillow("BMP"),
    ".webp": _by_pillow("WEBP"),
    ".ppm": _by_pillow("PPM"),
    ".pgm": _by_pillow("PPM"),
    ".pnm": _by_pillow("PPM"),
    ".exr": _Kind("EXR", size_of_exr, _read_openexr, aspect_of_exr),
    ".hdr": _Kind("Radiance HDR", _size_by_ffmpeg, _read_radiance),
    ".dpx": _by_ffmpeg("DPX"),
    ".tga": _by_ffmpeg("TGA"),
    ".jp2": _by_ffmpeg("JPEG 2000"),
    ".j2k": _by_ffmpeg("JPEG 2000"),
}
