"""Ctrl-C and SIGTERM: the first lets the step under way reach the disk, the second stops at once.

Stopping at once is always safe. What is waited for, a denoising step or a decoded chunk or a
written frame, is what would have to be computed again. An import under way is always waited for.
"""

import _thread
import signal
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Thread, Timer, get_ident
from types import FrameType

from depthcrafter_cli.progress import Interrupted, Observer, Progress

# What a terminal sends to all processes in it.
OF_TERMINALS = [signal.SIGINT]
if sys.platform == "win32":
    # Ctrl-Break, and a console window that is closed, after which there are five seconds.
    OF_TERMINALS.append(signal.SIGBREAK)
_SIGNALS = [*OF_TERMINALS, signal.SIGTERM]
# The stages of a run that leave something at each event.
KEPT = ("denoise", "decode", "estimate", "write")
_IMPORTS = "<frozen importlib._bootstrap>"


OnInterrupt = Callable[[], None]
"""Tells the user that a step under way is waited for, and how not to wait."""


def raise_on_signals(numbers: Sequence[int] = _SIGNALS) -> None:
    """From here on SIGINT and SIGTERM raise :class:`Interrupted` in the main thread."""
    for number in numbers:
        signal.signal(number, _raise)


def end_quietly() -> None:
    """From here on SIGINT and SIGTERM do nothing: the process is ending and says how.

    Nor do objects that were broken off while being made complain as they are collected.
    """
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    sys.unraisablehook = lambda _: None


def _raise(number: int, frame: FrameType | None) -> None:
    if not _put_off(number, frame):
        raise Interrupted


def _put_off(number: int, frame: FrameType | None) -> bool:
    """Whether a module is being imported, so that the signal is to come again in a moment.

    An exception in the import of a compiled module comes out as an ImportError, and leaves the
    module in a state that can abort the process as it ends.
    """
    while frame is not None and frame.f_code.co_filename != _IMPORTS:
        frame = frame.f_back
    if frame is not None:
        again = Timer(0.05, _send, (number, get_ident()))
        again.daemon = True
        again.start()
    return frame is not None


def _send(number: int, main_thread: int) -> None:
    if sys.platform == "win32":
        _thread.interrupt_main(number)
    else:
        signal.pthread_kill(main_thread, number)  # wakes a system call, too


@contextmanager
def stopping_between_steps(
    observer: Observer,
    on_interrupt: OnInterrupt,
    numbers: Sequence[int] = _SIGNALS,
    kept: Collection[str] = KEPT,
) -> Iterator[Observer]:
    """An observer that raises :class:`Interrupted` once what was under way at a signal is kept.

    ``on_interrupt`` is called in another thread when there is something to wait for, before this
    ends at the latest. The second signal, or one in a stage that is none of ``kept`` and so leaves
    nothing behind at each event, raises where it arrives. So does what fails after that: a library
    that is not written in Python may have swallowed the exception, and ended in one of its own.
    """
    asked, raised, stage = False, False, ""
    worth_waiting: SimpleQueue[bool] = SimpleQueue()  # may be filled in a handler, unlike an Event

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked, raised
        if _put_off(number, frame):
            return
        at_once = asked or stage not in kept
        if not asked:
            worth_waiting.put(not at_once)
        asked = True
        if at_once:
            raised = True
            raise Interrupted  # at the next event again, if a finalizer should swallow this one

    def observe(event: Progress) -> None:
        nonlocal stage
        stage = event.stage
        observer(event)
        if asked:
            raise Interrupted

    def announce() -> None:
        if worth_waiting.get():
            on_interrupt()

    teller = Thread(target=announce, daemon=True)
    teller.start()
    previous = {number: signal.signal(number, ask) for number in numbers}
    try:
        yield observe
    except Exception as error:
        if raised:
            raise Interrupted from error
        raise
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        worth_waiting.put(False)
        teller.join()
