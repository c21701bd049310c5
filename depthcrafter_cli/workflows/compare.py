"""Several methods on one video, side by side: a sheet and a video."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from depthcrafter_cli.depth.colorize import check_colormap, colorize
from depthcrafter_cli.depth.normalize import Normalization, normalize
from depthcrafter_cli.disk import derived, make_folder
from depthcrafter_cli.errors import InputError, UsageError
from depthcrafter_cli.evaluation.frames import frame_numbers, range_of, sound
from depthcrafter_cli.media.files import claimed, require_new
from depthcrafter_cli.media.published import Published
from depthcrafter_cli.media.reader import probe
from depthcrafter_cli.media.scale import resize_disparity
from depthcrafter_cli.media.sinks.pictures import picture_video
from depthcrafter_cli.options import build
from depthcrafter_cli.progress import Observer, Progress, Warn, ignore
from depthcrafter_cli.reports.comparison import Comparison
from depthcrafter_cli.reports.pictures import image_bytes, preview_size
from depthcrafter_cli.reports.profiles import ColumnProfiles
from depthcrafter_cli.types import RgbImage, ValueRange
from depthcrafter_cli.workflows.looking import CompareRequest
from depthcrafter_cli.workflows.request import RunRequest
from depthcrafter_cli.workflows.results import Result, find_result
from depthcrafter_cli.workflows.runs import run

SHEETS, VIDEOS = (".png", ".jpg"), (".mp4", ".mov", ".mkv")
_WIDTH = 320  # pixels of a film


def compare(request: CompareRequest, observer: Observer = ignore, warn: Warn = ignore) -> int:
    """Run each method, and show the source, each depth and their profiles; returns the frames.

    The runs keep their results in ``OUT.work`` beside the first output until all is written: the
    same call goes on where it was stopped.

    Raises UsageError for options out of range, and otherwise as :func:`run`.
    """
    work = derived(request.outputs[0], ".work")
    journal = work / "published.jsonl"
    published = Published(journal, overwrite=request.overwrite)
    _check(request, published)
    asked = [_request(request, text, work / f"{at}.npz") for at, text in enumerate(request.methods)]
    given = [(path.name, find_result(path)) for path in request.results]
    with claimed(request.outputs):
        films: list[tuple[str, Result]] = []
        for text, each in zip(request.methods, asked, strict=True):
            run(each, observer, warn)
            films.append((text, find_result(each.outputs[0])))
        make_folder(work)
        frames = _shown(request, [*films, *given], published, observer)
        results = (path for each in asked for path in (each.outputs[0], each.record_path))
        for path in (*results, journal):
            if path is not None:
                path.unlink(missing_ok=True)
        with suppress(OSError):  # unless something else is there
            work.rmdir()
    return frames


def _check(request: CompareRequest, published: Published) -> None:
    """Raise UsageError for what cannot be compared, and OutputError for a name that is taken."""
    if len(request.methods) + len(request.results) < 1:
        raise UsageError("got no `methods`, expected at least one, such as depthcrafter: name it.")
    check_colormap(request.colormap)
    for out in request.outputs:
        if out.suffix.lower() not in SHEETS + VIDEOS:
            raise UsageError(
                f"got `outputs` {out}, expected a name in {', '.join(SHEETS + VIDEOS)}: rename it."
            )
        own = os.path.lexists(out) and published.owns(out)  # of a call that was stopped
        require_new(out, overwrite=request.overwrite or own)


def _request(request: CompareRequest, text: str, out: Path) -> RunRequest:
    """The run of a method as typed. Raises UsageError."""
    name, _colon, settings = text.partition(":")
    own = [part.partition("=") for part in filter(None, settings.split(","))]
    if wrong := [key for key, equals, _value in own if not equals]:
        raise UsageError(
            f"got `methods` {text}, expected NAME or NAME:SETTING=VALUE,...: give {wrong[0]} a "
            "value."
        )
    values = {**request.options, **{key: value for key, _equals, value in own}}
    try:
        asked = build(RunRequest, {**values, "method": name}, video=request.video, outputs=(out,))
    except TypeError:
        raise UsageError(
            f"got `methods` {text}, expected settings of a run such as steps, window or weights: "
            "correct it."
        ) from None
    return replace(
        asked, size="model", normalization=Normalization("percentile"), resume=True,
        overwrite=True, create_folders=True,
    )  # fmt: skip


def _shown(
    request: CompareRequest,
    films: Sequence[tuple[str, Result]],
    published: Published,
    observer: Observer,
) -> int:
    """Write the outputs: one pass over all films for the sheet, one more for videos."""
    first = films[0][1]
    source = replace(first, video=request.video)
    frames = first.depth.frames
    for name, film in films:
        if film.depth.frames != frames:
            raise InputError(
                f"got {film.depth.frames} frames of {name} and {frames} of {films[0][0]}, expected "
                "as many: compare results of the same frames."
            )
    size = preview_size(probe(request.video).size, _WIDTH)
    ranges = [_ranges(film) for _name, film in films]
    names = ["video", *(name for name, _film in films)]

    def pictures() -> Iterator[list[RgbImage]]:
        depths = [film.depth.read() for _name, film in films]
        for index, (picture, *maps) in enumerate(zip(source.pictures(size), *depths, strict=False)):
            shown = [picture]
            for depth, own, (_name, film) in zip(maps, ranges, films, strict=True):
                values = own[film.shot_at(index)]
                levels = normalize(resize_disparity(sound(depth), size), values)
                shown.append(colorize(levels, request.colormap))
            yield shown

    comparison = Comparison(names, ColumnProfiles(names, [request.column]), size, frames,
                            request.column)  # fmt: skip
    wanted, chosen, count = set(comparison.sheet_frames()), [], 0
    for index, shown in enumerate(pictures()):
        comparison.profiles.add(shown)
        if index in wanted:
            chosen.append(shown)
        observer(Progress("examine", index + 1, frames))
        count += 1
    if count < frames:
        raise InputError(
            f"{request.video} has {count} frames, expected {frames}, as many as the depth: name "
            "the video that it is of."
        )
    for out in request.outputs:
        if out.suffix.lower() in VIDEOS:
            _write_video(out, comparison, pictures(), source.rate, published)
        else:
            sheet = comparison.sheet([list(film) for film in zip(*chosen, strict=True)])
            kind = "PNG" if out.suffix.lower() == ".png" else "JPEG"
            content = image_bytes(sheet, kind, quality=90)
            published.write_whole(out, content)
    return frames


def _write_video(
    out: Path,
    comparison: Comparison,
    pictures: Iterator[list[RgbImage]],
    rate: Fraction,
    published: Published,
) -> None:
    times = [index / rate for index in range(comparison.frames)]
    background = comparison.background()
    with picture_video(out, comparison.video_size(), times, rate, published) as video:
        for index, (shown, time) in enumerate(zip(pictures, times, strict=True)):
            video.add(comparison.video_frame(background, shown, index), time)


def _ranges(film: Result) -> tuple[ValueRange, ...]:
    """The range of each shot, by its percentiles where nothing tells."""
    if known := film.ranges():
        return known
    numbers = frame_numbers(film.depth.read(), film.shots)
    ends = (*film.shots[1:], film.depth.frames)
    return tuple(
        range_of(numbers[start:stop]) for start, stop in zip(film.shots, ends, strict=True)
    )
