"""Where the results of a video go: below the output folder, each at its own place."""

from collections.abc import Sequence
from pathlib import Path

from depthcrafter_cli.disk import Identity, identities
from depthcrafter_cli.errors import UsageError
from depthcrafter_cli.media.numbered import is_pattern, place_of_input, without_places
from depthcrafter_cli.media.sinks.registry import name_problem_of, path_in_format, place_of
from depthcrafter_cli.text import parts_below
from depthcrafter_cli.workflows.batches.sources import BatchVideo
from depthcrafter_cli.workflows.request import RunRequest

_REMEDY = "expected a place of its own: rename one, or list them in a CSV with a column 'name'."


def output_paths(
    videos: Sequence[BatchVideo], out: Path, formats: Sequence[str], report: Path | None = None
) -> list[tuple[Path, ...]]:
    """The outputs of each video, one for each of ``formats`` such as ``mp4``.

    A name that would be too long for the disk is shortened.

    Raises UsageError for an unknown format, for a name that the disk does not take or that leads
    out of ``out`` (also through a symbolic link), and unless the sources, the ``report`` and all
    that the videos leave are different files, also on a disk that does not tell A from a.
    """
    outputs = [
        tuple(path_in_format(_stem(video, out), name) for name in formats) for video in videos
    ]
    for video, paths in zip(videos, outputs, strict=True):
        if problem := next(filter(None, map(name_problem_of, paths)), ""):
            raise UsageError(
                f"{video.origin} asks for the name {video.name!r}, but {problem}: correct it."
            )
    _require_different(videos, outputs, report)
    return outputs


def _require_different(
    videos: Sequence[BatchVideo], outputs: Sequence[Sequence[Path]], report: Path | None
) -> None:
    read = {
        key: f"the source {video}"
        for video in videos
        for key in identities(place_of_input(video.path))
    }
    if report is not None:
        read.update(dict.fromkeys(identities(report), "the report"))
    made: dict[Identity, BatchVideo] = {}
    files = set[Identity]()
    for video, paths in zip(videos, outputs, strict=True):
        for path in _all_of(video, paths):
            known = identities(place_of(path))
            if what := next((read[key] for key in known if key in read), None):
                raise UsageError(f"{video} would become {path}, which is {what}, {_REMEDY}")
            if other := next(
                (made[key] for key in known if made.get(key, video) is not video), None
            ):
                raise UsageError(f"{video} and {other} would both become {path}, {_REMEDY}")
            made.update(dict.fromkeys(known, video))
            if place_of(path) == path:
                files |= known
    for key, video in made.items():
        if any(key[:length] in files for length in range(1, len(key))):
            raise UsageError(
                f"{video} asks for the name {video.name!r}, a place below "
                f"what another video would leave as a file, {_REMEDY}"
            )


def _all_of(video: BatchVideo, paths: Sequence[Path]) -> Sequence[Path]:
    """What a video leaves or keeps for a while: its outputs, their record, the state of its run."""
    request = RunRequest(video.path, tuple(paths))
    record = request.record_path
    return (*paths, *([record] if record else []), request.work_folder)


def _stem(video: BatchVideo, out: Path) -> Path:
    """The path of a video's results, without their suffix."""
    name = video.name
    if is_pattern(video.path):  # such as shot_%04d.png
        name = without_places(name)
    parts = parts_below(name)
    if not parts:
        raise UsageError(
            f"{video.origin} asks for the name {video.name!r}, expected one below {out}, such as "
            "'shots/a': correct it."
        )
    stem = out.joinpath(*parts)
    if not stem.resolve().is_relative_to(out.resolve()):
        raise UsageError(
            f"{video.origin} asks for the name {video.name!r}, which leads to {stem.resolve()}, "
            f"expected a place below {out}: rename it, or remove the link."
        )
    return stem
