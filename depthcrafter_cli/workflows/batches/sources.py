"""Which videos a batch is about: what folders, patterns and lists hold."""

import csv
import glob
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from depthcrafter_cli.disk import is_folder
from depthcrafter_cli.errors import InputError, UsageError
from depthcrafter_cli.media.image_sequence import images_in
from depthcrafter_cli.media.images import suffixes
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
        "exe", "dll", "tmp", "bak", "lock", "spool",
    )
)  # fmt: skip
_MOST_NAMED = 5  # files left out
_VIDEO, _NAME = "video", "name"
_OLD_NAMES = {"source": _VIDEO}  # of columns, in version 0.1


@dataclass(frozen=True)
class BatchVideo:
    """A video's path, the ``name`` of its results (relative, no suffix) and its own options.

    ``origin`` is where it was found, for errors: a folder, or a line of a list.
    """

    path: Path
    name: str
    origin: str
    options: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.path} ({self.origin})"


def find_videos(
    sources: Sequence[str],
    out: Path,
    columns: Collection[str],
    warn: Warn = ignore,
) -> list[BatchVideo]:
    """The videos of folders (with all below), patterns, lists (.txt, .csv) and single videos.

    Folders and patterns are read in sorted order, and ``out`` is left out of them. A folder that
    holds images and no video is one video. ``columns`` are the options that a CSV may set. ``warn``
    gets a sentence for each folder that cannot be read, and one for the files of each source that
    are taken for no video.

    Raises:
        UsageError: a list with a line or column that makes no sense.
        InputError: nothing is there, or a list cannot be read.
    """
    videos: list[BatchVideo] = []

    for source in sources:
        search = _Search(out.resolve(), warn)
        found = list(search.videos_of(source, columns))
        if search.left_out:
            warn(_left_out_of(source, search.left_out))
        if not found:
            raise InputError(
                f"{source} holds no video, expected videos, folders of images, or a list of them: "
                f"check the path, and quote patterns; what is in {out} is never a source."
            )
        videos += found
    return videos


@dataclass(frozen=True)
class _Search:
    """A search of one source for videos; what lies in ``out`` is a result, never a video."""

    out: Path
    warn: Warn
    left_out: list[Path] = field(default_factory=list)
    """Files, and hidden folders, that were taken for no video."""

    def videos_of(self, source: str, columns: Collection[str]) -> Iterator[BatchVideo]:
        path = video_path(source)
        if path.is_dir():
            for found in self._below(path):
                yield _mirrored(found, path)
        elif path.suffix.lower() == ".csv" and path.is_file():
            yield from _csv_rows(path, columns)
        elif path.suffix.lower() in (".txt", ".list") and path.is_file():
            yield from _lines(path)
        elif path.exists() or (is_number_pattern(path) and any(files_under(path))):
            yield BatchVideo(path, _stem(path), source)
        elif glob.has_magic(source):
            yield from self._matches(path)

    def _below(self, folder: Path) -> Iterator[Path]:
        """Videos, and folders of images alone, in and below a folder, also where links lead."""
        for here, files in self._walked(folder):
            shown = [file for file in files if not _is_hidden(file)]
            yield from (file for file in shown if _is_video(file))
            is_sequence = self._is_sequence(here)
            if is_sequence:
                yield here
            read = _VIDEOS.union(suffixes() if is_sequence else ())
            self.left_out.extend(file for file in shown if file.suffix.lower() not in read)
            self.left_out.extend(file for file in files if _is_hidden(file) and _is_video(file))

    def _walked(self, folder: Path) -> Iterator[tuple[Path, list[Path]]]:
        """A folder and those below, also where links lead, each once, with its files.

        Hidden folders are left out.
        """
        known = [_real(folder)]
        for place, folders, files in os.walk(folder, onerror=self._unreadable, followlinks=True):
            here = Path(place)
            below = [here / name for name in sorted(folders) if not self._is_result(here / name)]
            self.left_out.extend(filter(_is_hidden, below))
            folders[:] = [
                path.name for path in below if not _is_hidden(path) and _is_new(path, known)
            ]
            paths = (here / name for name in sorted(files))
            yield here, [path for path in paths if not self._is_result(path)]

    def _matches(self, pattern: Path) -> Iterator[BatchVideo]:
        root, parts = _fixed_part(pattern)
        # A pattern such as shots/* also finds sidecars; what *.dat finds is meant.
        suffix = pattern.suffix.lower()
        chosen = _VIDEOS if glob.has_magic(suffix) or not suffix else {suffix, *_VIDEOS}
        found = self._globbed(root, parts)
        found = found or self._globbed(root, [part.replace("[", "[[]") for part in parts])
        for path in sorted(found):
            if self._is_result(path):
                continue
            hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
            is_file = not path.is_dir()
            wanted = path.suffix.lower() in chosen if is_file else self._is_sequence(path)
            if wanted and not hidden:
                yield _mirrored(path, root)
            elif is_file and (wanted or not hidden):
                self.left_out.append(path)

    def _globbed(self, root: Path, parts: Sequence[str]) -> set[Path]:
        """What the parts of a pattern find below a folder; circles of links end, not so glob's."""
        if "**" not in parts:
            pattern = Path(glob.escape(str(root)), *parts)
            return {Path(match) for match in glob.glob(str(pattern))}  # noqa: PTH207
        at = parts.index("**")
        rest, found = parts[at + 1 :] or ["*"], set[Path]()
        for start in self._globbed(root, parts[:at]) if at else {root}:
            for folder, _files in self._walked(start):
                found |= self._globbed(folder, rest)
        return found

    def _is_sequence(self, folder: Path) -> bool:
        """Whether a folder is one video: it holds images and no video file that is not hidden."""
        try:
            videos = [file for file in folder.iterdir() if _is_video(file)]
            return any(images_in(folder)) and all(map(_is_hidden, videos))
        except OSError as error:
            self._unreadable(error)
            return False

    def _is_result(self, path: Path) -> bool:
        return _real(path).is_relative_to(self.out)

    def _unreadable(self, error: OSError) -> None:
        said = f"{error.filename} cannot be read ({error.strerror})"
        self.warn(f"{said}, and no video is taken from it.")


def _left_out_of(source: str, files: Sequence[Path]) -> str:
    """What to say of files, and of hidden folders, that are taken for no video."""
    hidden = [file for file in files if _is_hidden(file)]
    seen = [file for file in files if not _is_hidden(file)]
    unknown = [file for file in seen if file.suffix.lower() not in _SIDE_FILES]
    told = []
    if unknown:
        told.append(
            f"{len(unknown)} whose names are of no video, nor of images in a folder of their own "
            f"({_names_of(unknown)})"
        )
    if hidden:
        told.append(f"{len(hidden)} hidden ({_names_of(hidden)})")
    if beside := len(seen) - len(unknown):
        kinds = sorted({file.suffix.lower() for file in seen} & _SIDE_FILES)
        told.append(f"{beside} of other kinds ({', '.join(kinds)})")
    remedy = "; name a file itself to have it read" if unknown or hidden else ""
    return f"Of the files of {source}, these are taken for no video: {' and '.join(told)}{remedy}."


def _names_of(files: Sequence[Path]) -> str:
    names = [str(file) for file in files[:_MOST_NAMED]]
    return ", ".join(names + ["..."] * (len(files) > _MOST_NAMED))


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


def _is_hidden(path: Path) -> bool:
    return path.name.startswith(".")


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in _VIDEOS


def _fixed_part(pattern: Path) -> tuple[Path, list[str]]:
    """The folder that a pattern begins with, and its other parts.

    A folder that is there is meant, whatever brackets its name has.
    """
    root, parts = Path(pattern.anchor), list(pattern.parts[bool(pattern.anchor) :])
    while len(parts) > 1 and (not glob.has_magic(parts[0]) or (root / parts[0]).is_dir()):
        root /= parts.pop(0)
    return root, parts


def _mirrored(path: Path, root: Path) -> BatchVideo:
    relative = path.relative_to(root)
    name = root.resolve().name if path == root else (relative.parent / _stem(path)).as_posix()
    return BatchVideo(path, name, str(root))


def _stem(path: Path) -> str:
    return path.name if is_folder(path) else path.stem


def _lines(path: Path) -> Iterator[BatchVideo]:
    for number, line in enumerate(_text(path).splitlines(), 1):
        text = line.strip()
        if text[:1] == text[-1:] == '"':  # of Windows' "Copy as path", in whose names is none
            text = text[1:-1].strip()
        if text and not text.startswith("#"):
            yield _listed(path, number, text, None, {})


def _csv_rows(path: Path, columns: Collection[str]) -> Iterator[BatchVideo]:
    lines = _text(path).splitlines()
    delimiter = delimiter_of("".join(lines[:1]))
    reader = csv.DictReader(lines, strict=True, delimiter=delimiter)
    try:
        header = _header(path, reader, columns)
        for row in reader:
            cells = {key: value.strip() for key, value in row.items() if key and value}
            if None in row or _VIDEO not in cells:
                raise UsageError(
                    f"{path}, line {reader.line_num} has {len(row)} cells or no {_VIDEO}, "
                    f"expected at most {len(header)} with one: correct it, and quote commas."
                )
            source, name = cells.pop(_VIDEO), cells.pop(_NAME, None)
            yield _listed(path, reader.line_num, source, name, cells)
    except csv.Error as error:
        raise UsageError(
            f"{path}, line {reader.line_num} is not CSV ({error}), expected cells between commas: "
            "correct it."
        ) from error


def _header(path: Path, reader: "csv.DictReader[str]", columns: Collection[str]) -> list[str]:
    names = [column.strip().lower().replace("-", "_") for column in reader.fieldnames or ()]
    header = [_OLD_NAMES.get(name, name) for name in names]
    reader.fieldnames = header
    unknown = [column for column in header if column not in (_VIDEO, _NAME, *columns)]
    if _VIDEO not in header or unknown or len(set(header)) < len(header):
        raise UsageError(
            f"{path} has the columns {', '.join(header) or '(none)'}, expected {_VIDEO} and, each "
            f"once, any of {', '.join((_NAME, *columns))}: correct its first line."
        )
    return header


def _listed(
    path: Path, number: int, source: str, name: str | None, options: Mapping[str, str]
) -> BatchVideo:
    """A video as a line of a list names it: relative to the list's folder, like its result."""
    try:
        written = video_path(source)
    except (InputError, UsageError) as error:
        raise type(error)(f"{path}, line {number}: {error}") from None
    found = path.parent / written
    if name is None:
        mirrored = not written.is_absolute() and ".." not in written.parts
        folder = written.parent if mirrored else Path()
        name = (folder / _stem(found)).as_posix()
    return BatchVideo(found, name, f"{path}, line {number}", options)


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
