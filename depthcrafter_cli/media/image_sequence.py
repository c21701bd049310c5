"""Images as a video: a folder, a numbered pattern, or one picture."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageOps

from depthcrafter_cli.errors import InputError
from depthcrafter_cli.media.decoding import require_regular
from depthcrafter_cli.media.numbered import (
    by_pattern,
    files_under,
    has_places,
    is_number_pattern,
    is_pattern,
    missing_from,
    natural_order,
    step_of,
)
from depthcrafter_cli.media.resize import require_sane
from depthcrafter_cli.media.selection import Timed
from depthcrafter_cli.progress import Warn, ignore
from depthcrafter_cli.types import RgbImage, Size, VideoInfo

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
# Pillow's names of them. It would choose any parser by a file's content, among them one that hands
# PostScript to Ghostscript.
_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")
_WHITE = 65535  # of 16-bit gray
_ORIENTATION, _LYING = 0x0112, (5, 6, 7, 8)  # EXIF 2.3, section 4.6.4
_FILMS = ("PNG", "TIFF", "WEBP")
_SUBFILE, _NO_PAGE = 254, 1 | 4  # TIFF 6.0: a reduced copy, or a mask, of another page
_MOST_LISTED = 6  # gaps named in one sentence


def is_image_sequence(path: Path) -> bool:
    """Whether a path names images rather than a video file."""
    return path.is_dir() or path.suffix.lower() in SUFFIXES or is_number_pattern(path)


class ImageSequence:
    """Images of one size in the order of the numbers in their names, at a constant rate.

    Where numbers are missing, ``gaps`` says what comes of it: ``error``, ``hold`` (the image before
    stays) or ``close`` (the next image follows at once).
    """

    def __init__(self, path: Path, rate: Fraction, gaps: str = "error") -> None:
        self.path = path
        self.rate = rate
        self.gaps = gaps

    def info(self) -> VideoInfo:
        """Reads the first image and the headers of all.

        Raises InputError if one is missing, no image, or of another size than the first.
        """
        images = self._images()
        files = list(dict.fromkeys(file for _number, file in images))
        sizes = [_stored_size(file) for file in files]
        for file, size in zip(files, sizes, strict=True):
            if size != sizes[0]:
                raise InputError(
                    f"{file} is {size}, expected {sizes[0]} as the first image of the sequence: "
                    "give all images one size."
                )
        height, width, _channels = _load(files[0]).shape
        return VideoInfo(self.path, Size(height, width), self.rate, self.rate, len(images))

    def numbers(self) -> list[int] | None:
        """The numbers that the images have in their names, None where some have none."""
        numbers = [number for number, _file in self._images()]
        return None if None in numbers else [number for number in numbers if number is not None]

    def pictures(self, start: Fraction, warn: Warn) -> Iterator[Timed[av.VideoFrame]]:
        """(seconds from the first image, seconds it is shown, picture) in order.

        They begin not much earlier than ``start``. Raises InputError for one that the system cannot
        read; ``warn`` hears of one that is broken, and of what is taken for no sequence.
        """
        images = self._images(warn)
        is_film = None
        for index in range(int(start * self.rate), len(images)):
            file = images[index][1]
            try:
                with opened_image(file) as image:
                    if is_film is None and (pages := len(pages_in(image))) > 1:
                        is_film = file
                        warn(
                            f"{file} holds {pages} pictures, and in a sequence only the first one "
                            "of each file is read."
                        )
                    rgb = rgb_of(image, file)
            except InputError as error:
                tell_of_broken(error, warn)
                return
            yield index / self.rate, 1 / self.rate, av.VideoFrame.from_ndarray(rgb, format="rgb24")

    def _images(self, warn: Warn = ignore) -> list[tuple[int | None, Path]]:
        """Each picture's file, with its number, in the order in which they are shown.

        Raises InputError for files that are none of the sequence, or that it lacks.
        """
        files, kinds = files_of(self.path), ", ".join(suffix[1:].upper() for suffix in SUFFIXES)
        if not files:
            raise InputError(f"There is no image at {self.path}, expected {kinds}: check the path.")
        if unread := next((file for file in files if file.suffix.lower() not in SUFFIXES), None):
            raise InputError(
                f"{self.path} names files such as {unread.name}, expected images of the kinds "
                f"{kinds}: convert them first."
            )
        groups = by_pattern(files)
        if is_number_pattern(self.path):
            placed = [(numbers[-1], file) for file, numbers in files_under(self.path)]
            groups = {self.path.name: sorted(placed)}
        pattern, members = max(groups.items(), key=lambda group: len(group[1]))
        if len(groups) > 1:
            self._require_no_sequence(groups, pattern, len(files), warn)
            return [(None, file) for file in sorted(files, key=natural_order)]
        if len(files) == 1 and not has_places(pattern):
            return [(None, files[0])]
        for (number, file), (other_number, other) in pairwise(members):
            if number == other_number:
                raise InputError(
                    f"{file} and {other.name} have the same number, expected one image each: "
                    "remove one of them."
                )
        return self._without_gaps(members)

    def _require_no_sequence(
        self,
        groups: Mapping[str, Sequence[tuple[int, Path]]],
        pattern: str,
        count: int,
        warn: Warn,
    ) -> None:
        """Raises InputError for files that are strangers in a sequence under ``pattern``."""
        largest = len(groups[pattern])
        if 2 * largest > count and largest > 1:
            others = [file.name for name in groups if name != pattern for _, file in groups[name]]
            shown = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
            raise InputError(
                f"{self.path} holds {largest} images called {pattern} and {count - largest} called "
                f"otherwise ({shown}), expected one sequence: move those away, or name the "
                f"sequence as {groups[pattern][0][1].with_name(pattern)}."
            )
        if largest > 1:
            warn(
                f"{self.path} holds {len(groups)} kinds of images, such as {pattern}, and all are "
                "read by the order of their names: give a pattern to read one kind."
            )

    def _without_gaps(self, members: list[tuple[int, Path]]) -> list[tuple[int | None, Path]]:
        numbers = [number for number, _file in members]
        step = step_of(numbers)
        missing = [] if step is None else missing_from(numbers, step)
        if not missing or self.gaps == "close" or step is None:
            return list(members)
        if self.gaps == "error":
            raise InputError(
                f"{self.path} lacks {_listed(missing)} of {numbers[0]} to {numbers[-1]}, expected "
                "every number: restore them, or pass --gaps hold (the image before stays) or "
                "--gaps close (the next one follows at once)."
            )
        files, held = dict(members), members[0][1]
        filled: list[tuple[int | None, Path]] = []
        for number in range(numbers[0], numbers[-1] + 1, step):
            held = files.get(number, held)
            filled.append((number, held))
        return filled


def _listed(missing: Sequence[range]) -> str:
    """Ranges of numbers as people write them."""
    texts = [
        str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]}-{numbers[-1]}"
        for numbers in missing[:_MOST_LISTED]
    ]
    left = sum(map(len, missing[_MOST_LISTED:]))
    return ", ".join(texts) + (f" and {left} more" if left else "")


def files_of(path: Path) -> list[Path]:
    """The image files that a folder, a pattern or a single path stands for, in no order."""
    if path.is_dir():
        return images_in(path)
    if is_pattern(path):
        return [file for file, _numbers in files_under(path)]
    return [path] if path.exists() else []


def images_in(folder: Path) -> list[Path]:
    """Files of a kind that can be read, hidden ones (such as macOS leaves) aside; in no order."""
    return [
        file
        for file in folder.iterdir()
        if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")
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


def tell_of_broken(error: InputError, warn: Warn) -> None:
    """Tells of a broken image; raises ``error`` if it was the system that could not read it."""
    cause = error.__cause__
    if isinstance(cause, OSError) and cause.errno:
        raise error  # the disk or the share, not the image
    warn(f"{error} The result ends before it.")


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


def _load(file: Path) -> RgbImage:
    with opened_image(file) as opened:
        return rgb_of(opened, file)


def rgb_of(opened: Image.Image, file: Path) -> RgbImage:
    """The current picture of an image, upright.

    Raises InputError for numbers that are no levels.
    """
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
