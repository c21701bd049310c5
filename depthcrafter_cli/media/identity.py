"""What a file, or a set of images, is: so that a change of it is noticed."""

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from depthcrafter_cli.errors import InputError
from depthcrafter_cli.media.image_sequence import files_of

_SAMPLE_BYTES = 1 << 20


def identity(path: Path) -> dict[str, Any]:
    """Path, size, date and a hash of the head and tail: cheap for a film of any length.

    For images, the files' names, sizes and dates are hashed. Raises OSError.
    """
    place = str(path.absolute())
    if path.is_file():
        status = path.stat()
        digest = hashlib.sha256()
        with path.open("rb") as file:
            digest.update(file.read(_SAMPLE_BYTES))
            file.seek(max(0, status.st_size - _SAMPLE_BYTES))
            digest.update(file.read(_SAMPLE_BYTES))
        return {
            "path": place,
            "bytes": status.st_size,
            "modified": status.st_mtime,
            "sha256_head_tail": digest.hexdigest(),
        }
    folder = path if path.is_dir() else path.parent
    # Names alone, and one line at a time: a film's files are many.
    names = sorted((file.name for file in files_of(path)), key=os.path.normcase)
    digest = hashlib.sha256(b"[")
    for number, name in enumerate(names):
        status = os.stat(os.path.join(folder, name))  # noqa: PTH116, PTH118 - a Path interns it
        line = json.dumps([name, status.st_size, status.st_mtime])
        digest.update(f", {line}".encode() if number else line.encode())
    digest.update(b"]")
    return {"path": place, "files": len(names), "sha256_listing": digest.hexdigest()}


def require_unchanged(source: Path, before: Mapping[str, Any]) -> None:
    """Raises InputError if a run's input is no longer what :func:`identity` gave ``before``."""
    now: dict[str, Any] = {}
    with suppress(OSError):  # it is gone, or what it lies on
        now = identity(source)
    if now != before:
        raise changed(source, now, before)


def is_still(source: Path, before: Mapping[str, Any]) -> bool:
    """Whether a run's input, which may have been copied since, is what :func:`identity` gave.

    Of a file the size, the head and the tail tell; of images the listing, or, where they lie
    elsewhere now, how many there are.
    """
    with suppress(OSError):
        now = identity(source)
        names = ["bytes", "sha256_head_tail", "files"]
        if now["path"] == before.get("path"):
            names.append("sha256_listing")
        return all(now.get(name) == before[name] for name in names if name in before)
    return False


def changed(source: Path, now: Mapping[str, Any], before: Mapping[str, Any]) -> InputError:
    """What to say of an input that is another than the run began with, and empty ``now`` if its
    disk is gone.
    """
    differs = {name for name in before if now.get(name) != before[name]}
    if not now or now.get("files") == 0:
        told = "it is gone"
    elif differs <= {"path", "modified"}:
        places = [f"it was {before['path']}"] if "path" in differs else []
        dates = [f"its date was {_moment(before['modified'])}"] if "modified" in differs else []
        told = ", ".join(places + dates)
    else:
        told = "contents or dates of its images" if "files" in before else "its contents"
        told += " are others"
    return InputError(
        f"{source} is not what it was when the run began ({told}), expected the same video to the "
        "end: put it back and go on, or start again with `overwrite=True`."
    )


def _moment(seconds: float) -> str:
    """A date of a file; unlike ``fromtimestamp`` on Windows also one before 1970."""
    moment = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=seconds)
    return f"{moment:%Y-%m-%d %H:%M:%S.%f UTC}"
