"""Images as a video: a folder, a numbered pattern, or one picture."""

import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageOps

from depthcrafter_cli.errors import InputError
from depthcrafter_cli.media.decoding import require_regular
from depthcrafter_cli.media.resize import require_sane
from depthcrafter_cli.media.selection import Timed
from depthcrafter_cli.types import RgbImage, Size, VideoInfo

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
# Pillow's names of them. It would choose any parser by a file's content, among them one that hands
# PostScript to Ghostscript.
_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")
_WHITE = 65535  # of 16-bit gray
_ORIENTATION, _LYING = 0x0112, (5, 6, 7, 8)  # EXIF 2.3, section 4.6.4
_NUMBER_PATTERN = re.compile(r"%0?\d*d")


def is_image_sequence(path: Path) -> bool:
    """Whether a path names images rather than a video file."""
    return path.is_dir() or path.suffix.lower() in SUFFIXES


class ImageSequence:
    """Images of one size in the order of the numbers in their names, at a constant rate."""

    def __init__(self, path: Path, rate: Fraction) -> None:
        self.path = path
        self.rate = rate

    def info(self) -> VideoInfo:
        """Reads the first image and the headers of all.

        Raises InputError if one is missing, no image, or of another size than the first.
        """
        files = self._files()
        sizes = [_stored_size(file) for file in files]
        for file, size in zip(files, sizes, strict=True):
            if size != sizes[0]:
                raise InputError(
                    f"{file} is {size}, expected {sizes[0]} as the first image of the sequence: "
                    "give all images one size."
                )
        height, width, _channels = _load(files[0]).shape
        return VideoInfo(self.path, Size(height, width), self.rate, self.rate, len(files))

    def pictures(
        self, start: Fraction, warn: Callable[[str], None]
    ) -> Iterator[Timed[av.VideoFrame]]:
        """(seconds from the first image, seconds it is shown, picture) in order.

        They begin not much earlier than ``start``.

        Raises InputError for one that the system cannot read; ``warn`` hears of one that is broken.
        """
        files = self._files()
        for index in range(int(start * self.rate), len(files)):
            try:
                rgb = _load(files[index])
            except InputError as error:
                if isinstance(error.__cause__, OSError) and error.__cause__.errno:
                    raise  # the disk or the share, not the image
                warn(f"{error} The result ends before it.")
                return
            yield index / self.rate, 1 / self.rate, av.VideoFrame.from_ndarray(rgb, format="rgb24")

    def _files(self) -> list[Path]:
        if self.path.is_dir():
            found = images_in(self.path)
        elif match := _NUMBER_PATTERN.search(self.path.name):
            before, after = self.path.name[: match.start()], self.path.name[match.end() :]
            numbered = re.compile(re.escape(before) + r"\d+" + re.escape(after))
            folder = self.path.parent
            entries = folder.iterdir() if folder.is_dir() else iter(())
            found = [file for file in entries if numbered.fullmatch(file.name)]
        else:
            found = [self.path] if self.path.exists() else []
        if not found:
            raise InputError(
                f"There is no image at {self.path}, expected "
                f"{', '.join(suffix[1:].upper() for suffix in SUFFIXES)}: check the path."
            )
        return sorted(found, key=natural_order)


def images_in(folder: Path) -> list[Path]:
    """Files of a kind that can be read, hidden ones (such as macOS leaves) aside; in no order."""
    return [
        file
        for file in folder.iterdir()
        if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")
    ]


def natural_order(file: Path) -> list[tuple[int, str]]:
    """frame2 before frame10."""
    return [
        (int(part), "") if part.isdecimal() else (-1, part)
        for part in re.split(r"(\d+)", file.name)
    ]


def _stored_size(file: Path) -> Size:
    """As it is shown, from the header alone: quick for thousands of images."""
    with opened_image(file) as image:
        size = Size(image.height, image.width)
        in_header = image.format != "PNG" or "exif" in image.info  # or all of it would be decoded
        if in_header and image.getexif().get(_ORIENTATION) in _LYING:
            size = Size(image.width, image.height)
    require_sane(file, size)
    return size


@contextmanager
def opened_image(file: Path) -> Iterator[Image.Image]:
    """An image, inside which whatever is wrong with it raises InputError, naming the file."""
    try:
        require_regular(file)
        with warnings.catch_warnings():
            # What is too large is refused by us.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(file, formats=_FORMATS)
        with image:
            yield image
    except InputError:
        raise
    except Exception as error:  # Pillow lets through whatever its parsers stumble over
        raise InputError(
            f"{file} cannot be read as an image ({str(error) or type(error).__name__}), expected "
            "a complete one: replace or remove it."
        ) from error


def _load(file: Path) -> RgbImage:
    with opened_image(file) as opened:
        image = ImageOps.exif_transpose(opened)
        if image.mode[0] not in "IF":
            return np.asarray(image.convert("RGB"))
        gray = np.asarray(image)  # Pillow would clip it to 255
    if gray.dtype.kind == "f" or gray.min() < 0 or gray.max() > _WHITE:
        raise InputError(
            f"{file} holds numbers from {gray.min():g} to {gray.max():g} of type {gray.dtype}, "
            "expected 8 or 16 bits a channel: convert the images first."
        )
    levels = (gray / (_WHITE / 255)).round().astype(np.uint8)
    return np.repeat(levels[..., None], 3, axis=-1)
