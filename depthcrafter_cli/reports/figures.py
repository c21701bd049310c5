"""Figures of papers, as PNG."""

import io
from collections.abc import Sequence

from depthcrafter_cli.depth.colorize import own_matplotlib
from depthcrafter_cli.evaluation.report import EvaluationReport


def error_against_length(reports: Sequence[EvaluationReport]) -> bytes:
    """AbsRel by the number of the frame, each clip fitted as a whole: a line for each report."""
    own_matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.subplots()
    for report in reports:
        means = report.mean_by_frame()
        known = [(index, mean) for index, mean in enumerate(means) if mean is not None]
        if known:
            axes.plot(*zip(*known, strict=True), label=f"{report.made['name']}, {report.dataset}")
    axes.set(xlabel="frame", ylabel="AbsRel", ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=140)
    return file.getvalue()
