"""OpenEXR: linear light, in parts, layers and windows, as a display shows it."""

import math
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from fractions import Fraction
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from depthcrafter_cli.errors import InputError
from depthcrafter_cli.media.decoding import image_errors, require_regular
from depthcrafter_cli.media.files import missing_package
from depthcrafter_cli.types import RgbImage, Size


def size_of_exr(file: Path) -> Size:
    """The size that is shown, whatever is stored. Raises InputError."""
    with _opened_exr(file, header_only=True) as image:
        for part in _flat_parts(image, file):
            if _colour_channels(channel.name for channel in part.header["channels"]):
                return _display_window(part.header)[1]
    raise InputError(
        f"{file} holds no colours, expected channels R, G and B, or Y: choose the pass that does."
    )


def read_exr(file: Path, exposure: float) -> RgbImage:
    """What is shown, with ``exposure`` stops more light, and black around what is stored.

    Raises InputError.
    """
    with _opened_exr(file, header_only=False) as image:
        part, names = _light_in(_flat_parts(image, file), file)
        stored = np.stack([part.channels[name].pixels for name in names], axis=-1)
        left_top, size = _display_window(part.header)
        shift = np.array(part.header["dataWindow"][0]) - left_top
    return _placed(displayed(stored.astype(np.float32), exposure), shift, size)


def _light_in(parts: list[Any], file: Path) -> tuple[Any, list[str]]:
    """The first part with colours, and the names of its channels for red, green and blue.

    Raises InputError where these are whole numbers, which name objects rather than tell light.
    """
    whole: list[str] = []
    for part in parts:
        if names := _colour_channels(
            name for name, each in part.channels.items() if each.pixels.dtype.kind == "f"
        ):
            return part, names
        whole += _colour_channels(part.channels)
    if whole:
        raise InputError(
            f"{file} holds whole numbers in its channel {whole[0]} (UINT, as ids and masks are), "
            "expected light, in half or float: choose the pass that holds colours."
        )
    raise RuntimeError("some of its pixels are missing")  # such channels are not handed out


def _flat_parts(image: Any, file: Path) -> list[Any]:
    """The parts that hold one value a pixel; none of a broken image.

    Raises InputError if all are deep.
    """
    flat = [part for part in image.parts if not part.type().name.startswith("deep")]
    if image.parts and not flat:
        raise InputError(
            f"{file} is a deep image, expected one value a pixel: flatten it first (DeepToImage)."
        )
    return flat


def aspect_of_exr(file: Path) -> Fraction:
    """A pixel's width to its height. Raises InputError."""
    with _opened_exr(file, header_only=True) as image:
        told = float(image.parts[0].header.get("pixelAspectRatio", 1))
    return Fraction(told) if math.isfinite(told) else Fraction(1)


@contextmanager
def _opened_exr(file: Path, *, header_only: bool) -> Iterator[Any]:
    """An image of the package OpenEXR, inside which its errors raise InputError."""
    require_regular(file)
    if lacking := missing_package(file, "OpenEXR", "exr", "convert it to 16-bit PNG or TIFF"):
        raise InputError(lacking)
    import OpenEXR

    with image_errors(file, (RuntimeError, ValueError, TypeError, KeyError)):
        with redirect_stdout(StringIO()):  # where it says itself what it stumbles over
            name = os.fsencode(file)  # as text, only UTF-8
            image = OpenEXR.File(name, separate_channels=True, header_only=header_only)
        with image:
            yield image


def _colour_channels(names: Iterable[str]) -> list[str]:
    """The channels for red, green and blue, or three times gray; none if there are none.

    Those of a layer are called such as ``ViewLayer.Combined.R``. Those of no layer come first, then
    a renderer's combined one.
    """
    there = list(names)
    for wanted in (("R", "G", "B"), ("Y", "Y", "Y")):
        layers = (name.removesuffix(wanted[0]) for name in there if _last(name) == wanted[0])
        for layer in sorted(
            layers, key=lambda layer: (layer != "", "combined" not in layer.lower())
        ):
            channels = [layer + name for name in wanted]
            # Beside X and Z, Y is a part of a vector, such as a normal.
            if set(channels) <= set(there) and not {layer + "X", layer + "Z"} <= set(there):
                return channels
    return []


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _display_window(header: Mapping[str, Any]) -> tuple[npt.NDArray[np.int32], Size]:
    """Its left upper corner, as x and y, and its size: what is shown, whatever is stored."""
    first, last = (np.array(corner) for corner in header["displayWindow"])
    width, height = last - first + 1
    return first, Size(int(height), int(width))


def displayed(light: npt.NDArray[np.float32], exposure: float) -> RgbImage:
    """Linear light as a display shows it: scaled by 2 ** exposure, 1 is white, by sRGB's curve.

    That of IEC 61966-2-1; what is no number is black.
    """
    clipped = np.clip(np.nan_to_num(light * np.float32(2.0**exposure)), 0, 1)
    curve = np.where(clipped <= 0.0031308, 12.92 * clipped, 1.055 * clipped ** (1 / 2.4) - 0.055)
    shown: RgbImage = np.rint(curve * 255).astype(np.uint8)
    return shown


def _placed(stored: RgbImage, shift: npt.NDArray[np.signedinteger], size: Size) -> RgbImage:
    """Pixels that are stored at ``shift`` from the corner of what is shown, black around them."""
    shown = np.zeros((size.height, size.width, 3), np.uint8)
    (left, top), (height, width) = shift, stored.shape[:2]
    rows = slice(max(top, 0), min(top + height, size.height))
    columns = slice(max(left, 0), min(left + width, size.width))
    if rows.start < rows.stop and columns.start < columns.stop:
        shown[rows, columns] = stored[
            rows.start - top : rows.stop - top, columns.start - left : columns.stop - left
        ]
    return shown
