"""Pictures that are films: animated WebP, and TIFF of several pages."""

from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
from PIL import Image

from depthcrafter_cli.errors import InputError
from depthcrafter_cli.media.image_sequence import tell_of_broken
from depthcrafter_cli.media.images import opened_image, pages_in, rgb_of
from depthcrafter_cli.media.rare_tiff import is_rare_tiff
from depthcrafter_cli.media.resize import require_sane
from depthcrafter_cli.media.selection import Timed
from depthcrafter_cli.progress import Warn
from depthcrafter_cli.types import Size, VideoInfo

_UNTIMED = Fraction(1, 10)  # second: what browsers take where a picture names no duration


class PagedImage:
    """The pictures in one image file, as a video; opened anew by each method.

    ``rate`` is that of pages which name no durations, as those of TIFF.
    """

    def __init__(self, path: Path, rate: Fraction) -> None:
        self.path = path
        self.rate = rate

    def info(self) -> VideoInfo:
        """Reads the first picture, and the others as far as their durations need it.

        Raises InputError for a broken picture, and for one of another size than the first.
        """
        with opened_image(self.path) as image:
            pages = pages_in(image)
            sizes, durations = [], []
            for page in pages:
                image.seek(page)
                sizes.append(Size(image.height, image.width))
                require_sane(self.path, sizes[-1])
                durations.append(self._duration(image))
            for number, size in enumerate(sizes, 1):
                if size != sizes[0]:
                    raise InputError(
                        f"Page {number} of {self.path} is {size}, expected {sizes[0]} as the first "
                        "page: give all pages one size."
                    )
            image.seek(pages[0])
            height, width, _channels = rgb_of(image, self.path).shape
        rate = len(durations) / sum(durations, Fraction(0))
        return VideoInfo(
            self.path, Size(height, width), rate, 1 / min(durations), len(pages), of_images=True
        )

    def pictures(self, start: Fraction, warn: Warn) -> Iterator[Timed[av.VideoFrame]]:
        """(seconds from the first picture, seconds it is shown, picture) in order, from the first.

        Raises InputError for what the system cannot read; ``warn`` is told of a picture that is
        broken.
        """
        try:
            yield from self._pages()
        except InputError as error:
            tell_of_broken(error, warn)

    def first_times(self, count: int) -> list[Fraction]:
        """When the first so many pictures are shown, in seconds; fewer where there are fewer."""
        return [time for time, _duration, _picture in islice(self._pages(), count)]

    def _pages(self) -> Iterator[Timed[av.VideoFrame]]:
        time = Fraction(0)
        with opened_image(self.path) as image:
            for page in pages_in(image):
                image.seek(page)
                duration = self._duration(image)
                rgb = rgb_of(image, self.path)
                yield time, duration, av.VideoFrame.from_ndarray(rgb, format="rgb24")
                time += duration

    def _duration(self, image: Image.Image) -> Fraction:
        """Seconds that the image's current page is shown."""
        if image.format == "TIFF":
            return 1 / self.rate
        image.load()
        return Fraction(image.info.get("duration", 0)) / 1000 or _UNTIMED


def film_format(path: Path) -> str | None:
    """Pillow's name of the format of an image file that holds several pictures, None for others.

    None for a TIFF of floats as well, of which the first page is read. Raises InputError for what
    is no image.
    """
    if is_rare_tiff(path):
        return None
    with opened_image(path) as image:
        return image.format if len(pages_in(image)) > 1 else None
