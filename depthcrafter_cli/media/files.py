"""Files that appear under their final name only when they are complete."""

import errno
import importlib.util
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from filelock import Timeout

from depthcrafter_cli import disk
from depthcrafter_cli.errors import DepthCrafterError, OutputError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """Turns a failure of the operating system to write ``path`` into one clear sentence."""
    try:
        yield
    except DepthCrafterError:
        raise
    except OSError as error:
        if error.errno in _FULL:
            message = (
                f"{path} cannot be finished: {_free_space(path)}, expected room for the whole "
                "result: free some space or choose another disk."
            )
        else:
            message = (
                f"{path} cannot be written ({error.strerror or error}), expected a writable "
                "place: choose another path or change its permissions."
            )
        raise OutputError(message) from error


def require_folder(folder: Path, out: Path, *, is_made: bool) -> None:
    """Raises OutputError unless files can be made in a folder, for the output ``out``.

    ``is_made`` says that the folder will be made if it is not there.
    """
    above = disk.nearest_folder(folder)
    if above is not None:
        next_part = folder.absolute().relative_to(above).parts[:1]
        if next_part and os.path.lexists(above / next_part[0]):
            raise OutputError(
                f"{above / next_part[0]} is no folder, expected one, or a free name, for the "
                f"output {out}: choose another path."
            )
    there = above if is_made else folder
    if there is None or not there.is_dir():
        raise OutputError(
            f"There is no folder {folder} for {out.name}, expected it to exist: create it first."
        )
    with output_errors(out), tempfile.TemporaryFile(dir=there):
        pass


def require_new(out: Path, *, overwrite: bool, is_made: bool = False) -> None:
    """Raises OutputError for a file that is there, unless it may be replaced, or cannot be made.

    ``is_made`` says that its folder will be made if it is not there.
    """
    if out.exists() and not overwrite:
        raise OutputError(f"{out} exists, expected a free name: pass `overwrite=True`.")
    require_folder(out.parent, out, is_made=is_made)


def missing_package(what: Path | str, package: str, extra: str, otherwise: str) -> str:
    """What to say of a file, or else, that needs a package which is not installed; empty if it is.

    ``extra`` is the one of depthcrafter's that brings it, ``otherwise`` what to do instead.
    """
    if importlib.util.find_spec(package):
        return ""
    return (
        f"{what} needs the package {package}, which is not installed, expected it beside "
        f'depthcrafter: pip install "depthcrafter[{extra}]", or {otherwise}.'
    )


@contextmanager
def read_errors(path: Path) -> Iterator[None]:
    """Turns a failure of the operating system to read a run's state into one clear sentence."""
    try:
        yield
    except DepthCrafterError:
        raise
    except OSError as error:
        raise OutputError(
            f"{path} cannot be read ({error.strerror or error}), expected a readable disk: check "
            "it, and resume the run."
        ) from error


def _free_space(path: Path) -> str:
    folder = path if path.is_dir() else path.parent
    free = shutil.disk_usage(folder).free if folder.is_dir() else 0
    return f"the disk is full or the file size limited ({free / 1e6:.0f} MB free)"


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """As :func:`depthcrafter_cli.disk.replacing`, but raises OutputError."""
    with output_errors(path), disk.replacing(path) as file:
        yield file


def write_whole(path: Path, data: bytes) -> None:
    """As :func:`depthcrafter_cli.disk.write_whole`, but raises OutputError."""
    with output_errors(path):
        disk.write_whole(path, data)


def lock_path(place: Path) -> Path:
    """The file whose lock is the claim to ``place``, which lies beside it."""
    return disk.derived(place.with_name(place.name.replace("%", "")), ".lock", prefix=".")


@contextmanager
def claimed(
    places: Iterable[Path], *, waits: Callable[[Path], None] | None = None
) -> Iterator[None]:
    """Inside, no other run may claim one of these paths, whichever links lead to their folders.

    Raises OutputError if one is taken, unless ``waits`` is there, which is told of the lock file
    that is waited for.
    """
    with ExitStack() as held:
        for place in dict.fromkeys(place.parent.resolve() / place.name for place in places):
            with output_errors(place):
                disk.make_folder(place.parent)
                try:
                    held.enter_context(disk.locked(lock_path(place), waits=waits))
                except Timeout:
                    raise OutputError(
                        f"{place} is being written by another run, expected one at a time: wait "
                        "for it or choose another name."
                    ) from None
        yield


def remove_locks(places: Iterable[Path]) -> None:
    """Removes the locks that killed runs left of these paths."""
    for place in places:
        if lock_path(place).exists():
            with suppress(OutputError), claimed([place]):  # it is released, so removed
                pass
