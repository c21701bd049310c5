"""Pages on results that are there: one on a run, or an index of a batch, of an evaluation, of runs.

They are made from the results' files and need no model.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import numpy as np

from depthcrafter_cli.depth.colorize import colorize, table_of
from depthcrafter_cli.depth.normalize import normalize
from depthcrafter_cli.disk import derived
from depthcrafter_cli.errors import DepthCrafterError, InputError, OutputError, UsageError
from depthcrafter_cli.evaluation.checks import Checker
from depthcrafter_cli.evaluation.frames import every, range_of, sound
from depthcrafter_cli.evaluation.report import EvaluationReport, read_report
from depthcrafter_cli.media.files import claimed, output_errors, require_folder
from depthcrafter_cli.media.published import Published
from depthcrafter_cli.media.scale import resize_disparity
from depthcrafter_cli.progress import Observer, Progress, Warn, ignore
from depthcrafter_cli.reports.index_page import Cell, IndexTable, index_page
from depthcrafter_cli.reports.pictures import Preview, encoded, preview_size, webp
from depthcrafter_cli.reports.run_page import RunView, ScoreTable, run_page
from depthcrafter_cli.structured import content_errors, json_object
from depthcrafter_cli.text import counted
from depthcrafter_cli.types import Size
from depthcrafter_cli.workflows.looking import ReportRequest
from depthcrafter_cli.workflows.provenance import program
from depthcrafter_cli.workflows.results import Result, find_result
from depthcrafter_cli.workflows.score_tables import THUMBNAIL, evaluation_tables, score_table

_PAGE_BYTES = 90_000  # of a page without its frames


@dataclass(frozen=True)
class _Video:
    """A line of an index: a result, or what is said of one that is not there."""

    name: str
    result: Path | None
    status: str = "done"
    frames: int | None = None
    seconds: float | None = None
    error: str = ""


def report(request: ReportRequest, observer: Observer = ignore, warn: Warn = ignore) -> list[Path]:
    """Write the page, and return what was written.

    One run has a page of its own, with the tables of evaluations that are given beside it. Several
    runs, a batch or evaluations have an index; each run's page is then in a folder beside it.
    ``warn`` is told of a video that is gone or another now, and of results of which no page can be
    made.

    Raises UsageError for options out of range, InputError for what is no result, and OutputError
    for names that are taken.
    """
    _check(request)
    videos, scores, is_list = _sorted_out(request.inputs)
    alone = videos[0].result if len(videos) == 1 and not is_list else None
    pages = derived(request.out.with_suffix(""), "_pages")
    for place in (request.out, *([pages] if videos and alone is None else [])):
        if place.exists() and not request.overwrite:
            raise OutputError(
                f"{place} exists, expected a free name for the report: choose another, or pass "
                "`overwrite=True`."
            )
    published = Published(overwrite=request.overwrite)
    with claimed([request.out]):
        if alone is not None:
            tables = [score_table(each) for each in scores]
            view = _view(find_result(alone), request, observer, warn, tables)
            published.write_whole(request.out, run_page(view).encode())
            return [request.out]
        sections, written = [], []
        if videos:
            rows = [
                _video_row(each, request, pages / f"{at:04}", observer, warn)
                for at, each in enumerate(videos)
            ]
            sections.append(_videos_table(rows))
            written = [pages]
        sections += chain.from_iterable(evaluation_tables(each, warn) for each in scores)
        held = ((len(videos), "video"), (len(scores), "evaluation"))
        about = ", ".join(counted(number, thing) for number, thing in held if number)
        page = index_page(request.out.stem.replace("_", " "), about, sections, program=program())
        published.write_whole(request.out, page.encode())
        return [request.out, *written]


def _check(request: ReportRequest) -> None:
    if request.out.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"got `out` {request.out}, expected a name in .html: rename it.")
    require_folder(request.out.parent, request.out, is_made=False)


def _sorted_out(inputs: Sequence[Path]) -> tuple[list[_Video], list[EvaluationReport], bool]:
    """Videos and evaluations, and whether a report of a batch was among them. Raises InputError."""
    videos, scores, is_list = [], [], False
    for path in inputs:
        kind = _kind(path)
        if kind == "evaluation":
            scores.append(read_report(path))
        elif kind == "batch":
            is_list = True
            videos += _of_batch(path)
        else:
            videos.append(_Video(path.name, path))
    return videos, scores, is_list


def _kind(path: Path) -> str:
    if path.suffix.lower() != ".json" or path.is_dir():
        return "run"
    expected = "expected a result, its record, or a report of a batch or an evaluation"
    with content_errors(path, InputError, f"{expected}: check the path"):
        content = json_object(path)
    return "evaluation" if "protocol" in content else "batch" if "videos" in content else "run"


def _of_batch(path: Path) -> list[_Video]:
    with content_errors(path, InputError, "expected the report of a batch: check the path"):
        return [
            _Video(
                each["name"], Path(each["outputs"][0]) if each["status"] in _MADE else None,
                each["status"], each["frames"], each["seconds"] or None, each["error"],
            )
            for each in json_object(path)["videos"]
        ]  # fmt: skip


_MADE = ("done", "skipped")


def _view(
    result: Result,
    request: ReportRequest,
    observer: Observer,
    warn: Warn,
    scores: Sequence[ScoreTable] = (),
) -> RunView:
    """What the page of a run shows: the depth is read once, or twice where no range is known."""
    depth, total = result.depth, result.depth.frames
    most = round(request.max_mb * 1e6 - _PAGE_BYTES) * 3 // 4  # as base64 they take more
    size = preview_size(result.shown_size)
    chosen = np.unique(np.linspace(0, total - 1, min(total, request.frames)).round().astype(int))
    indices = chosen.tolist()
    checker, small = _read(result, size, indices, observer)
    numbers = checker.numbers
    ranges = result.ranges() or (range_of(numbers),) * len(result.shots)
    shots = map(result.shot_at, indices)
    levels = [normalize(each, ranges[shot]) for each, shot in zip(small, shots, strict=True)]
    pictures, notes = _pictures(result, size, indices, warn)
    previews = [
        Preview(picture, each) for picture, each in zip(pictures, levels, strict=False)
    ]  # fmt: skip
    webps, shown = encoded(previews, most)
    times = result.times()
    middle = previews[len(previews) // 2]
    parts = [colorize(middle.depth, result.colormap)]
    parts = parts if middle.picture is None else [middle.picture, *parts]
    return RunView(
        title=result.name, about=_about(result),
        program=program(), total=total, size=depth.size,
        duration=times[-1] + 1 / float(result.rate), preview_size=shown, previews=webps,
        indices=indices, times=[times[index] for index in indices], numbers=numbers,
        findings=[finding.says.replace("`", "") for finding in checker.findings()],
        shots=result.shots, joins=result.joins(), colours=table_of(result.colormap),
        poster=webp(np.concatenate(parts, 1), Size(size.height, len(parts) * size.width), 60),
        unit="disparity" if depth.is_raw else "depth from 0 to 1", notes=notes,
        settings=_facts(result), record=_without_folders(result.record), scores=scores,
    )  # fmt: skip


def _read(
    result: Result, size: Size, indices: Sequence[int], observer: Observer
) -> tuple[Checker, list[Any]]:
    """What has looked at all frames, and the disparity of some at ``size``."""
    checker = Checker(result.shots, result.joins(), result.overlap, result.ranges())
    step = every(result.depth.size.height * result.depth.size.width)
    wanted, small = set(indices), []
    for index, frame in enumerate(result.depth.read()):
        checker.add(frame[::step, ::step])
        if index in wanted:
            small.append(resize_disparity(sound(frame), size))
        observer(Progress("examine", index + 1, result.depth.frames))
    return checker, small


def _pictures(
    result: Result, size: Size, indices: Sequence[int], warn: Warn
) -> tuple[Iterator[Any], list[str]]:
    """The video's pictures of these frames, and what to say of a video that lacks them."""
    if result.video is None:
        if not result.record:
            return repeat(None), []
        warn(
            f"The video {result.name} is gone, or another than was read, so the page shows depth "
            "alone."
        )
        return repeat(None), ["The video was not there, or another, when this page was made."]
    wanted, found = set(indices), []
    try:
        for index, picture in enumerate(result.pictures(size)):
            if index in wanted:
                found.append(picture)
    except DepthCrafterError as error:
        warn(f"The page shows depth alone: {error}")
        return repeat(None), ["The video could not be read when this page was made."]
    if len(found) < len(indices):
        warn(f"{result.name} has fewer frames than its depth, so the page shows depth alone.")
        return repeat(None), ["The video had fewer frames than its depth."]
    return iter(found), []


def _about(result: Result) -> str:
    depth = result.depth
    model = [f"depth by {result.record['model']}"] if result.record else []
    shots = [counted(len(result.shots), "shot")] if len(result.shots) > 1 else []
    return " · ".join(
        [*model, counted(depth.frames, "frame"), *shots, f"{float(result.rate):.4g} fps",
         str(depth.size)]
    )  # fmt: skip


def _facts(result: Result) -> list[tuple[str, str]]:
    """What a reader asks first of a result, in words."""
    record, depth = result.record, result.depth
    facts = [("Depth read from", f"{depth.path.name}, {depth.kind}")]
    if not record:
        return facts
    asked = record["request"]
    facts += [
        ("Video", f"{result.name}, {record['source_size']}"),
        ("Method", asked["method"]),
        ("Model", record["model"] + " (non-commercial)" * bool(record.get("non_commercial"))),
        ("Computed at", str(record["model_size"])),
    ]
    facts += [
        (name.replace("_", " ").capitalize(), f"{value:g}" if type(value) is float else str(value))
        for name, value in record["settings"].items()
    ]
    facts += [("On", f"{record['device']}, {record['dtype']}")]
    if seconds := record.get("infer_seconds"):
        facts.append(("Took", f"{seconds:.1f} s, {depth.frames / seconds:.2f} frames/s"))
    if peak := record.get("peak_memory_bytes"):
        facts.append(("Peak memory", f"{peak / 1e9:.2f} GB"))
    if "normalize" in record:
        low, high = record["value_range"]
        facts.append(("Shown as 0 and 1", f"{record['normalize']}: {low:.4g} and {high:.4g}"))
    return [*facts, ("Program", record["program"])]


def _without_folders(value: Any) -> Any:
    """Plain values with the names alone of what lies in folders, as pages are shown to others."""
    if isinstance(value, Mapping):
        return {key: _without_folders(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_without_folders(each) for each in value]
    if isinstance(value, str) and Path(value).is_absolute():
        return Path(value).name
    return value


def _video_row(
    video: _Video, request: ReportRequest, stem: Path, observer: Observer, warn: Warn
) -> tuple[_Video, Cell, Cell, Cell]:
    """A video, its picture and depth, its name, which leads to its page, and how many frames.

    A result that cannot be read is told of. The page is called ``stem``, and after the video.
    """
    if video.result is not None:
        try:
            view = _view(find_result(video.result), request, observer, warn)
        except DepthCrafterError as error:
            warn(f"{video.name} has no page: {error}")
            video = replace(video, status="not read", error=str(error))
        else:
            with output_errors(stem.parent):
                stem.parent.mkdir(exist_ok=True)
            own = derived(stem.with_name(f"{stem.name}_{_flat(video.name)}"), ".html")
            Published(overwrite=True).write_whole(own, run_page(view).encode())
            link = f"{own.parent.name}/{own.name}"
            picture = _smaller(view.poster)
            return (
                video,
                Cell(f"{video.name} and its depth", link=link, picture=picture),
                Cell(video.name, link=link, kind="name"),
                Cell(str(view.total), view.total),
            )
    frames = "" if video.frames is None else str(video.frames)
    return video, Cell(), Cell(video.name, kind="name"), Cell(frames, video.frames)


def _flat(name: str) -> str:
    return name.replace("/", "_").replace("\\", "_")


def _smaller(poster: bytes) -> bytes:
    import io

    from PIL import Image

    with Image.open(io.BytesIO(poster)) as image:
        width = max(1, round(THUMBNAIL * image.width / image.height))
        return webp(np.asarray(image.convert("RGB")), Size(THUMBNAIL, width), 60)


# Windows' paths, whose folders may have spaces in their names, though not at the end; then any.
_FOLDERS = re.compile(
    r"(?<![^\s'\"(])"
    r"(?:(?:[A-Za-z]:|\\)\\(?:[^\\/:*?\"<>|\n]*[^\\/:*?\"<>|\s]\\)*"
    r"|(?:[A-Za-z]:)?[/\\](?=\S)(?:[^\s/\\]+[/\\])*)"
)


def _videos_table(rows: Sequence[tuple[_Video, Cell, Cell, Cell]]) -> IndexTable:
    lines = []
    for video, picture, name, frames in rows:
        seconds = Cell() if video.seconds is None else Cell(f"{video.seconds:.1f}", video.seconds)
        remark = Cell(_FOLDERS.sub("", video.error), kind="long")  # pages are shown to others
        status = Cell(video.status, kind="good" if video.status in _MADE else "bad")
        lines.append([picture, name, status, frames, seconds, remark])
    titles = ["", "Video", "Status", "Frames", "Seconds", "Remarks"]
    kept = [
        at for at in range(len(titles)) if at < 3 or any(line[at].text for line in lines)
    ]  # fmt: skip
    return IndexTable(
        "Videos", [titles[at] for at in kept], [[row[at] for at in kept] for row in lines]
    )
