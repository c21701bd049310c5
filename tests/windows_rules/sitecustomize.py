"""Windows' rules for files, on Linux, in every Python process that has this folder on its path.

There a file that is open or mapped cannot be renamed, replaced or removed, nor can a folder that
holds one; a mapped file cannot be emptied; a folder cannot be opened, nor replaced. A step of the
program that breaks a rule fails as it would there, and is written to the file that the environment
variable names. Only what this process itself holds counts.
"""

import errno
import os
import stat
import sys
import traceback
from pathlib import Path

VARIABLE = "DEPTHCRAFTER_WINDOWS_RULES"
_PACKAGE = f"{os.sep}depthcrafter_cli{os.sep}"

Key = tuple[int, int]


def install(log: Path) -> None:
    """Hold this process to the rules from now on; violations of the program go to ``log``."""
    import shutil

    from depthcrafter_cli import disk

    disk.WINDOWS = True
    shutil._use_fd_functions = False  # as on Windows, which has none
    busy = False

    def hear(event: str, arguments: tuple) -> None:
        nonlocal busy
        judge = _RULES.get(event)
        if judge is None or busy:
            return
        busy = True
        try:
            broken = judge(*arguments)
            if broken:
                _note(log, event, broken)
                raise PermissionError(errno.EACCES, f"Windows' rules: {broken}", str(arguments[0]))
        finally:
            busy = False

    sys.addaudithook(hear)


def _note(log: Path, event: str, broken: str) -> None:
    frames = [frame for frame in traceback.extract_stack() if _PACKAGE in frame.filename]
    if frames:
        with log.open("a") as file:
            places = " < ".join(f"{frame.filename}:{frame.lineno}" for frame in reversed(frames))
            file.write(f"{event}: {broken} at {places}\n")


def _rename(source, target, source_folder, target_folder) -> str:
    if source_folder != -1 or target_folder != -1:
        return ""
    status = _status(target)
    if status is not None and stat.S_ISDIR(status.st_mode):
        return f"the folder {target} cannot be replaced"
    return _refusal(source) or _refusal(target)


def _remove(path, folder) -> str:
    # A temporary file that has no name from the start on is one that Windows removes itself.
    if folder != -1 or sys._getframe(2).f_globals.get("__name__") == "tempfile":
        return ""
    return _refusal(path)


def _open(path, mode, flags) -> str:
    if not isinstance(path, (str, bytes, os.PathLike)):
        return ""
    status = _status(path)
    if status is None:
        return ""
    if stat.S_ISDIR(status.st_mode) and mode is None and not flags & os.O_DIRECTORY:
        return f"the folder {path} cannot be opened"
    if flags & os.O_TRUNC and _held().get(_key(status)) == "mapped":
        return f"{path} is mapped and cannot be emptied"
    return ""


_RULES = {"os.rename": _rename, "os.remove": _remove, "os.rmdir": _remove, "open": _open}


def _refusal(path) -> str:
    """Why a file or folder cannot be moved or removed; empty if it can."""
    status = _status(path)
    if status is None or os.fsdecode(path).endswith(".lock"):  # filelock knows Windows itself
        return ""
    held = _held()
    below = Path(os.fsdecode(path)).rglob("*") if stat.S_ISDIR(status.st_mode) else ()
    for file in (path, *below):
        status = _status(file)
        if status is not None and (how := held.get(_key(status))):
            return f"{file} is {how}"
    return ""


def _status(path) -> os.stat_result | None:
    try:
        return os.stat(path, follow_symlinks=False)  # noqa: PTH116 - it may be bytes
    except (OSError, ValueError):
        return None


def _key(status: os.stat_result) -> Key:
    return status.st_dev, status.st_ino


def _held() -> dict[Key, str]:
    """The regular files that this process has open, or mapped, which counts for more."""
    held = {}
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            status = os.fstat(int(descriptor.name))
        except OSError:
            continue
        if stat.S_ISREG(status.st_mode):
            held[_key(status)] = "open"
    with Path("/proc/self/maps").open() as maps:
        for line in maps:
            path = line.rstrip("\n").split(None, 5)[5:]
            status = _status(path[0]) if path and path[0].startswith("/") else None
            if status is not None:
                held[_key(status)] = "mapped"
    return held


if os.environ.get(VARIABLE):
    install(Path(os.environ[VARIABLE]))
