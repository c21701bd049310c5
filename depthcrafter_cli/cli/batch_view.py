"""How a batch looks: for people (rich), for programs (JSON lines), or not at all."""

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from depthcrafter_cli.cli.console import STAGES, emit
from depthcrafter_cli.progress import Progress

if TYPE_CHECKING:
    from depthcrafter_cli.workflows.batch.clip import Ended, Task
    from depthcrafter_cli.workflows.batch.report import ClipReport

_ROWS = 40  # of a summary; failures are always shown
_STYLES = {
    "done": "green", "skipped": "dim", "stopped": "yellow", "failed": "bold red", "to do": ""
}  # fmt: skip


class BatchView:
    """Says nothing but what went wrong."""

    def __init__(self, debug: bool = False) -> None:
        self.debug = debug

    def checked(self, clips: "Sequence[ClipReport]") -> None:
        """All clips, before anything is computed."""

    @contextmanager
    def drawing(self, clips: int) -> Iterator[None]:
        """Inside, clips are carried out, of which there are so many."""
        yield

    def watch(self, task: "Task", worker: str, event: Progress) -> None:
        """How far a worker is with a clip."""

    def failed(self, ended: "Ended", again: bool) -> None:
        """An attempt at a clip failed, which may be tried ``again``."""
        if self.debug and ended.outcome.trace:
            print(ended.outcome.trace, file=sys.stderr)

    def settled(self, clip: "ClipReport") -> None:
        """A clip that is done, or has failed for good."""

    def finished(self, clips: "Sequence[ClipReport]") -> None:
        """All clips, after all was done."""
        for clip in clips:
            if clip.error:
                print(f"depthcrafter: {clip.name}: {clip.error}", file=sys.stderr)


class JsonBatchView(BatchView):
    """One JSON object a line on standard output, each with an ``event``."""

    def checked(self, clips: "Sequence[ClipReport]") -> None:
        emit("batch", **_counts(clips))

    def watch(self, task: "Task", worker: str, event: Progress) -> None:
        emit("progress", clip=task.name, worker=worker, **vars(event))

    def failed(self, ended: "Ended", again: bool) -> None:
        super().failed(ended, again)
        if again:
            emit("retry", clip=ended.task.name, worker=ended.worker, message=ended.outcome.error)

    def settled(self, clip: "ClipReport") -> None:
        emit("clip", **asdict(clip))

    def finished(self, clips: "Sequence[ClipReport]") -> None:
        emit("summary", **_counts(clips), clips=[asdict(clip) for clip in clips])


class RichBatchView(BatchView):
    """A bar for the batch, a line for each worker, and a table at the end."""

    def __init__(self, debug: bool = False) -> None:
        from rich.console import Console

        super().__init__(debug)
        self._screen = Console(stderr=True)
        self._bars: Any = None
        self._tasks: dict[str, Any] = {}

    def checked(self, clips: "Sequence[ClipReport]") -> None:
        self._tell("batch", "bold", f"{len(clips)} clips: {_in_words(clips)}")
        for clip in clips:
            if clip.error:
                self._told(clip)

    @contextmanager
    def drawing(self, clips: int) -> Iterator[None]:
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bars
        from rich.table import Column

        # A name may hold brackets, which are no markup, and be longer than the line.
        rest = Column(no_wrap=True, overflow="ellipsis")
        columns = (
            TextColumn("{task.fields[worker]}", markup=False),
            BarColumn(bar_width=16),
            TextColumn("{task.fields[far]}"),
            TimeElapsedColumn(),
            TextColumn("{task.description}", markup=False, table_column=rest),
        )
        with Bars(*columns, console=self._screen, transient=True) as self._bars:
            far = f"0/{clips} clips"
            self._tasks = {"": self._bars.add_task("", total=clips, worker="batch", far=far)}
            yield

    def watch(self, task: "Task", worker: str, event: Progress) -> None:
        if worker not in self._tasks:
            self._tasks[worker] = self._bars.add_task(task.name, worker=worker, far="")
        total = None if event.total is None else max(event.total, event.done)
        stage = STAGES.get(event.stage, event.stage)
        far = f"{stage} {event.done}" + ("" if total is None else f"/{total}")
        row = self._tasks[worker]
        self._bars.update(row, completed=event.done, total=total, far=far, description=task.name)

    def failed(self, ended: "Ended", again: bool) -> None:
        super().failed(ended, again)
        if again:
            self._forget(ended.worker)
            self._tell("again later", "yellow", f"{ended.task.name}: {ended.outcome.error}")

    def settled(self, clip: "ClipReport") -> None:
        self._bars.advance(self._tasks[""])
        overall = self._bars.tasks[0]
        far = f"{overall.completed:.0f}/{overall.total:.0f} clips"
        self._bars.update(self._tasks[""], far=far)
        self._forget(clip.worker)
        if clip.error:
            self._told(clip)

    def _forget(self, worker: str) -> None:
        """A worker's line, until it is heard of again; a dead one never is."""
        if worker in self._tasks:
            self._bars.remove_task(self._tasks.pop(worker))

    def _told(self, clip: "ClipReport") -> None:
        self._tell(clip.status, _STYLES[clip.status], f"{clip.name}: {clip.error}")

    def _tell(self, what: str, style: str, sentence: str) -> None:
        from rich.text import Text

        self._screen.print(Text.assemble((what, style), " ", sentence))

    def finished(self, clips: "Sequence[ClipReport]") -> None:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, header_style="bold")
        for header in ("clip", "status", "frames", "seconds", "result"):
            right = header in ("frames", "seconds")
            table.add_column(header, justify="right" if right else "left", overflow="fold")
        for clip in _shown(clips):
            table.add_row(
                Text(clip.name),
                Text(clip.status, _STYLES[clip.status]),
                "" if clip.frames is None else str(clip.frames),
                f"{clip.seconds:.1f}" if clip.seconds else "",
                Text("\n".join((clip.error or clip.outputs[0], *clip.warnings))),
            )
        screen = Console(highlight=False)
        screen.print(table)
        if len(clips) > _ROWS:
            screen.print(f"and others, of {len(clips)} in all: --report lists them")
        screen.print(f"{len(clips)} clips: {_in_words(clips)}")


def batch_view(*, quiet: bool, json: bool, debug: bool) -> BatchView:
    """The view that the options ask for."""
    kind = JsonBatchView if json else BatchView if quiet else RichBatchView
    return kind(debug)


def _counts(clips: "Sequence[ClipReport]") -> dict[str, int]:
    return dict(Counter(clip.status for clip in clips))


def _in_words(clips: "Sequence[ClipReport]") -> str:
    return ", ".join(f"{number} {status}" for status, number in _counts(clips).items())


def _shown(clips: "Sequence[ClipReport]") -> "Sequence[ClipReport]":
    """What a table has room for: all, or at least what failed."""
    if len(clips) <= _ROWS:
        return clips
    failed = [clip for clip in clips if clip.status == "failed"]
    return failed or clips[:_ROWS]
