"""Where the results of a clip go: below the output folder, each at its own place."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

from depthcrafter_cli.errors import UsageError
from depthcrafter_cli.media.sinks.png16 import NUMBER
from depthcrafter_cli.media.sinks.registry import path_in_format
from depthcrafter_cli.workflows.batch.sources import Clip


def output_paths(
    clips: Sequence[Clip], out: Path, formats: Sequence[str]
) -> list[tuple[Path, ...]]:
    """The outputs of each clip, one for each of ``formats`` such as ``mp4``.

    Raises UsageError for an unknown format, a name that leads out of ``out`` (also through a
    symbolic link), and for two clips whose results would have the same place, also on a disk that
    does not tell A from a.
    """
    outputs = [tuple(path_in_format(_stem(clip, out), name) for name in formats) for clip in clips]
    taken: dict[str, Clip] = {}
    for clip, paths in zip(clips, outputs, strict=True):
        for path in paths:
            if other := taken.get(str(path).casefold()):
                raise UsageError(
                    f"{clip.source} ({clip.origin}) and {other.source} ({other.origin}) would both "
                    f"become {path}, expected one name each: rename one, or list them in a CSV "
                    "with a column 'name'."
                )
            taken[str(path).casefold()] = clip
    return outputs


def _stem(clip: Clip, out: Path) -> Path:
    """The path of a clip's results, without their suffix."""
    name = clip.name
    if NUMBER.search(name):  # a source such as shot_%04d.png
        name = NUMBER.sub("", name).rstrip("_-. ")
    path, parts = Path(name), PurePosixPath(name).parts
    escapes = path.is_absolute() or path.drive or ".." in PureWindowsPath(name).parts
    if escapes or not parts:
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
