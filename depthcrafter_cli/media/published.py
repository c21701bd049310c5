"""Which files under final names are a run's own, so that it replaces no other when it goes on."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from depthcrafter_cli import disk
from depthcrafter_cli.errors import OutputError
from depthcrafter_cli.media.files import output_errors, read_errors
from depthcrafter_cli.structured import parse_object


class Published:
    """What a run has given its final name.

    Each file is noted in ``journal`` before it gets the name, so that after a kill at any point the
    same run knows its own; what is damaged in the journal counts as not noted. Without a journal
    nothing is noted. ``overwrite`` lets every file be replaced.
    """

    def __init__(self, journal: Path | None = None, *, overwrite: bool = False) -> None:
        self._journal = journal
        self._overwrite = overwrite
        self._known = dict[bytes, None]()  # in a third of the memory of a set
        if journal is not None and journal.is_file():
            with read_errors(journal), journal.open("rb") as lines:
                for line in lines:
                    with suppress(ValueError, KeyError, RecursionError):
                        self._known[_digest(parse_object(line))] = None

    def require_replaceable(self, files: Iterable[Path]) -> None:
        """Raises OutputError if one of the files is there and is not the run's own."""
        for file in files:
            if not self._overwrite and os.path.lexists(file) and not self.owns(file):
                raise OutputError(
                    f"{file} is there and was not made by this run, expected a free name: move it "
                    "away and go on."
                )

    def note(self, moves: Mapping[Path, Path]) -> None:
        """Write down that complete files are about to be renamed, each key to its value.

        Raises OutputError if one of the names is taken by a file that is not the run's own.
        """
        self.require_replaceable(moves.values())
        if self._journal is None:
            return
        noted = [_described(part, final) for part, final in moves.items()]
        is_new = not self._journal.exists()
        with output_errors(self._journal):
            with self._journal.open("ab") as file:
                # A kill may have left half a line.
                file.write("".join(f"\n{json.dumps(each)}\n" for each in noted).encode())
            disk.sync(self._journal)
            if is_new:
                disk.sync(self._journal.parent)
        self._known.update(dict.fromkeys(map(_digest, noted)))

    def publish(self, part: Path, path: Path) -> None:
        """Gives a complete file its final name, in one step that a power cut cannot undo.

        Raises OutputError if a file appeared there that is not the run's own.
        """
        with output_errors(path):
            disk.sync(part)  # a network's disk may settle the date only now
            self.note({part: path})
            disk.publish(part, path)

    def write_whole(self, path: Path, data: bytes) -> None:
        """Publishes a file of ``data``. Raises OutputError as :meth:`publish`."""
        with output_errors(path), disk.replacing(path, self.publish) as file:
            file.write(data)

    def owns(self, file: Path) -> bool:
        """Whether the run gave a file its name. Raises OutputError."""
        with output_errors(file):
            return _digest(_described(file, file)) in self._known


def _described(file: Path, final: Path) -> dict[str, Any]:
    """What the journal says of a file that is to be, or is, called ``final``.

    Size and date stay when a file is renamed, and no other file has the two by chance. The inode is
    left out, which some shared disks renumber.
    """
    status = file.lstat()
    path = str(final.absolute())
    return {"path": path, "bytes": status.st_size, "modified_ns": status.st_mtime_ns}


def _digest(noted: Mapping[str, Any]) -> bytes:
    """16 bytes for a line of the journal: a film's files are many. Raises KeyError."""
    told = repr((noted["path"], noted["bytes"], noted["modified_ns"]))
    return hashlib.blake2b(told.encode(), digest_size=16).digest()
