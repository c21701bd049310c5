"""Standard output and error: written whole, by whatever names, and never the end of a run."""

import os
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from typing import NamedTuple, TextIO

from depthcrafter_cli.errors import DepthCrafterError, OutputError
from depthcrafter_cli.text import printable

_USUAL = 80  # columns of a terminal that does not say
_WIDE = 1000  # columns, more than any terminal has
_SECOND_CELL = "\0"  # of a character that takes two, as those of Chinese and Japanese do


class Line(NamedTuple):
    """A line for people; ``label`` stands before it, in ``style`` where there are colours.

    ``command`` ends it, and has a line of its own where that is needed to copy it in one go.
    """

    text: str
    label: str = ""
    style: str = "bold"
    command: str = ""

    def shown(self, width: int = _WIDE) -> str:
        """The line, broken between words where it is longer than ``width``."""
        label, text, command = map(printable, (self.label, self.text, self.command))
        whole = f"{label}{text} {command}".rstrip()
        if width == _WIDE or len(_in_cells(whole)) <= width:
            return whole
        if command:
            return f"{Line(self.text, self.label).shown(width)}\n{command}"
        label = _in_cells(label)
        indent = len(label) if len(label) <= width // 2 else width // 3
        broken = textwrap.fill(
            _in_cells(text),
            width,
            initial_indent=label,
            subsequent_indent=" " * indent,
            break_long_words=False,  # a path can still be copied whole
            break_on_hyphens=False,
        )
        return broken.replace(_SECOND_CELL, "")


def _in_cells(text: str) -> str:
    """The text with a character for each cell of the terminal that it takes, at least."""
    if text.isascii():
        return text
    from rich.cells import cell_len

    return "".join(each + _SECOND_CELL * (cell_len(each) - 1) for each in text)


def prepare_streams() -> None:
    """Make sure that there is something behind each standard stream, and that it takes any name.

    A file that is opened later would otherwise get the number of a stream that was closed.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            with suppress(OSError):
                os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r" if number == 0 else "w"))  # noqa: PTH123, SIM115
    if isinstance(sys.__stdout__, TextIOWrapper):
        unicode = sys.__stdout__.encoding.lower() == "utf-8"
        sys.__stdout__.reconfigure(errors="surrogateescape" if unicode else "backslashreplace")


def is_terminal(stream: TextIO) -> bool:
    """Whether a person sees this as it is written, on a screen that can redraw lines."""
    with suppress(OSError, ValueError):
        return stream.isatty() and os.environ.get("TERM", "") not in ("dumb", "unknown")
    return False


def width_of(stream: TextIO) -> int:
    """How many characters a line may have: of files, as many as it wants."""
    if not is_terminal(stream):
        return _WIDE
    with suppress(OSError, ValueError):
        columns = int(os.environ.get("COLUMNS", 0))
        return max(0, columns) or os.get_terminal_size(stream.fileno()).columns or _USUAL
    return _USUAL


def tell(*lines: Line) -> None:
    """Print lines for people on standard output. Raises OutputError as :func:`put` does."""
    width = width_of(sys.stdout)
    put("".join(f"{line.shown(width)}\n" for line in lines))


def tell_paths(*paths: object) -> None:
    """Print paths on standard output: as they are for programs, and harmless for a terminal."""
    terminal = is_terminal(sys.stdout)
    put("".join(f"{printable(str(path)) if terminal else path}\n" for path in paths))


def put(text: str) -> None:
    """Write to the process's own standard output. Raises OutputError as it does."""
    # Not sys.stdout, which libraries may be kept from.
    stream = sys.__stdout__
    if stream is None or stream.closed:
        return
    with standard_output():
        # One call, so that a line of another thread cannot come between it and its end.
        stream.write(text)
        stream.flush()


@contextmanager
def standard_output() -> Iterator[None]:
    """What cannot be written there any more, as behind ``head``, is no error, and ends there.

    Raises OutputError where the disk behind it is full.
    """
    try:
        yield
    except DepthCrafterError:
        raise
    except BrokenPipeError:
        _let_go(sys.__stdout__)
    except OSError as error:
        _let_go(sys.__stdout__)
        raise OutputError(
            f"standard output cannot be written ({error.strerror or error}), expected room for "
            "it: free some space, or send it elsewhere."
        ) from None


def complain(*lines: Line, stream: TextIO | None = None) -> None:
    """Print lines on standard error, if that can be written: it must not end a run."""
    stream = stream or sys.stderr
    width = width_of(stream)
    try:
        stream.write("".join(f"{line.shown(width)}\n" for line in lines))
        stream.flush()
    except (OSError, ValueError):
        _let_go(stream)


def _let_go(stream: TextIO | None) -> None:
    """From here on the stream goes nowhere, so that its end at exit is no error either."""
    if stream is None:
        return
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


@contextmanager
def errors_alone() -> Iterator[TextIO]:
    """Keeps standard error from all libraries, of C as well; gives a stream to it for errors."""
    sys.stderr.flush()
    try:
        number = sys.stderr.fileno()
        kept, nowhere = os.dup(number), os.open(os.devnull, os.O_WRONLY)
    except (OSError, ValueError):  # a notebook's, say, that is no file
        yield sys.stderr
        return
    os.dup2(nowhere, number)
    os.close(nowhere)
    with open(kept, "w", encoding=sys.stderr.encoding, errors="backslashreplace") as stream:  # noqa: PTH123
        try:
            yield stream
        finally:
            with suppress(OSError):
                sys.stderr.flush()
            os.dup2(kept, number)
