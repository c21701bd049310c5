"""What came of every video of a batch, for people and programs: a report each, and their file."""

import csv
import dataclasses
import io
import json
import time
from collections import Counter
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import depthcrafter_cli
from depthcrafter_cli.errors import OutputError, UsageError
from depthcrafter_cli.media.files import require_folder, write_whole
from depthcrafter_cli.text import printable
from depthcrafter_cli.workflows.batches.task import EndedAttempt, Outcome, VideoTask

_UPDATE_SECONDS = 1.0


@dataclass(frozen=True)
class TaskReport:
    """``status`` is ``done``, ``skipped`` (complete before), ``failed``, ``to do``, or ``stopped``.

    ``frames`` are those made, or for a video to do those expected if known; ``seconds`` and
    ``worker`` are of the last of ``attempts``; ``error`` and ``exit_code`` are what ``run`` would
    have said.
    """

    name: str
    status: str
    video: str
    outputs: tuple[str, ...]
    frames: int | None = None
    seconds: float = 0.0
    attempts: int = 0
    worker: str = ""
    error: str = ""
    exit_code: int = 0
    warnings: tuple[str, ...] = ()

    @property
    def open(self) -> bool:
        """Whether the video is neither done nor failed for good."""
        return self.status in ("to do", "stopped")

    def reworded(self, words: Callable[[str], str]) -> "TaskReport":
        """The same, its sentences in other words."""
        warnings = tuple(map(words, self.warnings))
        return dataclasses.replace(self, error=words(self.error), warnings=warnings)

    @staticmethod
    def of(
        task: VideoTask,
        status: str,
        outcome: Outcome | None = None,
        *,
        frames: int | None = None,
    ) -> "TaskReport":
        """The report of a task, with what came of it so far."""
        came = outcome or Outcome()
        return TaskReport(
            name=task.name,
            status=status,
            video=str(task.request.video),
            outputs=tuple(map(str, task.request.outputs)),
            frames=came.frames or frames,
            seconds=round(came.seconds, 3),
            error=came.error,
            exit_code=came.exit_code,
            warnings=came.warnings,
        )

    @staticmethod
    def settled(task: VideoTask, ended: EndedAttempt) -> "TaskReport":
        """The report of a task after its last attempt."""
        report = TaskReport.of(task, "failed" if ended.outcome.error else "done", ended.outcome)
        return dataclasses.replace(report, attempts=ended.task.attempt, worker=ended.worker)


def check_report(path: Path, *, replace: bool) -> None:
    """Raises UsageError for another suffix than .json or .csv, OutputError for a place taken."""
    if path.suffix.lower() not in (".json", ".csv"):
        raise UsageError(f"got `report` {path}, expected a name in .json or .csv: rename it.")
    if path.exists():
        ours = _is_report(path)
        remedy = ", or pass `resume=True` or `overwrite=True`" if ours else ""
        if not (ours and replace):
            raise OutputError(
                f"{path} exists, expected a free name for the report: choose another{remedy}."
            )
    require_folder(path.parent, path, is_made=False)


def _is_report(path: Path) -> bool:
    """Whether a file may be replaced by a report: it is one, and not a list of videos, say."""
    try:
        with path.open(encoding="utf-8", errors="surrogateescape") as file:
            first = file.readline()
    except OSError:
        return False
    return first in ("{\n", _csv([]))


class ReportFile:
    """A report that is written as a batch goes: whole after any kill, and seldom a second old.

    All videos are written each time, so the more there are, the less often: writing takes a
    twentieth of the batch's time at most.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._due = 0.0

    def update(self, reports: Collection[TaskReport]) -> None:
        """Write the videos as they are now, unless that was done just before.

        What fails here is tried again later: the batch goes on.
        """
        began = time.monotonic()
        if began < self._due:
            return
        with suppress(OutputError):
            self.write(reports)
        ended = time.monotonic()
        self._due = ended + max(_UPDATE_SECONDS, 20 * (ended - began))

    def write(self, reports: Collection[TaskReport]) -> None:
        """All videos as JSON, or as CSV with a line each. Raises OutputError."""
        text = _csv(reports) if self._path.suffix.lower() == ".csv" else _json(reports)
        # A name may be of no encoding.
        write_whole(self._path, text.encode("utf-8", "surrogateescape"))


def _json(reports: Collection[TaskReport]) -> str:
    whole = {
        "program": f"depthcrafter {depthcrafter_cli.__version__}",
        "counts": Counter(report.status for report in reports),
        "videos": [asdict(report) for report in reports],
    }
    return json.dumps(whole, indent=2) + "\n"


def _csv(reports: Collection[TaskReport]) -> str:
    text = io.StringIO()
    names = [field.name for field in fields(TaskReport)]
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    for report in reports:
        lists = {"outputs": " | ".join(report.outputs), "warnings": " | ".join(report.warnings)}
        row = {**asdict(report), **lists}
        writer.writerow(
            {
                name: printable(cell, keep_bytes=True) if isinstance(cell, str) else cell
                for name, cell in row.items()
            }
        )
    return text.getvalue()
