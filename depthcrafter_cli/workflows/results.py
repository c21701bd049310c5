"""What a finished run left: its depth, its record, and the video that it is of."""

import json
import os
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np

from depthcrafter_cli.disk import derived
from depthcrafter_cli.errors import DepthCrafterError, InputError
from depthcrafter_cli.media.depth_files import (
    EXACT_FIRST,
    ColourTable,
    DepthFile,
    joined,
    open_depth,
)
from depthcrafter_cli.media.identity import is_still
from depthcrafter_cli.media.numbered import numbered_files, place_of_input
from depthcrafter_cli.media.reader import probe, read_frames
from depthcrafter_cli.media.resize import as_shown, reference_stride
from depthcrafter_cli.media.selection import ReadOptions
from depthcrafter_cli.media.sinks.registry import is_numbered, place_of
from depthcrafter_cli.media.spool import SpooledFilm
from depthcrafter_cli.pipeline.windows import Layout, count_windows
from depthcrafter_cli.shell import quoted
from depthcrafter_cli.structured import content_errors, json_object, typed
from depthcrafter_cli.types import Anamorphic, RgbImage, Size, ValueRange
from depthcrafter_cli.workflows.record import shots_in, written
from depthcrafter_cli.workflows.request import RunRequest
from depthcrafter_cli.workflows.state import RunState

_LARGEST_RECORD = 1 << 22  # bytes
_TEXTS = ("program", "model", "source_size", "model_size", "device", "dtype")


@dataclass(frozen=True)
class Result:
    """Depth with what is known of it.

    ``record`` and ``reading`` are empty, and ``video`` None, where no record was found. ``video``
    is None as well where it is gone, or another than the depth is of.
    """

    name: str
    depth: DepthFile
    record: Mapping[str, Any] = field(default_factory=dict)
    video: Path | None = None
    reading: ReadOptions = field(default_factory=ReadOptions)
    colormap: str = "inferno"

    @property
    def shots(self) -> tuple[int, ...]:
        """The first frames of each shot, 0 for the first."""
        if not self.record:
            return self.depth.shots or (0,)
        return (0, *(int(cut) for cut in self.record.get("cuts", ())))

    @property
    def rate(self) -> Fraction:
        """Frames per second: 24 where nothing tells."""
        if self.record:
            return Fraction(self.record["rate"])
        times = self.depth.times
        if len(times) > 1 and times[-1] > times[0]:
            return Fraction((len(times) - 1) / (times[-1] - times[0])).limit_denominator(1001)
        return Fraction(24)

    @property
    def shown_size(self) -> Size:
        """The size at which the depth is shown, by square pixels."""
        plate = typed(Anamorphic | None, self.record.get("anamorphic"), "anamorphic")
        if plate is None or plate.size != self.depth.size:  # that of a video is as it is shown
            return self.depth.size
        request = RunRequest.from_json(self.record["request"])
        return as_shown(plate.size, request.pixel_aspect(plate))

    def shot_at(self, frame: int) -> int:
        """The number of the shot that a frame belongs to."""
        return bisect_right(self.shots, frame) - 1

    def times(self) -> tuple[float, ...]:
        """When each frame is shown, in seconds; by the rate where the file does not tell."""
        told = self.depth.times
        if len(told) == self.depth.frames and all(a < b for a, b in pairwise(told)):
            return told
        return tuple(index / float(self.rate) for index in range(self.depth.frames))

    def ranges(self) -> tuple[ValueRange, ...]:
        """The numbers that are shown as 0 and 1, of each shot; empty if nothing tells."""
        if not self.depth.is_raw:
            return (ValueRange(0.0, 1.0),) * len(self.shots)
        if self.depth.kind == "metres":
            return ()
        told = self.record.get("shots", [self.record] if "value_range" in self.record else [])
        found = [ValueRange(*each["value_range"]) for each in told] or self.depth.ranges
        ranges = (sorted((each.low, each.high)) for each in found)
        return tuple(ValueRange(*each) for each in ranges) if len(found) == len(self.shots) else ()

    @property
    def overlap(self) -> int:
        """How many frames windows share at least; 0 where there are none."""
        return int(self.record.get("settings", {}).get("overlap") or 0)

    def joins(self) -> tuple[int, ...]:
        """The first frames of windows that share frames with the one before."""
        settings = self.record.get("settings", {})
        window, overlap = settings.get("window"), settings.get("overlap")
        if not window or overlap is None:
            return ()
        found, ends = [], (*self.shots[1:], self.depth.frames)
        for start, end in zip(self.shots, ends, strict=True):
            total = end - start
            spread = None if settings.get("noise") == "reference" else total
            layout = Layout(window, overlap, spread)
            found += [
                start + layout.start(i) for i in range(1, count_windows(total, window, overlap))
            ]
        return tuple(found)

    def pictures(self, size: Size) -> Iterator[RgbImage]:
        """The frames of the video, as the run read them. Raises InputError."""
        assert self.video is not None
        for frame in islice(read_frames(self.video, size, self.reading), self.depth.frames):
            yield frame.rgb


def find_result(path: Path) -> Result:
    """Return what a path stands for: an output of a run, its record, or the state of a kept run.

    Of the outputs of a record that are there the most exact is read; depth that no record tells
    of stands for itself. Raises InputError.
    """
    with content_errors(path, InputError, "expected a result of a run: check the path"):
        is_kept = (path / "job.json").is_file()  # fails for names that are too long
    if is_kept:
        return _kept(path)
    if path.suffix.lower() == ".json":
        return _recorded(path, _record(path))
    beside = _record_of(path)
    if beside is None:
        return Result(path.name, open_depth(path))
    return _recorded(*beside)


def _record(path: Path) -> dict[str, Any]:
    """The record that a file holds. Its request names what lies beside it now."""
    with content_errors(path, InputError, "expected the record of a run: check the path"):
        record = json_object(path)
        request = RunRequest.from_json(record["request"])
        Fraction(record["rate"])
        for name in _TEXTS:
            typed(str, record[name], name)
        typed(dict, record["settings"], "settings")
        typed(Anamorphic | None, record.get("anamorphic"), "anamorphic")
        typed(dict, record.get("input", {}), "input")
        video, *outputs = _moved_with(path, request, shots_in(record))
    record["request"] |= {"video": str(video), "outputs": [str(out) for out in outputs]}
    return record


def _moved_with(record: Path, request: RunRequest, shots: int) -> list[Path]:
    """The video and the outputs of a run, found as they lay about its record.

    Results are copied from a server, or change disks, together with their record. If none of them
    is about it, they are taken to be where they were written.
    """
    paths = [_of_any_system(path) for path in (request.video, *request.outputs)]
    first = paths[1]
    # The record of numbered images lies beside their folder, or in it.
    for folder in [first.parent.parent] * is_numbered(first) + [first.parent]:
        near = [_seen_from(record.absolute().parent, path, folder) for path in paths]
        here = written(replace(request, outputs=tuple(near[1:])), shots)
        if any(place_of(out).exists() for out in here):
            if not place_of_input(near[0]).exists():
                near[0] = paths[0]
            return near
    return paths


def _of_any_system(path: Path) -> Path:
    """A path of Windows in a record that is read elsewhere has its folders again."""
    windows = PureWindowsPath(path)
    return Path(windows.as_posix()) if windows.drive and not path.is_absolute() else path


def _seen_from(place: Path, path: Path, folder: Path) -> Path:
    """Where a path is if ``folder`` is now ``place``."""
    with suppress(ValueError):  # of another drive
        return Path(os.path.normpath(place / os.path.relpath(path, folder)))
    return path


def _record_of(path: Path) -> tuple[Path, dict[str, Any]] | None:
    """The record beside an output that tells of it, and where it lies."""
    own = place_of(path).resolve()
    near = [derived(path, ".json"), *_json_files(own.parent), *_json_files(own)]
    for candidate in dict.fromkeys(near):
        with suppress(DepthCrafterError, OSError):
            if candidate.stat().st_size > _LARGEST_RECORD:
                continue
            record = _record(candidate)
            request = RunRequest.from_json(record["request"])
            # With `per_shot` the name that was asked for stands for the files of all shots.
            outputs = *request.outputs, *written(request, shots_in(record))
            if own in {place_of(out).resolve() for out in outputs}:
                return candidate, record
    return None


def _json_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.json")) if folder.is_dir() else []


def _recorded(path: Path, record: dict[str, Any]) -> Result:
    """The most exact result that a record tells of and that is there."""
    request = RunRequest.from_json(record["request"])
    candidates = [out for out in request.outputs if _suffix(out) in EXACT_FIRST]
    table = ColourTable(request.colormap, request.side_by_side)
    problems = []
    for out in sorted(candidates, key=lambda out: EXACT_FIRST.index(_suffix(out))):
        if request.overlay and _suffix(out) in (".mp4", ".mov"):
            problem = f"got {out}, where depth lies over its source, expected depth alone: "
            problems.append(InputError(f"{problem}write .npz beside it."))
            continue
        only = replace(request, outputs=(out,))
        try:
            depth = joined([open_depth(part, table) for part in written(only, shots_in(record))])
            if depth.frames == record.get("frames", depth.frames):
                break
            problems.append(
                InputError(
                    f"{out} holds {depth.frames} of the {record['frames']} frames that {path} "
                    "tells of, expected all: run it again."
                )
            )
        except InputError as error:
            problems.append(error)
    else:
        if problems:
            raise problems[0]
        raise InputError(
            f"{path} tells of no output that holds depth, expected .npz, .mp4 or another: run "
            "with one."
        )
    return Result(
        request.video.name, _nearest_largest(depth, request), record, *_source(request, record),
        request.colormap,
    )  # fmt: skip


def _nearest_largest(depth: DepthFile, request: RunRequest) -> DepthFile:
    """The same, larger where nearer, whether it was written inverted or as metres."""
    if request.metric is not None and depth.is_raw:
        return replace(
            depth, kind="metres", ranges=(),
            read=lambda: (np.float32(1) / np.clip(metres, 1e-3, None) for metres in depth.read()),
        )  # fmt: skip
    if request.invert and not depth.is_raw:
        return replace(depth, read=lambda: (1 - levels for levels in depth.read()))
    return depth


def _suffix(out: Path) -> str:
    return "" if out.is_dir() else out.suffix.lower()


def _source(request: RunRequest, record: Mapping[str, Any]) -> tuple[Path | None, ReadOptions]:
    """The video of a run, None if it is gone or another now, and how its frames were chosen."""
    reading, video = request.selection, request.video
    there = video.exists() or bool(numbered_files(video) if "%" in video.name else ())
    there = there and is_still(video, record.get("input", {}))
    if there and request.reference and reading.fps is not None:
        stride = reference_stride(probe(video).rate, reading.fps)
        reading = replace(reading, fps=None, stride=stride)
    return (video if there else None), reading


def _kept(folder: Path) -> Result:
    """The raw disparity of a run that was kept, or is not finished."""
    state = RunState(folder)
    saved = state.saved()
    shots = state.shots(read_only=True)
    if not all(shot.complete for shot in shots):
        raise InputError(
            f"{folder} holds a run that is not complete, expected one that is: go on with "
            f"`depthcrafter resume {quoted(folder)}`, and look then."
        )
    film = SpooledFilm([shot.spool for shot in shots])
    times = tuple(float(time) for _frame, time in film.frames())
    starts, ranges = [0], []
    for spool in film.shots:
        starts.append(starts[-1] + len(spool))
        ranges.append(ValueRange(spool.minimum, spool.maximum))
    depth = DepthFile(
        folder, len(film), saved.provenance.model_size,
        lambda: (frame for frame, _time in film.frames()),
        is_raw=True, kind="raw disparity", times=times, shots=tuple(starts[:-1]),
        ranges=tuple(ranges),
    )  # fmt: skip
    record = json.loads(json.dumps({**saved.provenance.to_json(), "frames": len(film)}))
    record["request"] = saved.request.to_json()
    request = saved.request
    return Result(request.video.name, depth, record, *_source(request, record), request.colormap)
