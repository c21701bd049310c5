"""Where what a command says goes: to people, to programs, into a log, or, but for errors, nowhere.

A command says each thing once, as an event with values and lines; each outlet takes its part.
"""

import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, Protocol, TextIO

from depthcrafter_cli import __version__
from depthcrafter_cli.cli.streams import Line, complain, put, tell, tell_paths
from depthcrafter_cli.disk import first_shared
from depthcrafter_cli.errors import OutputError, UsageError
from depthcrafter_cli.progress import Pace, Progress, Reading
from depthcrafter_cli.shell import quoted
from depthcrafter_cli.text import printable

STAGES = {
    "read": "find cuts",
    "load": "load model",
    "condition": "read, encode",
    "denoise": "denoise",
    "decode": "decode",
    "estimate": "estimate",
    "examine": "examine",
    "normalize": "find range",
    "write": "write",
    "pause": "pause",
    "image_encoder": "image encoder",
    "vae": "autoencoder",
}
_LINE_SECONDS = 60.0  # between two lines of progress where nothing can be redrawn
_EVENT_SECONDS = 0.05  # between two events of one stage
_STARTED = time.monotonic()
_LOG_HEAD_BYTES = 64
_LOG_HEAD = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ depthcrafter |\Z")
_LIBRARIES = ("torch", "diffusers", "transformers", "av", "numpy")


Level = Literal["notice", "error", "trace", "result", "listing"]


@dataclass(frozen=True)
class Said:
    """One thing to tell: an ``event`` with ``values`` for programs, ``lines`` for people.

    ``paths``, and the lines of a ``result`` and a ``listing``, are for standard output. It may
    fail after work that is done, but a listing is all that its command is for. A ``trace`` is
    where an error came from, for a log and for --debug. An empty event is not for programs.
    """

    event: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    lines: Sequence[Line] = ()
    level: Level = "notice"
    paths: Sequence[object] = ()


@dataclass(frozen=True)
class Update:
    """How far the work is; ``worker`` and ``video`` where a batch has several, ``batch`` is how
    far that is in words. Without a reading, the worker has nothing to do any more."""

    reading: Reading | None
    worker: str = ""
    video: str = ""
    batch: str = ""


Draw = Callable[[Update], None]


class Outlet(Protocol):
    """A place that a command's words go to: a terminal, a stream of JSON, a log."""

    def say(self, said: Said) -> None:
        """Tell one thing."""

    @contextmanager
    def drawing(self, videos: int = 0) -> Iterator[Draw]:
        """Inside, work is under way, of a batch of so many ``videos`` or of a single run."""


class Errors:
    """Nothing but errors, on ``stream``, with where they came from if ``debug``."""

    def __init__(self, *, debug: bool, stream: TextIO | None = None) -> None:
        self._wanted = ("error", "trace") if debug else ("error",)
        self._stream = stream

    def say(self, said: Said) -> None:
        if said.level in self._wanted:
            complain(*said.lines, stream=self._stream)

    @contextmanager
    def drawing(self, videos: int = 0) -> Iterator[Draw]:
        yield lambda _update: None


class JsonLines:
    """One JSON object a line on standard output: see docs/events.md.

    Where that cannot be written, the work goes on all the same.
    """

    def __init__(self, *, debug: bool) -> None:
        self._debug = debug

    def say(self, said: Said) -> None:
        if said.event:
            _try(emit, said.event, **said.values)
        if said.level == "trace" and self._debug:
            complain(*said.lines)

    @contextmanager
    def drawing(self, videos: int = 0) -> Iterator[Draw]:
        pace = Pace(_EVENT_SECONDS)

        def draw(update: Update) -> None:
            if update.reading is None or not update.reading.event.stage:
                return
            event = update.reading.event
            is_due = pace.due((update.worker, update.video, event.stage))
            if not is_due and event.done != event.total:
                return
            where = {"video": update.video, "worker": update.worker} if videos else {}
            told = {"rate": _rounded(update.reading.rate), "eta": _rounded(update.reading.eta)}
            _try(emit, "progress", **where, **vars(event), **told)

        yield draw


def _try(write: Callable[..., None], *what: Any, **values: Any) -> None:
    """Write to standard output; that it fails is no reason to lose what was computed."""
    try:
        write(*what, **values)
    except OutputError as error:
        complain(Line(f"depthcrafter: warning: {error}"))


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def emit(event: str, **values: Any) -> None:
    """Print one event as a line of JSON, with its time. Raises OutputError."""
    now = datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    stamp = {"time": now, "elapsed": round(time.monotonic() - _STARTED, 3)}
    put(json.dumps({"event": event, **stamp, **values}) + "\n")


class Plain:
    """Lines for people where nothing can be redrawn, such as a file or a pipe."""

    def __init__(self, *, debug: bool) -> None:
        self._debug = debug

    def say(self, said: Said) -> None:
        if said.level == "listing":
            tell(*said.lines)
        elif said.level == "result":
            _try(tell, *said.lines)
        elif said.level != "trace" or self._debug:
            self._complain(*said.lines)
        _try(tell_paths, *said.paths)

    def _complain(self, *lines: Line) -> None:
        complain(*lines)

    @contextmanager
    def drawing(self, videos: int = 0) -> Iterator[Draw]:
        yield _once_a_minute(lambda line: complain(Line(f"depthcrafter: {line}")))


def _once_a_minute(write: Callable[[str], None]) -> Draw:
    pace = Pace(_LINE_SECONDS)

    def draw(update: Update) -> None:
        stage = update.reading.event.stage if update.reading else ""
        # What comes before the run has lines of its own, or the run would begin without one.
        if stage and pace.due(stage == "read"):
            write(progress_line(update))

    return draw


def progress_line(update: Update) -> str:
    """How far the work is in a sentence: stage, units, rate, share and time left."""
    assert update.reading is not None
    reading, event = update.reading, update.reading.event
    share = "" if reading.share is None else f"{reading.share:.0%} of the run"
    told = f"{STAGES.get(event.stage, event.stage)} {amount(event)}", speed(reading), event.detail
    parts = [part for part in (*told, update.batch or share) if part]
    parts.append(
        "time left not known yet" if reading.eta is None else f"about {in_words(reading.eta)} left"
    )
    where = ": ".join(name for name in (update.worker, update.video) if name)
    return (f"{where}: " if where else "") + ", ".join(parts)


def amount(event: Progress) -> str:
    """``3/16 frames``; bytes in a unit that people read."""
    total = None if event.total is None else max(event.total, event.done)
    if event.unit == "bytes":
        scale, unit = (1e9, "GB") if max(total or 0, event.done) >= 1e9 else (1e6, "MB")
        return f"{event.done / scale:.2f}" + (f"/{total / scale:.2f} " if total else " ") + unit
    return f"{event.done}" + ("" if total is None else f"/{total}") + f" {event.unit}"


def speed(reading: Reading) -> str:
    """``2.5 frames/s``; empty before it is known, and where one is all there is."""
    if reading.rate is None or reading.event.total == 1:
        return ""
    if reading.event.unit == "bytes":
        return f"{_three_figures(reading.rate / 1e6)} MB/s"
    return f"{_three_figures(reading.rate)} {reading.event.unit}/s"


def _three_figures(rate: float) -> str:
    """A rate with as many figures as it needs, and no exponent."""
    return f"{rate:.0f}" if rate >= 999.5 else f"{Decimal(f'{rate:.3g}'):f}"


def in_words(seconds: float) -> str:
    """A time as people say it: ``12 s``, ``4 min 5 s``, ``3 h 20 min``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


class LogFile:
    """Everything that is said, with the time, added to a file whatever the screen shows.

    Raises:
        OutputError: it cannot be written.
        UsageError: it is neither new nor empty, nor a log of before.
    """

    def __init__(self, path: Path) -> None:
        from depthcrafter_cli.media.files import output_errors

        self._path, self._begun, self._ended = path, False, False
        with output_errors(path):
            if path.exists() and not path.is_file():
                raise UsageError(f"got --log {path}, expected the name of a file: choose another.")
            path.parent.mkdir(parents=True, exist_ok=True)
            self._is_new = not path.exists()
            with path.open("a+b") as file:
                file.seek(0)
                if not _LOG_HEAD.match(file.read(_LOG_HEAD_BYTES)):
                    raise UsageError(
                        f"got --log {path}, which is no log of depthcrafter, expected a new file "
                        "or an earlier log: choose another name."
                    )

    def keep_apart(self, paths: Sequence[Path]) -> None:
        """Raises UsageError if the log is one of ``paths``, which a run reads or writes.

        Such a log ends there, and is removed if it is new.
        """
        if not first_shared([paths, [self._path]]):
            return
        self._ended = True
        if self._is_new:
            with suppress(OSError):
                self._path.resolve().unlink()
        raise UsageError(
            f"got --log {self._path}, which the command reads or writes as well, expected a file "
            "of its own: choose another name."
        )

    def say(self, said: Said) -> None:
        prefix = "result: " if said.paths else ""
        texts = [line.shown() for line in said.lines]
        self.write(*texts, *(f"{prefix}{printable(str(path))}" for path in said.paths))

    @contextmanager
    def drawing(self, videos: int = 0) -> Iterator[Draw]:
        yield _once_a_minute(self.write)

    def write(self, *texts: str) -> None:
        """Add lines; a log that cannot be written any more is told of once."""
        if self._ended:
            return
        if not self._begun:
            self._begun = True
            self.write(*_opening())
        now = datetime.now(timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")
        try:
            with self._path.open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.write("".join(f"{now} {printable(text)}\n" for text in texts))
        except OSError as error:
            self._ended = True
            complain(Line(f"depthcrafter: warning: the log {self._path} stops here: {error}"))


def _opening() -> Iterator[str]:
    """Return the first line of a log: which program runs, where, and as what."""
    import platform
    from importlib import metadata

    yield f"depthcrafter {__version__}: {' '.join(map(quoted, sys.argv[1:]))}"
    versions = []
    for name in _LIBRARIES:
        with suppress(metadata.PackageNotFoundError):
            versions.append(f"{name} {metadata.version(name)}")
    yield f"Python {platform.python_version()} on {platform.platform()}, {', '.join(versions)}"
    with suppress(OSError):
        yield f"in {os.getcwd()}, process {os.getpid()}"  # noqa: PTH109
