"""Which clips a batch is about: what folders, patterns and lists hold."""

import csv
import glob
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from depthcrafter_cli.errors import InputError, UsageError
from depthcrafter_cli.media.image_sequence import SUFFIXES, images_in
from depthcrafter_cli.media.numbered import files_under, is_number_pattern
from depthcrafter_cli.progress import Warn, ignore
from depthcrafter_cli.text import decoded, delimiter_of, video_path

_VIDEOS = frozenset(
    f".{name}"
    for name in (
        # MP4 and QuickTime, by the names of cameras, telephones and old programs
        "mp4", "m4v", "mov", "qt", "mp4v", "mpg4", "3gp", "3gpp", "3g2", "3gp2", "f4v", "mj2",
        "insv", "lrv", "lrf", "360", "ismv", "avif", "avifs", "heics", "heifs", "mqv",
        # Matroska, AVI, Windows, Real, Flash, Ogg
        "mkv", "mk3d", "webm", "avi", "divx", "xvid", "asf", "wmv", "wm", "wtv", "dvr-ms",
        "rm", "rmvb", "rv", "flv", "swf", "ogg", "ogv", "ogm", "ogx", "nut", "nsv", "nuv",
        # MPEG, of broadcasts, discs and cameras
        "mpg", "mpeg", "mpe", "mpv", "mp2v", "mpeg2", "mpeg4", "m1v", "m2v", "m2p", "vob", "evo",
        "mod", "tod", "vro", "vdr", "ts", "mts", "m2ts", "m2t", "tp", "trp",
        "ty", "pva",
        # Studios and streams without a container
        "mxf", "gxf", "lxf", "dv", "dif", "r3d", "cine", "mlv", "dnxhd", "dnxhr", "y4m", "ivf",
        "obu", "264", "h264", "avc", "265", "h265", "hevc", "266", "h266", "vvc", "vc1",
        "mjpg", "mjpeg", "m4e", "cavs", "dirac",
        # Animations
        "gif", "apng", "flc", "fli", "bik", "smk", "roq",
    )
)  # fmt: skip
# What lies beside videos and is none: it is counted, not named.
_SIDE_FILES = frozenset(
    f".{name}"
    for name in (
        "txt", "md", "rst", "log", "nfo", "pdf", "doc", "docx", "rtf", "csv", "tsv", "xls", "xlsx",
        "json", "jsonl", "xml", "xmp", "yml", "yaml", "toml", "ini", "cfg", "html", "htm", "url",
        "srt", "vtt", "ass", "ssa", "sub", "idx", "sup", "scc", "edl", "otio", "aaf", "ale", "cube",
        "wav", "mp3", "m4a", "aac", "flac", "aif", "aiff", "opus", "wma", "ac3", "mka", "oga",
        "npz", "npy", "pkl", "pt", "safetensors", "ply", "obj", "db", "sqlite", "py", "sh", "bat",
        "ipynb", "md5", "sha1", "sha256", "zip", "tar", "gz", "7z", "rar", "torrent", "thm", "lut",
        "exe", "dll", "tmp", "bak", "lock",
    )
)  # fmt: skip
_MOST_NAMED = 5  # files left out
_SOURCE, _NAME = "source", "name"

OnError = Callable[[OSError], None]


@dataclass(frozen=True)
class Clip:
    """A source, the ``name`` its results shall have (relative, no suffix) and its own options.

    ``origin`` is where it was found, for errors: a folder, or a line of a list.
    """

    source: Path
    name: str
    origin: str
    options: Mapping[str, str] = field(default_factory=dict)


def find_clips(
    sources: Sequence[str],
    out: Path,
    columns: Collection[str],
    warn: Warn = ignore,
) -> list[Clip]:
    """The clips of folders (with all below), patterns, lists (.txt, .csv) and single videos.

    Folders and patterns are read in sorted order, and ``out`` is left out of them. A folder that
    holds images and no video is one clip. ``columns`` are the options that a CSV may set. ``warn``
    gets a sentence for each folder that cannot be read, and one for the files of each source that
    are taken for no clip.

    Raises:
        UsageError: a list with a line or column that makes no sense.
        InputError: nothing is there, or a list cannot be read.
    """
    clips: list[Clip] = []

    def unreadable(error: OSError) -> None:
        warn(f"{error.filename} cannot be read ({error.strerror}), and no clip is taken from it.")

    for source in sources:
        left_out: list[Path] = []
        found = list(_clips_of(source, out.resolve(), columns, unreadable, left_out))
        if left_out:
            warn(_left_out_of(source, left_out))
        if not found:
            raise InputError(
                f"{source} holds no clip, expected videos, folders of images, or a list of them: "
                f"check the path, and quote patterns; what is in {out} is never a source."
            )
        clips += found
    return clips


def _clips_of(
    source: str, out: Path, columns: Collection[str], unreadable: OnError, left_out: list[Path]
) -> Iterator[Clip]:
    path = video_path(source)
    if path.is_dir():
        for found in _below(path, out, unreadable, left_out):
            yield _mirrored(found, path)
    elif path.suffix.lower() == ".csv" and path.is_file():
        yield from _csv_rows(path, columns)
    elif path.suffix.lower() in (".txt", ".list") and path.is_file():
        yield from _lines(path)
    elif path.exists() or (is_number_pattern(path) and files_under(path)):
        yield Clip(path, _stem(path), source)
    elif glob.has_magic(source):
        yield from _matches(path, out, unreadable, left_out)


def _left_out_of(source: str, files: Sequence[Path]) -> str:
    """What to say of files that are taken for no clip."""
    unknown = [file for file in files if file.suffix.lower() not in _SIDE_FILES]
    beside, told = len(files) - len(unknown), []
    if unknown:
        names = ", ".join(str(file) for file in unknown[:_MOST_NAMED])
        told.append(
            f"{len(unknown)} whose names are of no video, nor of images in a folder of their own "
            f"({names}{', ...' if len(unknown) > _MOST_NAMED else ''})"
        )
    if beside:
        kinds = sorted({file.suffix.lower() for file in files} & _SIDE_FILES)
        told.append(f"{beside} of other kinds ({', '.join(kinds)})")
    remedy = "; name a file itself to have it read" if unknown else ""
    return f"Of the files of {source}, these are taken for no clip: {' and '.join(told)}{remedy}."


def _below(folder: Path, out: Path, unreadable: OnError, left_out: list[Path]) -> Iterator[Path]:
    """Videos, and folders of images alone, in and below a folder, also where links lead."""
    known = [_real(folder)]
    for place, folders, files in os.walk(folder, onerror=unreadable, followlinks=True):
        here = Path(place)
        folders[:] = sorted(
            name
            for name in folders
            if _is_input(here / name, folder, out) and _is_new(here / name, known)
        )
        paths = [here / name for name in sorted(files) if _is_input(here / name, folder, out)]
        yield from (path for path in paths if path.suffix.lower() in _VIDEOS)
        is_sequence = _is_sequence(here, unreadable)
        if is_sequence:
            yield here
        read = _VIDEOS.union(SUFFIXES if is_sequence else ())
        left_out += (path for path in paths if path.suffix.lower() not in read)


def _is_new(folder: Path, known: list[Path]) -> bool:
    """Whether a folder is no link to what is read anyway, nor one that leads round in a circle.

    A junction of Windows is a link that does not say so.
    """
    target = _real(folder)
    if target == _real(folder.parent) / folder.name:
        return True
    if any(target.is_relative_to(path) or path.is_relative_to(target) for path in known):
        return False
    known.append(target)
    return True


def _real(path: Path) -> Path:
    """Where links lead; unlike ``resolve`` in Python 3.12 and before, not into an error."""
    return Path(os.path.realpath(path))


def _is_sequence(folder: Path, unreadable: OnError) -> bool:
    """Whether images, and no video among them, make a folder one clip; hidden ones do not count."""
    try:
        videos = (file.name for file in folder.iterdir() if file.suffix.lower() in _VIDEOS)
        return bool(images_in(folder)) and all(name.startswith(".") for name in videos)
    except OSError as error:
        unreadable(error)
        return False


def _is_input(path: Path, root: Path, out: Path) -> bool:
    """Neither hidden below ``root``, nor a run's own, nor among the results."""
    below = path.relative_to(root).parts
    ours = any(part.startswith(".") or part.endswith(".work") for part in below)
    return not ours and not _real(path).is_relative_to(out)


def _matches(pattern: Path, out: Path, unreadable: OnError, left_out: list[Path]) -> Iterator[Clip]:
    root, parts = _fixed_part(pattern)
    # A pattern such as shots/* also finds sidecars; what *.dat finds is meant.
    suffix = pattern.suffix.lower()
    chosen = _VIDEOS if glob.has_magic(suffix) or not suffix else {suffix, *_VIDEOS}
    found = _globbed(root, parts) or _globbed(root, [part.replace("[", "[[]") for part in parts])
    for path in found:
        if not _is_input(path, root, out):
            continue
        is_folder = path.is_dir()
        wanted = _is_sequence(path, unreadable) if is_folder else path.suffix.lower() in chosen
        if wanted:
            yield _mirrored(path, root)
        elif not is_folder:
            left_out.append(path)


def _fixed_part(pattern: Path) -> tuple[Path, list[str]]:
    """The folder that a pattern begins with, and its other parts.

    A folder that is there is meant, whatever brackets its name has.
    """
    root, parts = Path(pattern.anchor), list(pattern.parts[bool(pattern.anchor) :])
    while len(parts) > 1 and (not glob.has_magic(parts[0]) or (root / parts[0]).is_dir()):
        root /= parts.pop(0)
    return root, parts


def _globbed(root: Path, parts: Sequence[str]) -> list[Path]:
    pattern = str(Path(glob.escape(str(root)), *parts))
    return [Path(match) for match in sorted(glob.glob(pattern, recursive=True))]  # noqa: PTH207


def _mirrored(path: Path, root: Path) -> Clip:
    relative = path.relative_to(root)
    name = root.resolve().name if path == root else (relative.parent / _stem(path)).as_posix()
    return Clip(path, name, str(root))


def _stem(path: Path) -> str:
    return path.name if path.is_dir() else path.stem


def _lines(path: Path) -> Iterator[Clip]:
    for number, line in enumerate(_text(path).splitlines(), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            yield _listed(path, number, line.strip(), None, {})


def _csv_rows(path: Path, columns: Collection[str]) -> Iterator[Clip]:
    lines = _text(path).splitlines()
    delimiter = delimiter_of("".join(lines[:1]))
    reader = csv.DictReader(lines, strict=True, delimiter=delimiter)
    try:
        header = _header(path, reader, columns)
        for row in reader:
            cells = {key: value.strip() for key, value in row.items() if key and value}
            if None in row or _SOURCE not in cells:
                raise UsageError(
                    f"{path}, line {reader.line_num} has {len(row)} cells or no {_SOURCE}, "
                    f"expected at most {len(header)} with one: correct it, and quote commas."
                )
            source, name = cells.pop(_SOURCE), cells.pop(_NAME, None)
            yield _listed(path, reader.line_num, source, name, cells)
    except csv.Error as error:
        raise UsageError(
            f"{path}, line {reader.line_num} is not CSV ({error}), expected cells between commas: "
            "correct it."
        ) from error


def _header(path: Path, reader: "csv.DictReader[str]", columns: Collection[str]) -> list[str]:
    header = [column.strip().replace("-", "_") for column in reader.fieldnames or ()]
    reader.fieldnames = header
    unknown = [column for column in header if column not in (_SOURCE, _NAME, *columns)]
    if _SOURCE not in header or unknown or len(set(header)) < len(header):
        raise UsageError(
            f"{path} has the columns {', '.join(header) or '(none)'}, expected {_SOURCE} and, each "
            f"once, any of {', '.join((_NAME, *columns))}: correct its first line."
        )
    return header


def _listed(
    path: Path, number: int, source: str, name: str | None, options: Mapping[str, str]
) -> Clip:
    """A clip as a line of a list names it: relative to the list's folder, like its result."""
    try:
        written = video_path(source)
    except UsageError as error:
        raise UsageError(f"{path}, line {number}: {error}") from None
    found = path.parent / written
    if name is None:
        mirrored = not written.is_absolute() and ".." not in written.parts
        folder = written.parent if mirrored else Path()
        name = (folder / _stem(found)).as_posix()
    return Clip(found, name, f"{path}, line {number}", options)


def _text(path: Path) -> str:
    try:
        return decoded(path.read_bytes())
    except UnicodeDecodeError:
        raise UsageError(
            f"{path} is not text in UTF-8, expected one path a line, or CSV: save it as UTF-8."
        ) from None
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}), expected a readable list: check its "
            "permissions."
        ) from error
