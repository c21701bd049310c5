"""What pages show of an evaluation: its means beside published rows, and its clips."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from depthcrafter_cli.depth.colorize import colorize
from depthcrafter_cli.depth.normalize import normalize
from depthcrafter_cli.errors import DepthCrafterError
from depthcrafter_cli.evaluation.report import NOTE, EvaluationReport, table
from depthcrafter_cli.media.scale import resize_disparity
from depthcrafter_cli.progress import Warn
from depthcrafter_cli.reports.index_page import Cell, IndexTable
from depthcrafter_cli.reports.pictures import webp
from depthcrafter_cli.reports.run_page import ScoreTable
from depthcrafter_cli.types import Size, ValueRange

if TYPE_CHECKING:
    from depthcrafter_cli.datasets.recorded import RecordedClip

THUMBNAIL = 126  # pixels high
_SCORES = ("abs_rel", "delta1", "rmse", "log10")


def score_table(scores: EvaluationReport) -> ScoreTable:
    """The means of an evaluation beside published rows."""
    titles, rows = table(scores)
    return ScoreTable(_scores_title(scores), titles, rows, NOTE if len(rows) > 1 else "")


def _scores_title(scores: EvaluationReport) -> str:
    done = f"{len(scores.clips)} of {len(scores.names)} clips"
    return f"{scores.dataset}: {scores.made['name']}, {done}"


def evaluation_tables(scores: EvaluationReport, warn: Warn) -> list[IndexTable]:
    """The table of means beside published rows, and one of all clips with their pictures."""
    pictures = _clip_pictures(scores, warn)
    rows = []
    for clip in scores.clips:
        values = [getattr(clip.metrics, name) for name in _SCORES]
        cells = [Cell(f"{value:.3f}", value) for value in values]
        steady = Cell() if clip.temporal is None else Cell(f"{clip.temporal:.3f}", clip.temporal)
        shown = pictures.get(clip.name, b"")
        says = f"{clip.name} and its true depth" if shown else ""
        rows.append(
            [Cell(says, picture=shown), Cell(clip.name, kind="name"),
             Cell(str(clip.frames), clip.frames), *cells, steady]
        )  # fmt: skip
    titles = ["", "Clip", "Frames", "AbsRel", "δ1", "RMSE", "log10", "Flicker"]
    means = score_table(scores)
    return [
        IndexTable(
            means.title, means.titles, [[*map(_cell, row)] for row in means.rows], means.note
        ),
        IndexTable(f"Clips of {scores.dataset}", titles, rows),
    ]


def _cell(text: str) -> Cell:
    try:
        return Cell(text, float(text))
    except ValueError:
        return Cell(text)


def _clip_pictures(scores: EvaluationReport, warn: Warn) -> dict[str, bytes]:
    """By clip: its middle picture beside its true depth; none where the set is gone."""
    from depthcrafter_cli.datasets.registry import DATASETS

    found = {}
    try:
        wanted = {clip.name: clip.frames for clip in scores.clips}
        clips = DATASETS[scores.dataset].clips(
            Path(scores.root), long=scores.protocol.long, only=wanted
        )
        for clip in clips:
            found[clip.name] = _clip_picture(clip, wanted[clip.name] // 2)
    except (DepthCrafterError, KeyError) as error:
        warn(f"The index of {scores.dataset} has no pictures: {error}")
    return found


def _clip_picture(clip: RecordedClip, index: int) -> bytes:
    from depthcrafter_cli.datasets.recorded import inverse

    size = Size(THUMBNAIL, max(1, round(THUMBNAIL * clip.size.width / clip.size.height)))
    (depth,) = clip.depth(1, index)
    known, disparity = depth > 0, np.maximum(inverse(depth), 0)
    low, high = np.percentile(disparity[known], (2, 98)) if known.any() else (0, 1)
    levels = normalize(resize_disparity(disparity, size), ValueRange(float(low), float(high)))
    (picture,) = clip.pictures_at(size, 1, index)
    both = np.concatenate([picture, colorize(levels, "inferno")], 1)
    return webp(both, Size(size.height, 2 * size.width), 60)
