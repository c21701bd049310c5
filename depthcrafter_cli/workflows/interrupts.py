"""Ctrl-C and SIGTERM: the first lets the step under way reach the disk, the second stops at once.

Stopping at once is always safe. What is waited for, a denoising step or a decoded chunk or a
written frame, is what would have to be computed again.
"""

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Event, Thread
from types import FrameType
from typing import NoReturn

from depthcrafter_cli.progress import Observer, Progress

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_KEPT = ("denoise", "decode", "write")  # the stages that leave something behind at each event


class Interrupted(BaseException):
    """Raised in place of KeyboardInterrupt, which the argument parser would turn into exit 1."""


def raise_on_signals(numbers: Sequence[int] = _SIGNALS) -> None:
    """From here on SIGINT and SIGTERM raise :class:`Interrupted` in the main thread."""
    for number in numbers:
        signal.signal(number, _raise)


def _raise(_number: int, _frame: FrameType | None) -> NoReturn:
    raise Interrupted


@contextmanager
def stopping_between_steps(
    observer: Observer, say: Callable[[], None], numbers: Sequence[int] = _SIGNALS
) -> Iterator[Observer]:
    """An observer that raises :class:`Interrupted` once what was under way at a signal is kept.

    ``say`` is called in another thread when there is something to wait for. The second signal,
    or one in a stage that keeps nothing, raises where it arrives.
    """
    asked, stage, over = Event(), "", False

    def ask(_number: int, _frame: FrameType | None) -> None:
        if asked.is_set() or stage not in _KEPT:
            raise Interrupted
        asked.set()

    def observe(event: Progress) -> None:
        nonlocal stage
        stage = event.stage
        observer(event)
        if asked.is_set():
            raise Interrupted

    def announce() -> None:
        asked.wait()
        if not over:
            say()

    teller = Thread(target=announce, daemon=True)
    teller.start()
    previous = {number: signal.signal(number, ask) for number in numbers}
    try:
        yield observe
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        over = not asked.is_set()
        asked.set()
        teller.join()
