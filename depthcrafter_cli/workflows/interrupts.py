"""Ctrl-C and SIGTERM: the first lets the step under way reach the disk, the second stops at once.

Stopping at once is always safe. What is waited for, a denoising step or a decoded chunk or a
written frame, is what would have to be computed again.
"""

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Thread
from types import FrameType
from typing import NoReturn

from depthcrafter_cli.progress import Observer, Progress

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_KEPT = ("denoise", "decode", "write")  # the stages that leave something behind at each event


Say = Callable[[], None]
"""Tells the user that a step under way is waited for, and how not to wait."""


class Interrupted(BaseException):
    """Raised in place of KeyboardInterrupt, which the argument parser would turn into exit 1."""


def raise_on_signals(numbers: Sequence[int] = _SIGNALS) -> None:
    """From here on SIGINT and SIGTERM raise :class:`Interrupted` in the main thread."""
    for number in numbers:
        signal.signal(number, _raise)


def ignore_signals() -> None:
    """From here on SIGINT and SIGTERM do nothing: the process is ending and says how."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _raise(_number: int, _frame: FrameType | None) -> NoReturn:
    raise Interrupted


@contextmanager
def stopping_between_steps(
    observer: Observer, say: Say, numbers: Sequence[int] = _SIGNALS
) -> Iterator[Observer]:
    """An observer that raises :class:`Interrupted` once what was under way at a signal is kept.

    ``say`` is called in another thread when there is something to wait for. The second signal,
    or one in a stage that keeps nothing, raises where it arrives.
    """
    asked, stage = False, ""
    worth_waiting: SimpleQueue[bool] = SimpleQueue()  # may be filled in a handler, unlike an Event

    def ask(_number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        at_once = asked or stage not in _KEPT
        if not asked:
            worth_waiting.put(not at_once)
        asked = True
        if at_once:
            raise Interrupted  # at the next event again, if a finalizer should swallow this one

    def observe(event: Progress) -> None:
        nonlocal stage
        stage = event.stage
        observer(event)
        if asked:
            raise Interrupted

    def announce() -> None:
        if worth_waiting.get():
            say()

    teller = Thread(target=announce, daemon=True)
    teller.start()
    previous = {number: signal.signal(number, ask) for number in numbers}
    try:
        yield observe
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        worth_waiting.put(False)
        teller.join()
