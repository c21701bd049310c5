"""Errors a user can cause or mend, each with the exit code the command line returns.

Every message is one sentence in three parts: what was found, what was expected, what to do.
Anything that is not a :class:`DepthCrafterError` is a defect of ours and exits with 1. Each is also
the error of Python that callers expect: a ValueError for what was given, an OSError for files.
"""

import re
from errno import EACCES, ELOOP, ENAMETOOLONG, EPERM
from typing import ClassVar


class DepthCrafterError(Exception):
    """Base of all errors that are reported as one sentence, without a traceback."""

    exit_code: ClassVar[int] = 1


class UsageError(DepthCrafterError, ValueError):
    """Options that contradict each other or lie outside their range."""

    exit_code = 2


class InputError(DepthCrafterError, ValueError):
    """A video that is missing, unreadable, empty or too small."""

    exit_code = 3


class WeightsError(DepthCrafterError, OSError):
    """Model weights that are missing, damaged or of another architecture."""

    exit_code = 4


class MemoryLimitError(DepthCrafterError):
    """No plan fits the memory that is allowed or left.

    ``reason`` is how memory ran out, in the words of whoever noticed; empty before a run.
    """

    exit_code = 5

    def __init__(self, sentence: str, reason: str = "") -> None:
        super().__init__(sentence)
        self.reason = reason


class OutputError(DepthCrafterError, OSError):
    """A result that cannot be written where it was asked for."""

    exit_code = 6


class BatchError(DepthCrafterError):
    """Clips of a batch that failed, while the others were done."""

    exit_code = 7


INTERRUPTED_EXIT_CODE = 130
_UNREACHABLE = (EACCES, ELOOP, ENAMETOOLONG, EPERM)


def unreachable(error: Exception) -> InputError | None:
    """What to say of a path that the system follows for no one, or not for this user, else None.

    Whoever opens a file says more of it; this is for a path that was only asked about, where Python
    raises such errors, too.
    """
    # Path.resolve, before Python 3.13
    around = isinstance(error, RuntimeError) and re.match("Symlink loop from '(.*)'", str(error))
    if isinstance(error, OSError) and error.errno in _UNREACHABLE and error.filename:
        path, reason = error.filename, error.strerror
    elif around:
        path, reason = around[1], "its links lead in a circle"
    else:
        return None
    return InputError(
        f"{path} cannot be reached ({reason}), expected a path that may be followed: check it, and "
        "the permissions of its folders."
    )


def unexpected(error: Exception) -> str:
    """What to say of an error of another library, without the advice that follows its first line.

    Such advice names options and variables that are not those of this program.
    """
    return f"unexpected {type(error).__name__}: {first_line(error)}".rstrip(": ")


def first_line(error: BaseException) -> str:
    """The first line of what an error says; empty if it says nothing."""
    return next(iter(str(error).strip().splitlines()), "")
