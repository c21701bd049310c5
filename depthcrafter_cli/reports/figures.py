"""Figures of papers, as PNG."""

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from depthcrafter_cli.depth.colorize import own_matplotlib
from depthcrafter_cli.evaluation.report import EvaluationReport
from depthcrafter_cli.text import printable

_SCORES = {"abs_rel": "AbsRel", "delta1": "δ1", "temporal": "flicker"}
_LONGEST = 28  # letters of a name


@dataclass(frozen=True)
class Cost:
    """What a run took: seconds a frame of computing, and bytes of memory at its peak, if known."""

    name: str
    seconds: float
    peak_bytes: float | None


def error_against_length(reports: Sequence[tuple[str, EvaluationReport]]) -> bytes:
    """AbsRel by the number of the frame, each clip fitted as a whole: a line for each report."""
    figure, (axes,) = _figure(1)
    for name, report in reports:
        means = report.mean_by_frame()
        known = [(index, mean) for index, mean in enumerate(means) if mean is not None]
        if known:
            axes.plot(*zip(*known, strict=True), label=_short(name))
    axes.set(xlabel="frame", ylabel="AbsRel", ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return _png(figure)


def score_bars(reports: Sequence[tuple[str, EvaluationReport]]) -> bytes:
    """AbsRel, delta1 and flicker: a panel for each, a bar for each report that has it."""
    figure, panels = _figure(len(_SCORES), rows=len(reports))
    for axes, (score, title) in zip(panels, _SCORES.items(), strict=True):
        values = [(name, report.mean_of(score)) for name, report in reports]
        _bars(axes, [(label, value) for label, value in values if value is not None], "{:.3f}")
        axes.set_title(f"{title}, {'higher' if score == 'delta1' else 'lower'} is better")
    return _png(figure)


def cost_bars(costs: Sequence[Cost]) -> bytes:
    """Time a frame and memory at its peak: a bar for each run."""
    figure, (time, memory) = _figure(2, rows=len(costs))
    _bars(time, [(cost.name, 1000 * cost.seconds) for cost in costs], "{:.0f}")
    time.set_title("ms a frame")
    known = [(cost.name, cost.peak_bytes / 1e9) for cost in costs if cost.peak_bytes is not None]
    _bars(memory, known, "{:.2f}")
    memory.set_title("GB of memory at the peak")
    return _png(figure)


def name_of(report: EvaluationReport) -> str:
    """What a figure calls an evaluation: what made the estimates, and the set."""
    return f"{report.made['name']}, {report.dataset}"


def _bars(axes: Any, values: Sequence[tuple[str, float]], form: str) -> None:
    places = range(len(values))
    drawn = axes.barh(places, [value for _name, value in values], color="#a8452f", height=0.6)
    axes.bar_label(drawn, [form.format(value) for _name, value in values], padding=3)
    axes.set_yticks(places, [_short(name) for name, _value in values])
    axes.invert_yaxis()
    axes.margins(x=0.18)
    axes.spines[["top", "right"]].set_visible(False)


def _short(name: str) -> str:
    name = printable(name).replace("$", r"\$")  # a pair of which would begin a formula
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"


def _figure(panels: int, rows: int = 0) -> tuple[Any, Any]:
    own_matplotlib()
    from matplotlib.figure import Figure

    height = 1.2 + 0.45 * rows if rows else 3.6
    figure = Figure(figsize=(7 if panels == 1 else 4.4 * panels, height), layout="constrained")
    return figure, figure.subplots(1, panels, squeeze=False)[0]


def _png(figure: Any) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph", UserWarning)  # drawn as boxes
        figure.savefig(file, format="png", dpi=140)
    return file.getvalue()
