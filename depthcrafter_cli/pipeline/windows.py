"""Which frames are denoised together (algorithm: overlapping windows). No torch.

A shot that fits one window has no overlap. The published windows start every ``window - overlap``
frames, so the last one holds between ``overlap + 1`` and ``window`` frames. Of a shot whose length
is known as many windows are spread evenly: each has its full length, and they share more.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True)
class Layout:
    """Windows of ``window`` frames that share ``overlap`` with the one before, or more.

    They are spread evenly over ``total`` frames; None places them as the reference program does.
    """

    window: int
    overlap: int
    total: int | None = None

    def start(self, index: int) -> int:
        """The first frame of a window."""
        count = 0 if self.total is None else count_windows(self.total, self.window, self.overlap)
        if self.total is None or count < 2:
            return index * (self.window - self.overlap)
        return index * (self.total - self.window) // (count - 1)


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
    """A window with what belongs to each of its frames; ``last`` ends the shot.

    The first ``final`` of them are in no later window.
    """

    window: Window
    items: tuple[Item, ...]
    final: int
    last: bool


def split(items: Iterable[Item], layout: Layout, index: int = 0) -> Iterator[FilledWindow[Item]]:
    """Cut a stream into windows, reading one item ahead of each.

    ``items`` begin with those of window ``index``. A stream of another length than the layout's
    is cut all the same.
    """
    stream = iter(items)
    start, held = layout.start(index), list(islice(stream, layout.window))
    shared = layout.start(index - 1) + layout.window - start if index else 0
    while held:
        ahead = list(islice(stream, 1))
        step = layout.start(index + 1) - start if ahead else len(held)
        window = Window(index, start, start + len(held), shared)
        yield FilledWindow(window, tuple(held), step, last=not ahead)
        if not ahead:
            return
        shared = len(held) - step
        held = held[step:] + ahead + list(islice(stream, step - 1))
        index, start = index + 1, start + step


def count_windows(total: int, window: int, overlap: int) -> int:
    """Windows that ``split`` makes of ``total`` frames."""
    if total <= window:
        return min(total, 1)
    return -(-(total - overlap) // (window - overlap))
