"""What a batch says of its videos, through the console that all commands use."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace

from depthcrafter_cli.cli.console import Console
from depthcrafter_cli.cli.outlets import Draw, Update
from depthcrafter_cli.cli.streams import Line
from depthcrafter_cli.progress import Meter, Observer, Progress, Reading, ignore
from depthcrafter_cli.text import counted
from depthcrafter_cli.workflows.batches.batch import BatchObserver
from depthcrafter_cli.workflows.batches.engine import Engine
from depthcrafter_cli.workflows.batches.report import TaskReport
from depthcrafter_cli.workflows.batches.task import EndedAttempt, Task

_ROWS = 40  # of a summary; failures are always shown
_DETAIL = " " * 8
_STYLES = {
    "done": "green", "skipped": "dim", "stopped": "yellow", "failed": "bold red", "to do": ""
}  # fmt: skip


class BatchView(BatchObserver):
    """Tells of each video what becomes of it, and how far the batch is, in frames.

    ``words`` turns the sentence of an error into the user's.
    """

    def __init__(self, console: Console, words: Callable[[str], str]) -> None:
        self._console, self._words = console, words
        self._draw: Draw = lambda _update: None
        self._beat: Observer = ignore
        self._meters: dict[str, Meter] = {}
        self._frames: dict[str, int] = {}
        self._under_way: dict[str, float] = {}
        self._settled = self._videos = 0
        self._share, self._begun = 0.0, time.monotonic()
        self._made = 0

    def checked(self, reports: Sequence[TaskReport]) -> None:
        to_do = [report for report in reports if report.open]
        known = [report.frames for report in to_do if report.frames]
        typical = round(sum(known) / len(known)) if known else 1
        self._frames = {report.name: report.frames or typical for report in to_do}
        found = Line(f"{counted(len(reports), 'video')}: {_in_words(reports)}", "batch   ")
        self._console.say("batch", _counts(reports), found)
        for report in reports:
            if report.error:
                self._console.say("", {}, _problem(report), level="error")

    @contextmanager
    def working(self, engine: Engine, videos: int) -> Iterator[None]:
        self._videos, self._begun = videos, time.monotonic()
        with (
            self._console.drawing(videos) as self._draw,
            engine.interruptible(self._console.stopping) as self._beat,
        ):
            self._draw(Update(self._reading(None), batch=self._far()))
            yield

    def on_progress(self, task: Task, worker: str, event: Progress) -> None:
        self._console.hint = "Go on with: the same command with --resume."
        if event.stage == "load" and not self._settled:
            self._begun = time.monotonic()
        meter = self._meters.setdefault(task.name, Meter())
        if event.stage == "decode" and event.total:
            self._under_way[task.name] = min(1.0, event.done / event.total)
        self._draw(Update(self._reading(meter.read(event)), worker, task.name, self._far()))
        self._beat(event)

    def _reading(self, of_stage: Reading | None) -> Reading:
        """How far the batch is: the share of all frames that are decoded, and the time left."""
        whole = sum(self._frames.values())
        did = self._made + sum(
            self._frames.get(name, 0) * share for name, share in self._under_way.items()
        )
        self._share = max(self._share, did / whole if whole else 0.0)
        spent = time.monotonic() - self._begun
        eta = spent * (whole - did) / did if did else None
        if of_stage is None:
            return Reading(Progress("", 0), None, eta, self._share)
        return replace(of_stage, eta=eta, share=self._share)

    def _far(self) -> str:
        return f"{self._settled}/{self._videos} videos"

    def failed(self, ended: EndedAttempt, again: bool) -> None:
        name, worker, outcome = ended.task.name, ended.worker, ended.outcome
        self._console.trace(outcome.trace)
        if again:
            self._meters.pop(name, None)
            self._draw(Update(None, worker, name))
            error = self._words(outcome.error)
            line = Line(f"{name}: {error}", "again later ", "yellow")
            values = {"video": name, "worker": worker, "message": error}
            self._console.say("retry", values, line)

    def settled(self, report: TaskReport) -> None:
        self._settled += 1
        self._made += self._frames.get(report.name, 0)
        self._under_way.pop(report.name, None)
        self._meters.pop(report.name, None)
        self._draw(Update(None, report.worker, report.name))
        self._draw(Update(self._reading(None), batch=self._far()))
        if report.error:
            self._console.say("video", asdict(report), _problem(report), level="error")
        else:
            self._console.say("video", asdict(report))

    def finished(self, reports: Sequence[TaskReport]) -> None:
        lines = [Line("video", f"{'status':<8}{'frames':>8}{'seconds':>9}  ")]
        lines += [line for report in _shown(reports) for line in _row(report)]
        if len(reports) > _ROWS:
            lines.append(Line(f"and others, of {len(reports)} in all: --report lists them"))
        lines.append(Line(f"{counted(len(reports), 'video')}: {_in_words(reports)}"))
        values = {**_counts(reports), "videos": [asdict(report) for report in reports]}
        self._console.say("summary", values, *lines, level="result")


def _problem(report: TaskReport) -> Line:
    return Line(f"{report.name}: {report.error}", f"{report.status} ", _STYLES[report.status])


def _row(report: TaskReport) -> Iterator[Line]:
    """A video and its numbers, and below it what came of it."""
    frames = "" if report.frames is None else str(report.frames)
    seconds = f"{report.seconds:.1f}" if report.seconds else ""
    yield Line(report.name, f"{report.status:<8}{frames:>8}{seconds:>9}  ", _STYLES[report.status])
    came = (report.error,) if report.error else report.outputs
    for text in (*came, *report.warnings):
        yield Line(text, _DETAIL)


def _counts(reports: Sequence[TaskReport]) -> dict[str, int]:
    return dict(Counter(report.status for report in reports))


def _in_words(reports: Sequence[TaskReport]) -> str:
    return ", ".join(f"{number} {status}" for status, number in _counts(reports).items())


def _shown(reports: Sequence[TaskReport]) -> Sequence[TaskReport]:
    """What a table has room for: all, or at least what failed."""
    if len(reports) <= _ROWS:
        return reports
    failed = [report for report in reports if report.status == "failed"]
    return failed or reports[:_ROWS]
