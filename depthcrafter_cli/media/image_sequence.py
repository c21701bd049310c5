"""Images as a video: a folder, a numbered pattern, or one picture."""

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av

from depthcrafter_cli.errors import InputError
from depthcrafter_cli.media.images import (
    is_logarithmic,
    is_picture,
    kinds_read,
    pixel_aspect,
    read_picture,
    stored_size,
)
from depthcrafter_cli.media.numbered import (
    by_pattern,
    files_in,
    files_under,
    has_places,
    is_number_pattern,
    is_pattern,
    missing_from,
    natural_order,
    step_of,
)
from depthcrafter_cli.media.resize import as_shown
from depthcrafter_cli.media.selection import Timed
from depthcrafter_cli.progress import Warn, ignore
from depthcrafter_cli.types import Anamorphic, Size, VideoInfo

_MOST_LISTED = 6  # gaps named in one sentence


def is_image_sequence(path: Path) -> bool:
    """Whether a path names images rather than a video file."""
    return path.is_dir() or is_picture(path) or is_number_pattern(path)


class ImageSequence:
    """Images of one size in the order of the numbers in their names, at a constant rate.

    Where numbers are missing, ``gaps`` says what comes of it: ``error``, ``hold`` (the image before
    stays) or ``close`` (the next image follows at once). ``exposure`` brightens linear light, in
    stops.
    """

    def __init__(
        self, path: Path, rate: Fraction, gaps: str = "error", exposure: float = 0.0
    ) -> None:
        self.path = path
        self.rate = rate
        self.gaps = gaps
        self.exposure = exposure

    def info(self) -> VideoInfo:
        """Reads the first image and the headers of all.

        Raises InputError if one is missing, no image, or of another size than the first.
        """
        images = self._images()
        files = list(dict.fromkeys(file for _number, file in images))
        sizes = [stored_size(file) for file in files]
        for file, size in zip(files, sizes, strict=True):
            if size != sizes[0]:
                raise InputError(
                    f"{file} is {size}, expected {sizes[0]} as the first image of the sequence: "
                    "give all images one size."
                )
        first, aspect = read_picture(files[0]).frame, pixel_aspect(files[0])
        stored = Size(first.height, first.width)
        return VideoInfo(
            path=self.path,
            size=as_shown(stored, aspect),
            rate=self.rate,
            peak_rate=self.rate,
            frame_count=len(images),
            anamorphic=None if aspect == 1 else Anamorphic(stored, aspect),
            of_images=True,
        )

    def numbers(self) -> list[int | None]:
        """The numbers that the images have in their names, None for each that has none."""
        return [number for number, _file in self._images()]

    def pictures(self, start: Fraction, warn: Warn) -> Iterator[Timed[av.VideoFrame]]:
        """(seconds from the first image, seconds it is shown, picture) in order.

        They begin not much earlier than ``start``. Raises InputError for one that the system cannot
        read; ``warn`` is told of one that is broken, and of what is taken for no sequence.
        """
        images = self._images(warn)
        is_film, begin = None, int(start * self.rate)
        for index in range(begin, len(images)):
            file = images[index][1]
            try:
                picture = read_picture(file, self.exposure)
            except InputError as error:
                tell_of_broken(error, warn)
                return
            if index == begin and is_logarithmic(file):
                warn(
                    f"{file} holds logarithmic levels, as film is scanned, and the model sees them "
                    "as they are stored, rather flat: convert it to display light first."
                )
            if is_film is None and picture.pages > 1:
                is_film = file
                warn(
                    f"{file} holds {picture.pages} pictures, and in a sequence only the first one "
                    "of each file is read."
                )
            yield index / self.rate, 1 / self.rate, picture.frame

    def _images(self, warn: Warn = ignore) -> list[tuple[int | None, Path]]:
        """Each picture's file, with its number, in the order in which they are shown.

        Raises InputError for files that are none of the sequence, or that it lacks.
        """
        files, kinds = list(files_of(self.path)), kinds_read()
        others = files_in(self.path) if self.path.is_dir() and not files else files
        if unread := next(
            (file for file in others if file.is_file() and not is_picture(file)), None
        ):
            raise InputError(
                f"{self.path} holds files such as {unread.name}, expected images of the kinds "
                f"{kinds}: convert them first, or give a video by its own name."
            )
        if not files:
            raise InputError(f"There is no image at {self.path}, expected {kinds}: check the path.")
        groups = by_pattern(files)
        if is_number_pattern(self.path):
            placed = [(numbers[-1], file) for file, numbers in files_under(self.path)]
            groups = {self.path.name: sorted(placed)}
        pattern, members = max(groups.items(), key=lambda group: len(group[1]))
        if len(groups) > 1:
            self._require_no_sequence(groups, len(files), warn)
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
        self, groups: Mapping[str, Sequence[tuple[int, Path]]], count: int, warn: Warn
    ) -> None:
        """Raises InputError for several sequences, and for files that are strangers in one."""
        pattern, *others = names = sorted(groups, key=lambda name: (-len(groups[name]), name))
        places = [groups[name][0][1].with_name(name) for name in names if len(groups[name]) > 1]
        if len(places) > 1:
            shown = [f"{place.name} ({len(groups[place.name])} images)" for place in places]
            raise InputError(
                f"{self.path} holds {len(places)} sequences, {_some(shown)}, expected one: name it "
                f"as {places[0]} or {places[1]}."
            )
        largest = len(groups[pattern])
        if 2 * largest > count and largest > 1:
            strangers = [file.name for name in others for _, file in groups[name]]
            raise InputError(
                f"{self.path} holds {largest} images called {pattern} and {count - largest} called "
                f"otherwise ({_some(strangers)}), expected one sequence: move those away, or name "
                f"the sequence as {places[0]}."
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
                'every number: restore them, or pass `gaps="hold"` (the image before stays) or '
                '`gaps="close"` (the next one follows at once).'
            )
        files, held = dict(members), members[0][1]
        filled: list[tuple[int | None, Path]] = []
        for number in range(numbers[0], numbers[-1] + 1, step):
            held = files.get(number, held)
            filled.append((number, held))
        return filled


def _some(names: Sequence[str]) -> str:
    """The first few of several names."""
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _listed(missing: Sequence[range]) -> str:
    """Ranges of numbers as people write them."""
    texts = [
        str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]}-{numbers[-1]}"
        for numbers in missing[:_MOST_LISTED]
    ]
    left = sum(map(len, missing[_MOST_LISTED:]))
    return ", ".join(texts) + (f" and {left} more" if left else "")


def files_of(path: Path) -> Iterator[Path]:
    """The image files that a folder, a pattern or a single path stands for, in no order."""
    if path.is_dir():
        return images_in(path)
    if is_pattern(path):
        return (file for file, _numbers in files_under(path))
    return iter([path] if path.exists() else [])


def images_in(folder: Path) -> Iterator[Path]:
    """Files of a kind that can be read, hidden ones (such as macOS leaves) aside; in no order."""
    return filter(is_picture, files_in(folder))


def tell_of_broken(error: InputError, warn: Warn) -> None:
    """Tells of a broken image; raises ``error`` if it was the system that could not read it."""
    cause = error.__cause__
    if isinstance(cause, OSError) and cause.errno:
        raise error  # the disk or the share, not the image
    warn(f"{error} The result ends before it.")
