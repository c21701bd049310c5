"""What a batch says of its clips, through the console that all commands use."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace

from depthcrafter_cli.cli.batch_options import NAMES
from depthcrafter_cli.cli.console import Console
from depthcrafter_cli.cli.options import as_typed
from depthcrafter_cli.cli.outlets import Draw, Update, counted
from depthcrafter_cli.cli.streams import Line
from depthcrafter_cli.progress import Meter, Observer, Progress, Reading, ignore
from depthcrafter_cli.workflows.batches.batch import BatchObserver
from depthcrafter_cli.workflows.batches.clip import Ended, Task
from depthcrafter_cli.workflows.batches.engine import Engine
from depthcrafter_cli.workflows.batches.report import ClipReport

_ROWS = 40  # of a summary; failures are always shown
_DETAIL = " " * 8
_STYLES = {
    "done": "green", "skipped": "dim", "stopped": "yellow", "failed": "bold red", "to do": ""
}  # fmt: skip


class BatchView(BatchObserver):
    """Tells of each clip what becomes of it, and how far the batch is, in frames."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._draw: Draw = lambda _update: None
        self._beat: Observer = ignore
        self._meters: dict[str, Meter] = {}
        self._frames: dict[str, int] = {}
        self._under_way: dict[str, float] = {}
        self._settled = self._clips = 0
        self._share, self._begun = 0.0, time.monotonic()
        self._made = 0

    def checked(self, clips: Sequence[ClipReport]) -> None:
        to_do = [clip for clip in clips if clip.open]
        known = [clip.frames for clip in to_do if clip.frames]
        typical = round(sum(known) / len(known)) if known else 1
        self._frames = {clip.name: clip.frames or typical for clip in to_do}
        found = Line(f"{counted(len(clips), 'clip')}: {_in_words(clips)}", "batch   ")
        self._console.say("batch", _counts(clips), found)
        for clip in clips:
            if clip.error:
                self._console.say("", {}, _problem(clip), level="error")

    @contextmanager
    def working(self, engine: Engine, clips: int) -> Iterator[None]:
        self._clips, self._begun = clips, time.monotonic()
        with (
            self._console.drawing(clips) as self._draw,
            engine.interruptible(self._console.stopping) as self._beat,
        ):
            self._draw(Update(self._reading(None), batch=self._far()))
            yield

    def watch(self, task: Task, worker: str, event: Progress) -> None:
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
        return f"{self._settled}/{self._clips} clips"

    def failed(self, ended: Ended, again: bool) -> None:
        name, worker, outcome = ended.task.name, ended.worker, ended.outcome
        self._console.trace(outcome.trace)
        if again:
            self._meters.pop(name, None)
            self._draw(Update(None, worker, name))
            error = as_typed(outcome.error, NAMES)
            line = Line(f"{name}: {error}", "again later ", "yellow")
            values = {"clip": name, "worker": worker, "message": error}
            self._console.say("retry", values, line)

    def settled(self, clip: ClipReport) -> None:
        self._settled += 1
        self._made += self._frames.get(clip.name, 0)
        self._under_way.pop(clip.name, None)
        self._meters.pop(clip.name, None)
        self._draw(Update(None, clip.worker, clip.name))
        self._draw(Update(self._reading(None), batch=self._far()))
        if clip.error:
            self._console.say("clip", asdict(clip), _problem(clip), level="error")
        else:
            self._console.say("clip", asdict(clip))

    def finished(self, clips: Sequence[ClipReport]) -> None:
        lines = [Line("clip", f"{'status':<8}{'frames':>8}{'seconds':>9}  ")]
        lines += [line for clip in _shown(clips) for line in _row(clip)]
        if len(clips) > _ROWS:
            lines.append(Line(f"and others, of {len(clips)} in all: --report lists them"))
        lines.append(Line(f"{counted(len(clips), 'clip')}: {_in_words(clips)}"))
        values = {**_counts(clips), "clips": [asdict(clip) for clip in clips]}
        self._console.say("summary", values, *lines, level="result")


def _problem(clip: ClipReport) -> Line:
    return Line(f"{clip.name}: {clip.error}", f"{clip.status} ", _STYLES[clip.status])


def _row(clip: ClipReport) -> Iterator[Line]:
    """A clip and its numbers, and below it what came of it."""
    frames = "" if clip.frames is None else str(clip.frames)
    seconds = f"{clip.seconds:.1f}" if clip.seconds else ""
    yield Line(clip.name, f"{clip.status:<8}{frames:>8}{seconds:>9}  ", _STYLES[clip.status])
    for text in (clip.error or clip.outputs[0], *clip.warnings):
        yield Line(text, _DETAIL)


def _counts(clips: Sequence[ClipReport]) -> dict[str, int]:
    return dict(Counter(clip.status for clip in clips))


def _in_words(clips: Sequence[ClipReport]) -> str:
    return ", ".join(f"{number} {status}" for status, number in _counts(clips).items())


def _shown(clips: Sequence[ClipReport]) -> Sequence[ClipReport]:
    """What a table has room for: all, or at least what failed."""
    if len(clips) <= _ROWS:
        return clips
    failed = [clip for clip in clips if clip.status == "failed"]
    return failed or clips[:_ROWS]
