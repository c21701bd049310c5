"""Figures of evaluations and of runs, from their reports and records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from depthcrafter_cli.errors import InputError, UsageError
from depthcrafter_cli.evaluation.report import read_report
from depthcrafter_cli.media.files import claimed, require_new
from depthcrafter_cli.media.published import Published
from depthcrafter_cli.reports.figures import (
    Cost,
    cost_bars,
    error_against_length,
    name_of,
    score_bars,
)
from depthcrafter_cli.structured import content_errors, json_object
from depthcrafter_cli.workflows.looking import FigureRequest

_OF_EVALUATIONS = {"scores": score_bars, "errors": error_against_length}


def figure(request: FigureRequest) -> None:
    """Draw the figure.

    Raises UsageError for a name of another suffix, InputError for files of another kind, and
    OutputError for a name that is taken.
    """
    if request.out.suffix.lower() != ".png":
        raise UsageError(f"got `out` {request.out}, expected a name in .png: rename it.")
    require_new(request.out, overwrite=request.overwrite)
    draw = _OF_EVALUATIONS.get(request.kind)
    if draw is None:
        costs = _costs(request.inputs)
        names = _told_apart(request.inputs, [cost.name for cost in costs])
        content = cost_bars(
            [replace(cost, name=name) for name, cost in zip(names, costs, strict=True)]
        )
    else:
        reports = [read_report(path) for path in request.inputs]
        if empty := [path for path, each in zip(request.inputs, reports, strict=True)
                     if not each.clips]:  # fmt: skip
            raise InputError(f"{empty[0]} has no clip yet, expected some: go on with it first.")
        names = _told_apart(request.inputs, [name_of(each) for each in reports])
        content = draw([*zip(names, reports, strict=True)])
    with claimed([request.out]):
        Published(overwrite=request.overwrite).write_whole(request.out, content)


def _told_apart(paths: Sequence[Path], names: Sequence[str]) -> list[str]:
    """The names; where several are the same with that of the file, and of folders if need be."""
    places = [path.absolute().with_suffix("").parts for path in paths]
    depths = range(1, max(map(len, places)) + 1)
    enough = next((n for n in depths if len({place[-n:] for place in places}) == len(places)), 1)
    return [
        name if names.count(name) == 1 else f"{'/'.join(place[-enough:])}: {name}"
        for place, name in zip(places, names, strict=True)
    ]


def _costs(paths: Sequence[Path]) -> list[Cost]:
    """By the records of runs that computed all of their frames."""
    records: list[tuple[Path, Mapping[str, Any]]] = []
    for path in paths:
        with content_errors(path, InputError, "expected the record of a run: check the path"):
            record = json_object(path)
            for needed in ("infer_seconds", "frames", "model", "model_size"):
                if needed not in record:
                    raise KeyError(needed)
            records.append((path, record))
    return [
        Cost(
            f"{record['model']}, {record['model_size']}",
            float(record["infer_seconds"]) / int(record["frames"]),
            record.get("peak_memory_bytes"),
        )
        for _path, record in records
    ]
