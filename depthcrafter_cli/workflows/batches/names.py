"""Where the results of a clip go: below the output folder, each at its own place."""

from collections.abc import Sequence
from pathlib import Path

from depthcrafter_cli.disk import Identity, identities
from depthcrafter_cli.errors import UsageError
from depthcrafter_cli.media.numbered import is_pattern, place_of_input, without_places
from depthcrafter_cli.media.sinks.registry import name_problem_of, path_in_format, place_of
from depthcrafter_cli.text import parts_below
from depthcrafter_cli.workflows.batches.sources import Clip
from depthcrafter_cli.workflows.request import RunRequest

_REMEDY = "expected a place of its own: rename one, or list them in a CSV with a column 'name'."


def output_paths(
    clips: Sequence[Clip], out: Path, formats: Sequence[str], report: Path | None = None
) -> list[tuple[Path, ...]]:
    """The outputs of each clip, one for each of ``formats`` such as ``mp4``.

    A name that would be too long for the disk is shortened.

    Raises UsageError for an unknown format, for a name that the disk does not take or that leads
    out of ``out`` (also through a symbolic link), and unless the sources, the ``report`` and all
    that the clips leave are different files, also on a disk that does not tell A from a.
    """
    outputs = [tuple(path_in_format(_stem(clip, out), name) for name in formats) for clip in clips]
    for clip, paths in zip(clips, outputs, strict=True):
        if problem := next(filter(None, map(name_problem_of, paths)), ""):
            raise UsageError(
                f"{clip.origin} asks for the name {clip.name!r}, but {problem}: correct it."
            )
    _require_different(clips, outputs, report)
    return outputs


def _require_different(
    clips: Sequence[Clip], outputs: Sequence[Sequence[Path]], report: Path | None
) -> None:
    read = {
        key: f"the source {clip.source} ({clip.origin})"
        for clip in clips
        for key in identities(place_of_input(clip.source))
    }
    if report is not None:
        read.update(dict.fromkeys(identities(report), "the report"))
    made: dict[Identity, Clip] = {}
    files = set[Identity]()
    for clip, paths in zip(clips, outputs, strict=True):
        for path in _all_of(clip, paths):
            known = identities(place_of(path))
            if what := next((read[key] for key in known if key in read), None):
                raise UsageError(
                    f"{clip.source} ({clip.origin}) would become {path}, which is {what}, {_REMEDY}"
                )
            if other := next((made[key] for key in known if made.get(key, clip) is not clip), None):
                raise UsageError(
                    f"{clip.source} ({clip.origin}) and {other.source} ({other.origin}) would both "
                    f"become {path}, {_REMEDY}"
                )
            made.update(dict.fromkeys(known, clip))
            if place_of(path) == path:
                files |= known
    for key, clip in made.items():
        if any(key[:length] in files for length in range(1, len(key))):
            raise UsageError(
                f"{clip.source} ({clip.origin}) asks for the name {clip.name!r}, a place below "
                f"what another clip would leave as a file, {_REMEDY}"
            )


def _all_of(clip: Clip, paths: Sequence[Path]) -> Sequence[Path]:
    """What a clip leaves or keeps for a while: its outputs, their record, the state of its run."""
    request = RunRequest(clip.source, tuple(paths))
    record = request.record_path
    return (*paths, *([record] if record else []), request.work_folder)


def _stem(clip: Clip, out: Path) -> Path:
    """The path of a clip's results, without their suffix."""
    name = clip.name
    if is_pattern(clip.source):  # such as shot_%04d.png
        name = without_places(name)
    parts = parts_below(name)
    if not parts:
        raise UsageError(
            f"{clip.origin} asks for the name {clip.name!r}, expected one below {out}, such as "
            "'shots/a': correct it."
        )
    stem = out.joinpath(*parts)
    if not stem.resolve().is_relative_to(out.resolve()):
        raise UsageError(
            f"{clip.origin} asks for the name {clip.name!r}, which leads to {stem.resolve()}, "
            f"expected a place below {out}: rename it, or remove the link."
        )
    return stem
