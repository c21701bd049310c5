"""Which frames are denoised together (algorithm: overlapping windows). No torch.

Windows start every ``window - overlap`` frames. A shot that fits one window has no overlap;
a further window exists only where it brings at least one new frame, so it holds between
``overlap + 1`` and ``window`` frames.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True)
class Window:
    """Frames ``start <= i < stop``; the first ``overlap`` of them were in the window before."""

    index: int
    start: int
    stop: int
    overlap: int

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class FilledWindow(Generic[Item]):
    """A window with what belongs to each of its frames; ``last`` ends the shot."""

    window: Window
    items: tuple[Item, ...]
    last: bool


def split(
    items: Iterable[Item], window: int, overlap: int, index: int = 0
) -> Iterator[FilledWindow[Item]]:
    """Cut a stream of unknown length into windows, reading one item ahead of each.

    ``items`` begin with those of window ``index``.
    """
    stream = iter(items)
    held = list(islice(stream, window))
    start, shared = index * (window - overlap), overlap if index else 0
    while held:
        ahead = list(islice(stream, 1))
        yield FilledWindow(
            Window(index, start, start + len(held), shared), tuple(held), last=not ahead
        )
        if not ahead:
            return
        kept = held[window - overlap :]
        held = kept + ahead + list(islice(stream, window - overlap - 1))
        index, start, shared = index + 1, start + window - overlap, overlap


def count_windows(total: int, window: int, overlap: int) -> int:
    """Windows that ``split`` makes of ``total`` frames."""
    if total <= window:
        return min(total, 1)
    return -(-(total - overlap) // (window - overlap))
