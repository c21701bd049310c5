"""Numbers in file names: patterns that name many files, and which numbers a sequence lacks."""

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

NUMBER = re.compile(r"%0?\d*d")  # in a pattern such as frame_%05d.png
_PLACES = re.compile(r"%0?\d*d|#+|\*|\?")
# Seconds of the clock with micro- or nanoseconds, as robots name pictures, are one number.
_DIGITS = re.compile(r"([0-9]{9,}\.(?:[0-9]{9}|[0-9]{6})(?![0-9])|[0-9]+)")
_MOST_MISSING = 10  # for each file there is: beyond that, numbers are times or dates, no count


def numbered_files(pattern: Path) -> list[Path]:
    """The files that are there under a pattern such as ``depth_%05d.png``, sorted by name."""
    before, after = NUMBER.split(pattern.name, maxsplit=1)
    name = re.compile(re.escape(before) + r" *\d+" + re.escape(after))
    if not pattern.parent.is_dir():
        return []
    return sorted(file for file in pattern.parent.iterdir() if name.fullmatch(file.name))


def has_places(name: str) -> bool:
    """Whether there are ``%04d``, ``####``, ``*`` or ``?`` in a name."""
    return bool(_PLACES.search(name))


def is_pattern(path: Path) -> bool:
    """Whether a path names files by such places, and is none itself."""
    return has_places(path.name) and not path.exists()


def is_number_pattern(path: Path) -> bool:
    """Whether a path names files by ``%04d`` or ``####`` alone, which no shell knows."""
    places = _PLACES.findall(path.name)
    return is_pattern(path) and all(place[0] in "%#" for place in places)


def files_under(pattern: Path) -> Iterator[tuple[Path, tuple[int, ...]]]:
    """The files that are there under a pattern, in no order, with the numbers in their places.

    Brackets stand for themselves. Hidden files are none.
    """
    literal = _PLACES.split(pattern.name)
    meant = {"*": ".*", "?": "."}
    places = [meant.get(place, " *([0-9]+)") for place in _PLACES.findall(pattern.name)]
    name = re.escape(literal[0]) + "".join(
        place + re.escape(text) for place, text in zip(places, literal[1:], strict=True)
    )
    folder = pattern.parent
    found = ((file, re.fullmatch(name, file.name)) for file in files_in(folder))
    return ((file, tuple(map(int, match.groups()))) for file, match in found if match)


def files_in(folder: Path) -> Iterable[Path]:
    """What is in a folder, hidden files (such as macOS leaves) aside; in no order."""
    entries = folder.iterdir() if folder.is_dir() else ()
    return (file for file in entries if not file.name.startswith("."))


def place_of_input(path: Path) -> Path:
    """The file that an input stands for; for a pattern, the folder of its files."""
    return path.parent if is_pattern(path) else path


def without_places(name: str) -> str:
    """What is left of a pattern's name, for the name of its result: ``shot`` of ``shot.%04d``."""
    return _PLACES.sub("", name).rstrip("_-. ")


def natural_order(file: Path) -> list[tuple[int, str]]:
    """Return a key that sorts frame2 before frame10."""
    return [
        (int(part), "") if part.isdecimal() else (-1, part)
        for part in re.split(r"(\d+)", file.name)
    ]


def by_pattern(files: Iterable[Path]) -> dict[str, list[tuple[int, Path]]]:
    """The files that differ in one number alone, together, each with that number, in its order.

    The keys are patterns such as ``frame_%04d.png``. The number is the one by which the fewest
    patterns are needed, the last of several. A name without a number is its own pattern, under
    number 0.
    """
    named = [(file, _DIGITS.split(file.stem)) for file in files]
    deepest = max((len(parts) // 2 for _file, parts in named), default=0)
    groupings = [_grouped(named, place) for place in range(1, deepest + 1)] or [_grouped(named, 1)]
    return min(groupings, key=len)


def _grouped(
    named: Sequence[tuple[Path, list[str]]], place: int
) -> dict[str, list[tuple[int, Path]]]:
    """By the ``place``-th number from the end of the names."""
    groups: dict[str, list[tuple[int, Path]]] = defaultdict(list)
    digits: dict[str, set[int]] = defaultdict(set)
    for file, parts in named:
        at, number = len(parts) - 2 * place, 0
        if at > 0:
            number, width = int(parts[at].replace(".", "")), len(parts[at])
            parts = [*parts[:at], "*" if "." in parts[at] else "\0", *parts[at + 1 :]]
        name = "".join(parts) + file.suffix.lower()
        groups[name].append((number, file))
        if at > 0:
            digits[name].add(width)
    return {
        name.replace("\0", f"%0{min(digits[name])}d" if len(digits[name]) == 1 else "%d"): sorted(
            members, key=lambda member: (member[0], member[1].name)
        )
        for name, members in groups.items()
    }


def step_of(numbers: Sequence[int]) -> int | None:
    """By how much ascending numbers count, such as 1 or 2; None if they are no count of frames."""
    steps = [later - earlier for earlier, later in pairwise(numbers)]
    if not steps or 0 in steps:
        return None
    step = math.gcd(*steps)
    missing = (numbers[-1] - numbers[0]) // step + 1 - len(numbers)
    is_usual = 2 * steps.count(step) >= len(steps)
    return step if is_usual or missing <= _MOST_MISSING * len(numbers) else None


def missing_from(numbers: Sequence[int], step: int) -> list[range]:
    """The numbers that a count by ``step`` lacks, as ranges."""
    return [
        range(earlier + step, later, step)
        for earlier, later in pairwise(numbers)
        if later - earlier > step
    ]
