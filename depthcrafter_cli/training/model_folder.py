"""The folder of a trained model or adapter: whole under its name, and dated as its checkpoint."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from depthcrafter_cli.disk import new_part, publish, remove, sync_all
from depthcrafter_cli.media.files import output_errors
from depthcrafter_cli.models.manifest import CARD_NAME, write_manifest


def write_model(
    save: Callable[[Path], None],
    manifest: dict[str, Any],
    card: str,
    folder: Path,
    *,
    overwrite: bool = False,
) -> None:
    """Write the folder of a model or adapter, which appears under its name when it is synced.

    Raises:
        OutputError: it cannot be written, or something has appeared there and ``overwrite`` is off.
    """
    with output_errors(folder):
        part = new_part(folder)
        save(part)
        (part / CARD_NAME).write_text(card, encoding="utf-8")
        write_manifest(part, **manifest)
        sync_all(part)
        if folder.exists():  # else a folder that holds something could not be replaced
            remove(folder) if overwrite else folder.rmdir()
        publish(part, folder)


def date_as(checkpoint: Path, folder: Path) -> None:
    """Give a model's files the date of the checkpoint that they were made from.

    All of them, as files that are later than their manifest count as changed.
    """
    made = checkpoint.stat().st_mtime_ns
    for path in filter(Path.is_file, folder.rglob("*")):
        with suppress(OSError):  # it is made once more then
            os.utime(path, ns=(made, made))


def is_dated_as(checkpoint: Path, manifest: Path) -> bool:
    """Whether a model is there, and none of a stage that was trained anew since.

    Not by which is later: the clock may have been set back.
    """
    return manifest.exists() and manifest.stat().st_mtime_ns == checkpoint.stat().st_mtime_ns
