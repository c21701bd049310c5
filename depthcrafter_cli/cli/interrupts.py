"""Ctrl-C and SIGTERM stop a command at once, and every open output is removed on the way out."""

import signal
from types import FrameType
from typing import NoReturn


class Interrupted(BaseException):
    """Raised in place of KeyboardInterrupt, which the argument parser would turn into exit 1."""


def raise_on_signals() -> None:
    """From here on SIGINT and SIGTERM raise :class:`Interrupted` in the main thread."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _raise)


def _raise(_number: int, _frame: FrameType | None) -> NoReturn:
    raise Interrupted
