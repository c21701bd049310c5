"""Which sink writes which path, and whether it may: asked before the first frame is read."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import MappingProxyType

from depthcrafter_cli.depth.colorize import check_colormap
from depthcrafter_cli.disk import first_shared, fold, name_problem
from depthcrafter_cli.errors import OutputError, UsageError
from depthcrafter_cli.media.files import output_errors, require_folder
from depthcrafter_cli.media.formats import FORMATS, NUMBERED, Format, format_names
from depthcrafter_cli.media.look import CODECS, Look, can_encode, require_holder
from depthcrafter_cli.media.numbered import NUMBER, numbered_files, place_of_input
from depthcrafter_cli.media.sinks.base import DisparitySink, SinkSettings
from depthcrafter_cli.media.sinks.sequence import SequenceSink
from depthcrafter_cli.text import numbered
from depthcrafter_cli.types import Size


def formats_here() -> str:
    """The formats that this machine can write, by their suffixes, and its codecs for video."""
    import av

    written = []
    for name, each in FORMATS.items():
        kind = _class(each)
        numbered = name and issubclass(kind, SequenceSink)
        with suppress(OutputError):  # for lack of a package
            kind.check(Path(f"d_%d{name}" if numbered else f"d{name}"))
            written.append(name.removeprefix(".") or "folders of png")
    there = {
        name: codec for name, codec in CODECS.items() if codec.encoder in av.codec.codecs_available
    }
    codecs = [
        name
        for name, codec in there.items()
        if not codec.instead or can_encode(codec.encoder, codec.pix_fmt)
    ]
    return f"{', '.join(written)}; codecs {', '.join(codecs)}"


def sink_for(out: Path, settings: SinkSettings) -> DisparitySink:
    """The sink for a path, chosen by its suffix; opens nothing yet.

    Raises UsageError for a suffix that no sink writes.
    """
    kind = _sink_class(out)
    kind.check(out)
    return kind(out, settings)


def shot_path(out: Path, index: int) -> Path:
    """Where a shot of a film goes that has an output for each: ``depth.mp4`` to
    ``depth_shot0003.mp4``, and ``depth/`` to ``depth/shot0003/``. Raises UsageError.
    """
    kind, name = _sink_class(out), f"shot{index:04}"
    kind.check(out)
    if issubclass(kind, SequenceSink):
        pattern = kind.pattern(out)
        return pattern.parent / name / pattern.name
    return out.with_name(f"{out.stem}_{name}{out.suffix}")


def path_in_format(stem: Path, name: str) -> Path:
    """Where the result ``stem`` goes as ``mp4``, ``npz``, ...: beside it, or numbered files in it.

    A name that would be too long for the disk is shortened.

    Raises UsageError for a format that no sink writes.
    """
    suffix = f".{name.lower().removeprefix('.')}"
    if suffix not in FORMATS:
        known = ", ".join(format_names())
        raise UsageError(f"got `formats` {name}, expected one of {known}: choose one.")
    return _class(FORMATS[suffix]).path_for(stem, suffix)


def places_of(outputs: Iterable[Path]) -> list[Path]:
    """What to claim of outputs: see :meth:`DisparitySink.places`."""
    return [place for out in outputs for place in _sink_class(out).places(out)]


def expected_bytes(out: Path, size: Size, frames: int, look: Look) -> int:
    """About how much room an output takes, on the safe side."""
    return round(_sink_class(out).frame_bytes(out, size, look) * frames)


def options_read(outputs: Iterable[Path], look: Look) -> set[str]:
    """The options of how results look that decide on one of the outputs. Raises UsageError."""
    return {name for out in outputs for name in _sink_class(out).reads(out, look)}


def held_per_pixel(out: Path) -> float:
    """Bytes of memory for each pixel of a picture that an output holds, of frames not written."""
    return _sink_class(out).held_per_pixel


def check_outputs(
    outputs: Sequence[Path],
    *,
    video: Path | None = None,
    beside: Mapping[Path, str] = MappingProxyType({}),
    state: Path | None = None,
    look: Look | None = None,
    overwrite: bool = False,
    create_folders: bool = False,
) -> None:
    """Finds out before any work whether all outputs can be written.

    ``beside`` are the files that come with them, and what each is; ``state`` is the run's folder.

    Raises UsageError for none at all, an unknown suffix, colormap or codec, and where all these and
    the ``video`` are not different files, also on a disk that does not tell A from a; OutputError
    for a name that the disk does not take, a folder that is missing (unless ``create_folders`` says
    that it will be made) or not writable and for files that exist while ``overwrite`` is off.
    """
    if not outputs:
        raise UsageError("got no `outputs`, expected at least one, such as depth.mp4: name it.")
    look = look or Look()
    check_colormap(look.colormap)
    check_numbers(outputs, 0)
    require_holder(outputs, look)
    kinds = [_sink_class(out) for out in outputs]
    files = [] if state is None else [(state, "the state of the run (`work_dir`)", [state])]
    files += [] if video is None else [(video, "the input", [place_of_input(video)])]
    files += [
        (out, "another output", [place_of(out), *_called_like(video, out)]) for out in outputs
    ]
    _check_different([*files, *((path, what, [path]) for path, what in beside.items())])
    made = [(path, path.parent, True) for path in beside]
    made += [] if state is None else [(state, state, True)]
    there = [path for path in beside if path.exists()]
    for out, kind in zip(outputs, kinds, strict=True):
        kind.check(out)
        kind.check_look(out, look)
        with output_errors(out):  # where its folder may not be looked into
            there += kind.existing(out)
        made.append((out, kind.folder_of(out), create_folders))
    if there and not overwrite:
        raise OutputError(
            f"{there[-1]} exists, expected a free name: choose another or pass `overwrite=True`."
        )
    for path, folder, is_made in made:
        require_folder(folder, path, is_made=is_made)


def are_numbered(outputs: Iterable[Path]) -> bool:
    """Whether one of the outputs is a file for each frame. Raises UsageError."""
    return any(issubclass(_sink_class(out), SequenceSink) for out in outputs)


def carry_more(outputs: Iterable[Path]) -> bool:
    """Whether one of the outputs can hold the video's sound or timecode. Raises UsageError."""
    return any(_sink_class(out).carries_more for out in outputs)


def existing_files(out: Path) -> list[Path]:
    """The files that are there under an output's name or pattern. Raises UsageError."""
    return _sink_class(out).existing(out)


def keep_shots(outputs: Iterable[Path]) -> bool:
    """Whether shots written to all of the outputs can outlast a stop. Raises UsageError."""
    return all(_sink_class(out).keeps_shots for out in outputs)


def waits(out: Path) -> bool:
    """Whether an output is put together at the end, of parts in the run's state."""
    return _sink_class(out).waits


def forget_kept(outputs: Iterable[Path]) -> None:
    """Remove what a run that stopped kept beside its outputs. Raises OSError and UsageError."""
    for out in outputs:
        _sink_class(out).forget(out)


def check_size(outputs: Sequence[Path], size: Size, look: Look) -> None:
    """Raises OutputError for an output that cannot have depth of ``size``."""
    for out in outputs:
        _sink_class(out).check_size(out, size, look)


def check_numbers(outputs: Sequence[Path], last_number: int) -> None:
    """Raises OutputError for an output whose images up to that number have no legal names."""
    for out in outputs:
        if problem := name_problem_of(out, last_number):
            raise OutputError(f"{out} cannot be written: {problem}, expected another: rename it.")


def size_in(out: Path, size: Size, look: Look) -> Size:
    """The size of the pictures in an output of depth at ``size``."""
    return _sink_class(out).picture_size(out, size, look)


def _sink_class(out: Path) -> type[DisparitySink]:
    suffix = "" if out.is_dir() else out.suffix.lower()
    formats = NUMBERED if NUMBER.search(out.name) and suffix in NUMBERED else FORMATS
    found = formats.get(suffix)
    if found is None:
        raise UsageError(
            f"Got {out} with the suffix {out.suffix!r}, expected one of "
            f"{', '.join(suffix for suffix in FORMATS if suffix)}, or a folder for PNGs: "
            "rename the output."
        )
    return _class(found)


def _class(of: Format) -> type[DisparitySink]:
    module, name = of.sink.split(".")
    kind: type[DisparitySink] = getattr(import_module(f"{__package__}.{module}"), name)
    return kind


def is_numbered(out: Path) -> bool:
    """Whether an output is a pattern of files, one a frame; a video called ``50%d.mp4`` is none."""
    suffix = out.suffix.lower()
    found = NUMBERED.get(suffix) or FORMATS.get(suffix)
    has_number = NUMBER.search(out.name) is not None
    return has_number and found is not None and issubclass(_class(found), SequenceSink)


def output_named(path: Path) -> Path:
    """An output as typed, in whose name ``####`` counts frames where each is a file."""
    pattern = numbered(path)
    return pattern if is_numbered(pattern) else path


def place_of(path: Path) -> Path:
    """The file that a path stands for; for numbered images and folders, the folder."""
    return path.parent if is_numbered(path) else path


def _check_different(files: Sequence[tuple[Path, str, list[Path]]]) -> None:
    """Raises UsageError if two paths, with what each is and its files, share one on some disk."""
    if same := first_shared([of_path for _path, _what, of_path in files]):
        (path, _what, _), (_path, other, _) = (files[number] for number in same)
        raise UsageError(
            f"{path} is also {other}, expected different files on any disk, also on one that does "
            "not tell A from a: rename one of them."
        )


def _called_like(video: Path | None, out: Path) -> list[Path]:
    """The images of a numbered output that have the name of the input."""
    if video is None or not is_numbered(out):
        return []
    return [file for file in numbered_files(out) if fold(file.name) == fold(video.name)]


def name_problem_of(out: Path, last_number: int = 0) -> str:
    """Why the disk takes no such name for ``out`` or for a new folder above; empty if it does.

    ``last_number`` is that of the last image of a sequence.
    """
    if not is_numbered(out):
        return name_problem(out)
    return name_problem(
        out.with_name(NUMBER.sub(lambda place: place.group() % last_number, out.name))
    )
