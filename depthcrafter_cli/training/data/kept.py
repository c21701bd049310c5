"""Where a work folder keeps what it made of a clip: under a name that changes with the clip."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from depthcrafter_cli.datasets.clip import ClipSource
from depthcrafter_cli.errors import UsageError
from depthcrafter_cli.media.files import replacing
from depthcrafter_cli.structured import content_errors, npz_arrays


def kept_path(folder: Path, source: ClipSource, index: int) -> Path:
    """The file of a clip, ``NUMBER.npz`` or ``NUMBER-VERSION.npz``, whether it is there or not."""
    version = source.version(index)
    return folder / (f"{index:06d}-{version}.npz" if version else f"{index:06d}.npz")


def kept(path: Path, *names: str) -> list[npt.NDArray[np.generic]]:
    """The arrays that :func:`keep` wrote.

    Raises:
        UsageError: the file is damaged, or of another version of the program.
    """
    expected = f"expected what the program made of a clip: delete {path.parent} to make it anew"
    with content_errors(path, UsageError, expected):
        return npz_arrays(path, *names)


def keep(path: Path, **arrays: npt.NDArray[np.generic]) -> None:
    """Write the file of a clip, and take away those of its number's other versions.

    Raises:
        OutputError: it cannot be written.
    """
    with replacing(path) as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    number, _, version = path.stem.partition("-")
    if version:
        others = {path.with_name(f"{number}.npz"), *path.parent.glob(f"{number}-*.npz")} - {path}
        for other in others:
            other.unlink(missing_ok=True)
