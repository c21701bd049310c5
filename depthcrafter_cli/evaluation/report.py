"""What an evaluation came to: typed, versioned, and written as JSON, CSV, Markdown or LaTeX."""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from depthcrafter_cli.errors import InputError
from depthcrafter_cli.evaluation.consistency import Consistency
from depthcrafter_cli.evaluation.metrics import DepthMetrics, mean_metrics
from depthcrafter_cli.evaluation.published import SOURCE, published_rows
from depthcrafter_cli.structured import content_errors, json_object, typed
from depthcrafter_cli.text import counted, printable

_FORMAT = 1
_SHOWN = ("abs_rel", "delta1", "delta2", "delta3", "rmse", "log10")
_MORE = ("tae", "opw", "tgm", "boundary_f1")
_LATER = ("temporal", *_MORE)
_TITLES = {
    "abs_rel": "AbsRel", "delta1": "δ1", "delta2": "δ2", "delta3": "δ3", "rmse": "RMSE",
    "log10": "log10", "temporal": "flicker", "tae": "TAE", "opw": "OPW", "tgm": "TGM",
    "boundary_f1": "edge F1",
}  # fmt: skip


@dataclass(frozen=True)
class Protocol:
    """How estimates are compared with the truth.

    ``domain`` is what one scale and one shift are fitted to: ``depth`` for estimates of disparity,
    fitted to 1 / depth, and ``disp`` for estimates of depth, fitted to depth itself. ``per_frame``
    fits each frame by itself instead of the clip. ``align_by`` and ``loss`` are those of
    :class:`~depthcrafter_cli.evaluation.alignment.Alignment`; ``long`` says that the set's list of
    500 frames is used, ``flow`` that OPW is measured. Depth counts from 1e-3 to ``max_depth``.
    """

    max_depth: float
    max_frames: int
    domain: str = "depth"
    per_frame: bool = False
    align_by: str = "scale-shift"
    loss: str = "squares"
    long: bool = False
    flow: bool = False


@dataclass(frozen=True)
class ClipScore:
    """The metrics of one clip; ``temporal`` is None for a single frame.

    ``version`` is another one once the clip's truth, or its prediction, is written again.
    """

    name: str
    frames: int
    metrics: DepthMetrics
    temporal: float | None
    consistency: Consistency = field(default_factory=Consistency)
    version: str = ""

    def values(self) -> dict[str, Any]:
        """Return the clip's row by column."""
        return {
            "clip": self.name, "frames": self.frames, **asdict(self.metrics),
            "temporal": self.temporal,
            **{name: getattr(self.consistency, name) for name in _MORE},
        }  # fmt: skip


@dataclass(frozen=True)
class EvaluationReport:
    """The scores of one method on one set, of the clips that are done.

    Attributes:
        dataset: the set's name.
        root: the set's folder.
        made: what made the estimates: method, model, settings, hashes; or the folder of results.
        protocol: how they were compared.
        names: of all clips of the set, in its order.
        clips: those that are done, in the same order.
    """

    dataset: str
    root: str
    made: Mapping[str, Any]
    protocol: Protocol
    names: tuple[str, ...]
    clips: tuple[ClipScore, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether all clips are done."""
        return len(self.clips) == len(self.names)

    @property
    def mean(self) -> DepthMetrics:
        """The means over the clips that are done. Raises InputError for none."""
        return mean_metrics([clip.metrics for clip in self.clips])

    def mean_of(self, name: str) -> float | None:
        """The mean of a column of :meth:`ClipScore.values` over the clips that have it."""
        scores = [score for clip in self.clips if (score := clip.values()[name]) is not None]
        return sum(scores) / len(scores) if scores else None

    def mean_by_frame(self) -> list[float | None]:
        """The AbsRel of each frame's number, a mean over the clips that have it."""
        longest = max((len(clip.consistency.by_frame) for clip in self.clips), default=0)
        means: list[float | None] = []
        for index in range(longest):
            known = [
                score for clip in self.clips
                if index < len(clip.consistency.by_frame)
                and (score := clip.consistency.by_frame[index]) is not None
            ]  # fmt: skip
            means.append(sum(known) / len(known) if known else None)
        return means

    def differs(self, other: "EvaluationReport") -> str:
        """What of clips, estimates and protocol is another; empty where both are of the same."""
        ours, theirs = self.identity(), other.identity()
        names = {key for key in (*ours, *theirs) if ours.get(key) != theirs.get(key)}
        for whole in names & {"made", "protocol"}:
            parts = {*ours[whole], *theirs[whole]}
            changed = {key for key in parts if ours[whole].get(key) != theirs[whole].get(key)}
            names = names - {whole} | changed
        return ", ".join(sorted(names))

    def identity(self) -> dict[str, Any]:
        """Return all that the scores depend on, as plain values."""
        values = json.loads(json.dumps(asdict(self)))
        del values["clips"]
        return dict(values)

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain values; ``mean`` is None before the first clip is done."""
        mean = None
        if self.clips:
            mean = {**asdict(self.mean), **{name: self.mean_of(name) for name in _LATER}}
        return {
            "format": _FORMAT, "complete": self.complete, **self.identity(),
            "clips": [asdict(clip) for clip in self.clips], "mean": mean,
        }  # fmt: skip


def read_report(path: Path) -> EvaluationReport:
    """Return the report in a file. Raises InputError for what is none."""
    with content_errors(path, InputError, "expected a report of `depthcrafter evaluate`: move it"):
        values = dict(json_object(path))
        if values.pop("format", None) != _FORMAT:
            raise ValueError(f"it is of no format that this version knows ({_FORMAT})")
        del values["complete"], values["mean"]
        report: EvaluationReport = typed(EvaluationReport, values, path.name)
        return report


def report_text(report: EvaluationReport, suffix: str) -> str:
    """Return the report as the text of a file with this suffix, one of :data:`FORMATS`."""
    return FORMATS[suffix](report)


def _json(report: EvaluationReport) -> str:
    return json.dumps(report.to_json(), indent=2) + "\n"


def _csv(report: EvaluationReport) -> str:
    text = io.StringIO()
    names = ["clip", "frames", *(each.name for each in fields(DepthMetrics)), *_LATER]
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({**clip.values(), "clip": printable(clip.name)} for clip in report.clips)
    return text.getvalue()


def table(report: EvaluationReport) -> tuple[Sequence[str], list[Sequence[str]]]:
    """Return the titles and rows of the table of means: the report's own, then published ones."""
    own = {name: report.mean_of(name) for name in (*_SHOWN, *_LATER)}
    published = published_rows(report.dataset, long=report.protocol.long)
    shown = [
        name for name in own
        if own[name] is not None or any(name in row.scores for row in published)
    ]  # fmt: skip
    made = printable(str(report.made["name"]))
    rows: list[Sequence[str]] = [[made, *(_score(own[name]) for name in shown)]]
    for row in published:
        scores = (_score(row.scores.get(name)) for name in shown)
        rows.append([f"{row.method} *", *scores])
    return ["method", *(_TITLES[name] for name in shown)], rows


def _score(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


NOTE = f"* published: {SOURCE}; other methods as its authors ran them"


def _markdown(report: EvaluationReport) -> str:
    titles, rows = table(report)
    lines = [titles, ["---"] * len(titles), *rows]
    head = (
        f"{report.dataset}: {len(report.clips)} of {counted(len(report.names), 'clip')}, "
        f"{counted(sum(clip.frames for clip in report.clips), 'frame')}\n\n"
    )
    shown = "".join(
        f"| {' | '.join(cell.translate(_MARKDOWN) for cell in line)} |\n" for line in lines
    )
    note = f"\n\\{NOTE}\n" if len(rows) > 1 else ""  # a star alone would begin a list
    return f"{head}{shown}{note}"


def _latex(report: EvaluationReport) -> str:
    titles, rows = table(report)
    lines = [f"{' & '.join(map(_in_latex, row))} \\\\\n" for row in rows]
    return "".join([f"% {' & '.join(titles)}\n", *lines])


_MARKDOWN = {ord(each): f"\\{each}" for each in "|<"}
_LATEX = {each: f"\\{each}" for each in "&%$#_{}"} | {
    "[": "{[}",  # behind \\ it would begin an argument
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
}  # fmt: skip


def _in_latex(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in text)


FORMATS: dict[str, Callable[[EvaluationReport], str]] = {
    ".json": _json,
    ".csv": _csv,
    ".md": _markdown,
    ".tex": _latex,
}
"""The text of a report by the suffix of its file."""
