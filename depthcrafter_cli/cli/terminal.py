"""What a terminal shows: labels that stand out, and bars while work is under way."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from depthcrafter_cli.cli.outlets import STAGES, Draw, Plain, Update, amount, in_words, speed
from depthcrafter_cli.cli.streams import Line, width_of
from depthcrafter_cli.text import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Task, TaskID

_WHOLE, _LONGEST_BAR, _SHORTEST_BAR = "whole run", 28, 4


class _Screen:
    """Standard error as rich writes to it: one that is broken or full ends nothing."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except (OSError, ValueError):
            return 0

    def flush(self) -> None:
        try:
            self._stream.flush()
        except (OSError, ValueError):
            return

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class Terminal(Plain):
    """Lines broken between words; a bar for the whole and one for each stage or worker."""

    def __init__(self, *, debug: bool) -> None:
        from rich.console import Console

        super().__init__(debug=debug)
        self._width = width_of(sys.stderr)
        self._screen: Console = Console(
            file=_Screen(sys.stderr),  # type: ignore[arg-type]
            width=self._width, force_terminal=True, highlight=False, markup=False, soft_wrap=True,
        )  # fmt: skip

    def _complain(self, *lines: Line) -> None:
        from rich.text import Text

        for line in lines:
            text = Text(line.shown(self._width))
            text.stylize(line.style, 0, len(printable(line.label)))
            self._screen.print(text)  # above the bars, if there are any

    @contextmanager
    def drawing(self, videos: int = 0) -> Iterator[Draw]:
        board = _Board(self._screen, self._width, videos)
        try:
            yield board.draw
            board.end()
        finally:
            board.bars.stop()


class _Board:
    """The bars: of the whole, and below it of each stage of a run or each worker of a batch."""

    def __init__(self, screen: "Console", width: int, videos: int) -> None:
        from rich.progress import BarColumn, ProgressColumn, TextColumn
        from rich.progress import Progress as Bars
        from rich.table import Column
        from rich.text import Text

        class Note(ProgressColumn):
            """The time left, which passes between two events as well, or what else there is."""

            def render(self, task: "Task") -> Text:
                return Text(_note(task), no_wrap=True, overflow="ellipsis")

        self._width, self._videos = width, videos
        self._rows: dict[str, TaskID] = {}
        self._widest = {"far": 0, "note": 0}
        self._bar = BarColumn(bar_width=_LONGEST_BAR)
        self.bars = Bars(
            TextColumn("{task.description:<13}", markup=False),
            self._bar,
            TextColumn("{task.fields[far]}", markup=False),
            Note(table_column=Column(no_wrap=True, overflow="ellipsis")),
            console=screen,
            transient=bool(videos),
        )

    def draw(self, update: Update) -> None:
        """Show how far the work is; bars are there from the first time on."""
        self.bars.start()
        reading = update.reading
        if reading is None:
            self._forget(update.worker)
            return
        ends = None if reading.eta is None else time.monotonic() + reading.eta
        if reading.share is not None:
            far = update.batch or f"{reading.share:.0%}"
            name = "batch" if self._videos else _WHOLE
            self._show(name, reading.share, 1.0, far, "", ends=ends)
        if not reading.event.stage:
            return
        event = reading.event
        # A container's frame count may be an estimate; a bar never passes its end.
        total = None if event.total is None else max(event.total, event.done)
        stage = STAGES.get(event.stage, event.stage)
        if self._videos:
            far = f"{stage} {amount(event).rpartition(' ')[0]}"
            self._show(update.worker, event.done, total, far, update.video)
        else:
            self._show(stage, event.done, total, amount(event), event.detail or speed(reading))

    def _show(
        self, name: str, done: float, total: float | None, far: str, note: str, **fields: Any
    ) -> None:
        from rich.cells import cell_len

        texts: dict[str, Any] = {"far": printable(far), "note": printable(note)}
        if name not in self._rows:
            self._rows[name] = self.bars.add_task(printable(name), total=total, ends=None, **texts)
        self.bars.update(self._rows[name], completed=done, total=total, **texts, **fields)
        for column, text in texts.items():
            self._widest[column] = max(self._widest[column], cell_len(text))
        room = self._width - 13 - max(self._widest["far"], 8) - max(self._widest["note"], 26) - 4
        self._bar.bar_width = max(_SHORTEST_BAR, min(_LONGEST_BAR, room))

    def _forget(self, worker: str) -> None:
        """Remove the line of a worker until it reports again."""
        if worker in self._rows:
            self.bars.remove_task(self._rows.pop(worker))

    def end(self) -> None:
        """All is done: what was estimated is what it was."""
        for task in self.bars.tasks:
            if task.completed:
                self.bars.update(task.id, total=task.completed, ends=None)
        if _WHOLE in self._rows:
            self.bars.update(self._rows[_WHOLE], completed=1, total=1, far="100%")


def _note(task: "Task") -> str:
    note, ends = task.fields["note"], task.fields["ends"]
    if note:
        return str(note)
    spent = in_words(task.finished_time or task.elapsed or 0.0)
    return spent if ends is None else f"{spent}, {in_words(max(0.0, ends - time.monotonic()))} left"
