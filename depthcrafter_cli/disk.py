"""What the operating system must do with files: replace, sync and name them, on every disk.

Whatever it refuses is raised as the OSError that it gave.
"""

import hashlib
import importlib
import io
import os
import re
import stat
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from errno import EACCES, EBADF, EINVAL, ENOTSUP, EPERM
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, BinaryIO, Literal

if TYPE_CHECKING:
    from typing_extensions import Buffer

try:
    import fcntl
except ImportError:  # Windows has none
    fcntl = None  # type: ignore[assignment]

WINDOWS = os.name == "nt"

Identity = tuple[object, ...]
"""See :func:`identities`."""

_PART = ".depthcrafter-part"  # a name that no other program gives
_PATIENCE = 5.0  # seconds that a virus scanner may hold a new file
_SHARING_VIOLATIONS = (5, 32)  # ERROR_ACCESS_DENIED, ERROR_SHARING_VIOLATION
_NAME_LENGTH = 255  # bytes of UTF-8, on Windows units of UTF-16
_WINDOWS_PATH_LENGTH, _WINDOWS_LONG_PATH_LENGTH = 259, 32_000
# Left for what lies in a folder of ours: its shortest name while it grows, and the separator.
_WINDOWS_ROOM_BELOW = 30
# A colon leads into a stream of another file; a dot or space at the end is dropped without a word.
_WINDOWS_FORBIDDEN = re.compile(r'[<>:"|?*\\/\x00-\x1f]|[. ]$')
_WINDOWS_RESERVED = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])( *\..*)?", re.IGNORECASE
)
# What a disk answers that cannot sync folders, or keeps them from being read.
_NO_FOLDER_SYNC = (EACCES, EBADF, EINVAL, ENOTSUP, EPERM)


def replace(source: Path, target: Path) -> None:
    """Gives ``source`` the name ``target`` in one step, in place of a file that has it.

    On Windows a virus scanner, an indexer or a backup may hold either file for a moment, so a
    refusal counts only when it has lasted for some seconds.
    """
    deadline, pause = time.monotonic() + _PATIENCE, 0.01
    while True:
        try:
            os.replace(source, target)  # noqa: PTH105 - of Python 3.10, Path.replace is another one
        except PermissionError as error:
            held = WINDOWS or getattr(error, "winerror", None) in _SHARING_VIOLATIONS
            if not held or time.monotonic() > deadline:
                raise
        else:
            return
        time.sleep(pause)
        pause = min(2 * pause, 0.5)


def sync(path: Path) -> None:
    """Waits until a file's contents, or the entries of a folder, have reached the disk."""
    is_folder = path.is_dir()
    if is_folder and WINDOWS:
        return  # it opens no folders, and keeps their entries in a journal of its own
    try:
        descriptor = os.open(path, os.O_RDWR if WINDOWS else os.O_RDONLY)
        try:
            _flush(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if not is_folder or error.errno not in _NO_FOLDER_SYNC:
            raise


def _flush(descriptor: int) -> None:
    # On macOS fsync stops at the cache of the disk itself.
    full = getattr(fcntl, "F_FULLFSYNC", None)
    if full is not None:
        with suppress(OSError):  # a network's disk may not know it
            fcntl.fcntl(descriptor, full)
            return
    os.fsync(descriptor)


def sync_all(folder: Path) -> None:
    """Syncs a folder with all that is in and below it."""
    for place, _folders, files in os.walk(folder):
        for name in files:
            sync(Path(place, name))
        sync(Path(place))


def publish(part: Path, path: Path) -> None:
    """Gives a complete file or folder its final name, so that a power cut cannot undo it.

    After a power cut ``path`` is what it was before, or all of ``part``.
    """
    sync_all(part) if part.is_dir() else sync(part)
    replace(part, path)
    sync(path.parent)


def make_folder(path: Path) -> None:
    """Makes a folder and those above it, where they are not there; a power cut leaves them."""
    missing = [place for place in (path, *path.parents) if not place.is_dir()]
    path.mkdir(parents=True, exist_ok=True)
    for place in missing:
        sync(place.parent)


@contextmanager
def replacing(path: Path, publish: Callable[[Path, Path], None] = publish) -> Iterator[BinaryIO]:
    """A new file to write, which takes the place of ``path`` in one step; it goes if that fails.

    After a power cut ``path`` holds the old contents or the new. Only one process at a time may
    write ``path``: what a killed one left is removed by the next. ``publish`` gives the file its
    final name.
    """
    part = new_part(path)
    try:
        with part.open("xb") as file:
            yield file
        publish(part, path)
    except BaseException:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def write_whole(path: Path, data: bytes) -> None:
    """Replaces a file in one step; after a power cut it holds the old contents or the new."""
    with replacing(path) as file:
        file.write(data)


@contextmanager
def locked(path: Path, *, waits: Callable[[Path], None] | None = None) -> Iterator[None]:
    """Inside, no other process holds the lock file ``path``, which is gone afterwards.

    The lock ends with the process, however that ends; the file that a killed one left is taken by
    the next. Where another process holds it, raises filelock.Timeout at once, unless ``waits`` is
    there, which is told of ``path``, before it waits as long as that takes.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if waits is None:
            raise
        waits(path)
        lock.acquire()
    try:
        yield
    finally:
        with suppress(OSError):  # while it is held, so that no second owner comes in between
            path.unlink(missing_ok=True)
        lock.release()


class NewFile(io.FileIO):
    """A file that was not there, open for reading and writing, without a buffer.

    So an error of the disk is that of the write at hand, and never of a later seek or close, where
    libraries that were given the file cannot pass it on.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "x+")

    def write(self, data: "Buffer") -> int:
        """Write all of ``data``, in as many calls as that takes."""
        left = memoryview(data).cast("B")
        size = len(left)
        while left:
            left = left[super().write(left) :]
        return size


def part_path(path: Path) -> Path:
    """Where the file or folder ``path`` grows until it is complete: hidden, beside it."""
    return derived(path, _PART, prefix=".")


def new_part(path: Path) -> Path:
    """The :func:`part_path` of ``path``, free: what a killed run left there is removed.

    A link that lies there is removed itself; what it leads to stays. Only one process at a time
    may make ``path``. The file must be opened with ``x``, so that nothing that appears meanwhile
    is written to.
    """
    part = part_path(path)
    remove(part)
    return part


def remove_parts(folder: Path) -> None:
    """Remove every :func:`part_path` below a folder in which nothing grows any more."""
    for part in list(folder.rglob(f".*{_PART}")):
        remove(part)


def is_own_file(path: Path) -> bool:
    """Whether ``path`` is a file that is no link, and that has no other name."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_nlink == 1


def remove(path: Path) -> None:
    """Removes a file, a link or a whole folder, if it is there."""
    try:
        is_folder = stat.S_ISDIR(path.lstat().st_mode)
    except FileNotFoundError:
        return
    rmtree(path) if is_folder else path.unlink()


def derived(path: Path, suffix: str, prefix: str = "") -> Path:
    """The path beside ``path`` whose name is its own with more around it, as ``depth.mp4.json``.

    Where the disk allows no name that long, the end of ``path``'s name is replaced by a hash of
    it: always the same one, also for another spelling that some disks take for the same name.
    """
    folder, name = path.parent, path.name
    room = _name_limit(folder) - _length(prefix + suffix)
    if _length(name) > room:
        folded = fold(name).encode("utf-8", "surrogateescape")
        mark = f"~{hashlib.sha256(folded).hexdigest()[:8]}"
        while name and _length(name) > room - len(mark):
            name = name[:-1]
        name += mark
    return path.with_name(prefix + name + suffix)


def fold(name: str) -> str:
    """A name such that all spellings are equal that some disk takes for the same name."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def is_folder(path: Path) -> bool:
    """Whether a path leads to a folder; not if it is too long, or cannot or may not be followed.

    ``Path.is_dir`` raises some of these as errors.
    """
    return os.path.isdir(path)  # noqa: PTH112


def nearest_folder(path: Path) -> Path | None:
    """The folder ``path``, or the nearest above that is there; None on a drive that is not."""
    above = (path.absolute(), *path.absolute().parents)
    return next(filter(is_folder, above), None)


def identities(path: Path) -> set[Identity]:
    """Values of which two paths share one if they are the same file, or might be on some disk.

    Files that are there are known by what they are, through whatever link or spelling; names that
    are still free by their folder and their :func:`fold`.
    """
    real = Path(os.path.realpath(path.parent), path.name)
    folder = nearest_folder(real.parent) or Path(real.anchor)
    below = tuple(map(fold, real.relative_to(folder).parts))
    by_name = (*_number(folder), *below)
    there = os.path.exists(path)  # noqa: PTH110 - catches names that are too long
    return {by_name, _number(path)} if there else {by_name}


def first_shared(groups: Sequence[Sequence[Path]]) -> tuple[int, int] | None:
    """Of groups of paths, the first in which there is a file of an earlier one, and that one.

    They are given as the groups' numbers from 0, by the same :func:`identities`.
    """
    taken: dict[Identity, int] = {}
    for number, paths in enumerate(groups):
        known = set[Identity]().union(*map(identities, paths))
        shared = [taken[key] for key in known if key in taken]
        if shared:
            return number, shared[0]
        taken.update(dict.fromkeys(known, number))
    return None


def _number(path: Path) -> Identity:
    """What tells a file from all others, else its folded path: some disks number no files."""
    with suppress(OSError):
        status = path.stat()
        if status.st_ino:
            return (status.st_dev, status.st_ino)
    return (fold(str(path)),)


def name_problem(path: Path) -> str:
    """Why the disk takes no such name, or that of a folder to be made above; empty if it does."""
    there = nearest_folder(path)
    for place in (path, *path.parents):
        if place.absolute() == there:
            break
        if place.name != ".." and (problem := _own_name_problem(place)):
            return f"the name {place.name} {problem}"
    return ""


def _own_name_problem(path: Path) -> str:
    longest = _name_limit(path.parent)
    if WINDOWS:
        room = _windows_path_length() - _length(str(path.parent.absolute())) - 1
        longest = min(_NAME_LENGTH, room)
        if wrong := _WINDOWS_FORBIDDEN.search(path.name):
            return f"holds {wrong.group()!r}, which Windows takes for something else"
        if _WINDOWS_RESERVED.fullmatch(path.name):
            return "is one that Windows keeps for a device"
    if (length := _length(path.name)) > longest:
        return f"is {length} long, where the disk allows {longest}"
    return ""


def _name_limit(folder: Path) -> int:
    """How long a name in a folder may be, as :func:`_length` counts."""
    if WINDOWS:
        above = _length(str(folder.absolute())) + 1
        return min(_NAME_LENGTH, _windows_path_length() - _WINDOWS_ROOM_BELOW - above)
    try:
        limit = os.pathconf(nearest_folder(folder) or "/", "PC_NAME_MAX")
    except (OSError, ValueError):
        return _NAME_LENGTH
    return limit if limit > 0 else _NAME_LENGTH


def _windows_path_length() -> int:
    """How long a whole path may be: 259, unless the machine was set up for longer ones."""
    with suppress(ImportError, OSError):
        winreg = importlib.import_module("winreg")
        place = r"SYSTEM\CurrentControlSet\Control\FileSystem"
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, place) as key:
            if winreg.QueryValueEx(key, "LongPathsEnabled")[0]:
                return _WINDOWS_LONG_PATH_LENGTH
    return _WINDOWS_PATH_LENGTH


def _length(name: str) -> int:
    if WINDOWS:
        return len(name.encode("utf-16-le", "surrogatepass")) // 2
    return len(os.fsencode(name))


def user_folder(kind: Literal["data", "cache"]) -> Path:
    """Our folder among a user's own, by the system's convention.

    Raises RuntimeError for a user without a home, as in some containers.
    """
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / {"data": "Application Support", "cache": "Caches"}[kind]
    else:
        usual = {"data": ".local/share", "cache": ".cache"}[kind]
        base = Path(os.environ.get(f"XDG_{kind.upper()}_HOME") or Path.home() / usual)
    return base / "depthcrafter"
