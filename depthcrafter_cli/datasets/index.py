"""How long each clip of a large set is, kept from one scan to the next.

To open a clip takes milliseconds, to see that nothing of it has changed microseconds. The index of
a set is one JSON file in the user's cache folder; a clip whose files are of other sizes or times is
opened again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from depthcrafter_cli.datasets.recorded import Place
from depthcrafter_cli.disk import user_folder
from depthcrafter_cli.errors import DepthCrafterError, InputError
from depthcrafter_cli.media.files import write_whole
from depthcrafter_cli.structured import json_object

_LEAST = 100  # clips: fewer are scanned sooner than one notices
_VERSION = 1
_Known = dict[str, tuple[str, int | str]]


def lengths(places: Sequence[Place], kind: str, root: Path) -> list[int | str]:
    """The frames of each clip, or in one sentence why it cannot be used."""
    try:
        path = _path(kind, root)
    except RuntimeError:  # a user without a home has no index
        path = None
    if path is None or len(places) < _LEAST:
        return [_length(place) for place in places]
    known = _read(path)
    found: _Known = {}
    for place in places:
        stamp = _stamp(place.watched())
        noted, length = known.get(place.name, ("", 0))
        found[place.name] = stamp, length if noted == stamp else _length(place)
    if found != known:
        _write(path, found)
    return [found[place.name][1] for place in places]


def _length(place: Place) -> int | str:
    try:
        return place.open().frames
    except InputError as error:
        return str(error)


def _stamp(watched: Iterable[Path | os.DirEntry[str]]) -> str:
    """Sizes and times of a clip's files and folders; another one where any of them changed."""
    told = []
    for path in watched:
        with suppress(OSError):  # what is missing is part of the stamp, too
            status = path.stat()
            told.append(f"{os.fspath(path)} {status.st_size} {status.st_mtime_ns}")
    return hashlib.blake2b("\n".join(sorted(told)).encode(), digest_size=12).hexdigest()


def _path(kind: str, root: Path) -> Path:
    name = hashlib.blake2b(f"{kind} {root.resolve()}".encode(), digest_size=12).hexdigest()
    return user_folder("cache") / "clips" / f"{name}.json"


def _read(path: Path) -> _Known:
    """What was noted, nothing where that is missing, damaged or of another version."""
    known: _Known = {}
    with suppress(OSError, ValueError, RecursionError):
        content = json_object(path)
        if content.get("version") == _VERSION and isinstance(content.get("clips"), dict):
            for name, entry in content["clips"].items():
                stamp, length = entry
                known[name] = str(stamp), length if isinstance(length, int) else str(length)
    return known


def _write(path: Path, found: _Known) -> None:
    with suppress(OSError, DepthCrafterError):  # without it the next scan takes longer, no more
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps({"version": _VERSION, "clips": found}).encode())
