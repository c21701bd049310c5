"""Look at depth that was made before, without any truth: what is wrong with it?"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import repeat
from typing import Any

from depthcrafter_cli.depth.colorize import colorize
from depthcrafter_cli.depth.normalize import normalize
from depthcrafter_cli.errors import InputError, UsageError
from depthcrafter_cli.evaluation.checks import Checker, Finding, Measures
from depthcrafter_cli.evaluation.flow import flow_is_there
from depthcrafter_cli.evaluation.frames import every, sound
from depthcrafter_cli.media.files import claimed, require_new
from depthcrafter_cli.media.published import Published
from depthcrafter_cli.media.scale import resize_disparity
from depthcrafter_cli.progress import Observer, Progress, Warn, ignore
from depthcrafter_cli.reports.pictures import image_bytes
from depthcrafter_cli.reports.profiles import ColumnProfiles
from depthcrafter_cli.types import RgbImage, Size, ValueRange
from depthcrafter_cli.workflows.looking import CheckRequest
from depthcrafter_cli.workflows.provenance import program
from depthcrafter_cli.workflows.results import Result, find_result

SUFFIXES = (".json", ".png")


@dataclass(frozen=True)
class CheckReport:
    """What was found, in the order of the frames, and what was measured of each shot."""

    depth: str
    frames: int
    findings: tuple[Finding, ...]
    measures: tuple[Measures, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain values."""
        return {"program": program(), **asdict(self)}


def check(request: CheckRequest, observer: Observer = ignore, warn: Warn = ignore) -> CheckReport:
    """Read depth once, with its video if that is there, and say what is wrong with it.

    ``warn`` is told what could not be looked at, and why.

    Raises UsageError for a name of another suffix, InputError for what is no depth, and
    OutputError.
    """
    _check_outputs(request)
    result = find_result(request.depth)
    if request.video is not None:
        result = replace(result, video=request.video)
    depth = result.depth
    step = every(depth.size.height * depth.size.width)
    size = Size(-(-depth.size.height // step), -(-depth.size.width // step))
    ranges = result.ranges()
    follows = _follows(result, warn)
    checker = Checker(result.shots, result.joins(), result.overlap, ranges, flow=follows)
    wants_profiles = any(out.suffix.lower() == ".png" for out in request.outputs)
    films = ["depth"] if result.video is None else ["video", "depth"]
    profiles = ColumnProfiles(films, request.columns)
    pictures = _pictures(result, size)
    for index, frame in enumerate(depth.read()):
        picture = next(pictures, None)
        if picture is None and result.video is not None:
            raise InputError(
                f"{result.video} has {index} frames, expected {depth.frames}, as many as "
                f"{depth.path}: name the video that the depth is of."
            )
        checker.add(frame[::step, ::step], picture)
        if wants_profiles:
            values = ranges[result.shot_at(index)] if ranges else None
            shown = _coloured(sound(frame), size, values, result.colormap)
            profiles.add([shown] if picture is None else [picture, shown])
        observer(Progress("examine", index + 1, depth.frames))
    report = CheckReport(
        str(depth.path), depth.frames, tuple(checker.findings()), tuple(checker.measures())
    )  # fmt: skip
    with claimed(request.outputs):
        for out in request.outputs:
            text = json.dumps(report.to_json(), indent=2) + "\n"
            is_sheet = out.suffix.lower() == ".png"
            content = image_bytes(profiles.sheet(), "PNG") if is_sheet else text.encode()
            Published(overwrite=request.overwrite).write_whole(out, content)
    return report


def _check_outputs(request: CheckRequest) -> None:
    for out in request.outputs:
        if out.suffix.lower() not in SUFFIXES:
            raise UsageError(
                f"got `outputs` {out}, expected a name in {' or '.join(SUFFIXES)}: rename it."
            )
        require_new(out, overwrite=request.overwrite)


def _follows(result: Result, warn: Warn) -> bool:
    """Whether motion can be followed; ``warn`` is told where it cannot."""
    if result.video is None:
        warn(
            "The video is not known, gone, or another than was read, so depth is checked by "
            "itself: `video` names it."
        )
        return False
    if not flow_is_there():
        warn(
            "Motion is not followed, as opencv-python-headless is not installed: "
            'pip install "depthcrafter[flow]".'
        )
    return flow_is_there()


def _pictures(result: Result, size: Size) -> Iterator[RgbImage | None]:
    return iter(repeat(None)) if result.video is None else iter(result.pictures(size))


def _coloured(frame: Any, size: Size, values: ValueRange | None, colormap: str) -> RgbImage:
    values = values or ValueRange(float(frame.min()), float(frame.max()))
    return colorize(normalize(resize_disparity(frame, size), values), colormap)
