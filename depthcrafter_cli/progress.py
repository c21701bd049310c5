"""Progress as events: the layers below report, the command line draws.

A stage is a step of the data flow as the user would name it: ``read``, ``condition``,
``denoise``, ``decode``, ``write``, ``download``, ``verify``, and ``pause`` before another attempt.
"""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """``done`` of ``total`` units of a stage are finished; ``total`` is None when unknown."""

    stage: str
    done: int
    total: int | None = None
    unit: str = "frames"
    detail: str = ""


Observer = Callable[[Progress], None]

Warn = Callable[[str], None]
"""Receives a sentence the user should know that stops nothing."""


def ignore(_event: object) -> None:
    """The observer, or the ear for warnings, of a caller who does not care."""
