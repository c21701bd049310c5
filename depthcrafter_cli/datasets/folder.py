"""Our own layout of clips, made to be filled by anyone. One folder a clip::

    clips/NAME/rgb.mp4          any video, or a folder rgb/ of images in order
    clips/NAME/disparity.npz    array ``disparity`` [T, H, W], or ``depth``; or a folder disparity/
                                of 16-bit grayscale PNGs
    clips/NAME/valid.npz        optional: array ``valid`` [T, H, W], true where disparity is known;
                                or a folder valid/ of 8-bit PNGs, known where not 0

Disparity is inverse depth in any one unit per clip, larger is nearer, 0 infinitely far; depth is in
any one unit too, 0 unknown, infinite for sky. Pictures and maps may differ in size.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import IO, Any
from zipfile import ZipFile

import numpy as np
import numpy.typing as npt

from depthcrafter_cli.datasets.clip import Shape
from depthcrafter_cli.datasets.recorded import Map, Place, ReadMaps, RecordedClip, inverse
from depthcrafter_cli.errors import InputError
from depthcrafter_cli.media.image_sequence import images_in
from depthcrafter_cli.media.images import opened_image
from depthcrafter_cli.media.numbered import natural_order
from depthcrafter_cli.media.reader import count_frames, probe
from depthcrafter_cli.structured import archive_errors, content_errors, npz_arrays

Array = npt.NDArray[Any]
_Header = tuple[tuple[int, ...], bool, np.dtype[Any]]
_BLOCK = 1 << 20  # bytes


def folder_places(root: Path) -> list[Place]:
    """Where the clips of a folder lie, by name. Raises InputError where there is no folder."""
    if not root.is_dir():
        raise InputError(f"got no folder {root}, expected one with a folder per clip: check it.")
    with os.scandir(root) as entries:
        homes = sorted(entry.name for entry in entries if entry.is_dir())
    return [
        Place(name, partial(_clip, root / name), partial(os.scandir, root / name)) for name in homes
    ]


def _clip(home: Path) -> RecordedClip:
    """A clip. Raises InputError where parts of it are missing or differ in length or size."""
    (frames, *size), read = _maps(home)
    pictures, masks = _pictures(home), _masks(home)
    shown = _count(pictures, frames)
    if frames < 1 or shown != frames:
        raise InputError(
            f"got {shown} pictures and {frames} disparity maps in {home}, expected one map for "
            "each picture: complete the clip or leave it out."
        )
    files = sorted(path for path in home.rglob("*") if path.is_file())
    clip = RecordedClip(home.name, frames, pictures, read, files)
    if masks is None:
        return clip
    (count, *extent), valid = masks
    if count != frames:
        raise InputError(
            f"got {count} validity masks for {frames} disparity maps in {home}, expected as many: "
            "complete the clip."
        )
    if extent != size:
        raise InputError(
            f"got validity masks of {extent} for disparity maps of {size} (height, width) in "
            f"{home}, expected one size: write the masks anew."
        )

    def known(wanted: range) -> Iterator[Map]:
        for mask, shown in zip(valid(wanted), read(wanted), strict=True):
            yield np.where(mask, shown, np.float32(-1))

    return replace(clip, disparity=known)


def _pictures(home: Path) -> Path:
    found = sorted(path for path in home.iterdir() if path.stem == "rgb")
    if len(found) != 1:
        raise InputError(
            f"got {len(found)} files or folders named rgb in {home}, expected one video or one "
            "folder of images: put one there."
        )
    return found[0]


def _count(pictures: Path, maps: int) -> int:
    if pictures.is_dir():
        return sum(1 for _ in images_in(pictures))
    # A container's word may be an estimate, but to count takes as long as to decode.
    return maps if probe(pictures).frame_count == maps else count_frames(pictures)


def _maps(home: Path) -> tuple[Shape, ReadMaps]:
    if (home / "disparity").is_dir():
        files = _pngs(home / "disparity")
        return _png_shape(files), lambda wanted: (
            _png(files[index]).astype(np.float32) for index in wanted
        )
    path = home / "disparity.npz"
    if not path.is_file():
        raise InputError(
            f"got no disparity in {home}, expected disparity.npz or a folder disparity of 16-bit "
            "PNGs: put one there."
        )
    name = next((name for name in ("disparity", "depth") if name in _names(path)), None)
    if name is None:
        raise InputError(
            f"got the arrays {_names(path)} in {path}, expected 'disparity' or 'depth': rename it."
        )
    if name == "depth":
        return _shape(path, name), lambda wanted: map(inverse, _frames(path, "depth", wanted))
    return _shape(path, name), lambda wanted: (
        frame.astype(np.float32) for frame in _frames(path, "disparity", wanted)
    )


def _masks(home: Path) -> tuple[Shape, Callable[[range], Iterator[Array]]] | None:
    if (home / "valid").is_dir():
        files = _pngs(home / "valid")
        return _png_shape(files), lambda wanted: (_png(files[index]) > 0 for index in wanted)
    path = home / "valid.npz"
    if not path.is_file():
        return None
    if "valid" not in _names(path):
        raise InputError(f"got the arrays {_names(path)} in {path}, expected 'valid': rename it.")
    return _shape(path, "valid"), lambda wanted: (
        mask.astype(bool) for mask in _frames(path, "valid", wanted)
    )


def _pngs(folder: Path) -> list[Path]:
    """In the order in which the pictures of a folder are read."""
    found = (path for path in images_in(folder) if path.suffix.lower() == ".png")
    return sorted(found, key=natural_order)


def _png_shape(files: list[Path]) -> Shape:
    """How many there are, and the size of the first."""
    if not files:
        return 0, 0, 0
    with opened_image(files[0]) as image:
        return len(files), image.height, image.width


def _png(path: Path) -> npt.NDArray[np.integer]:
    with opened_image(path) as image:
        values = np.asarray(image)
    if values.ndim != 2:
        raise InputError(f"got a colour image {path}, expected grayscale: write one channel.")
    return values


def _names(path: Path) -> list[str]:
    try:
        with archive_errors(), np.load(path) as arrays:
            return list(arrays.files)
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(
            f"got {path}, which is no NPZ archive, expected one: copy it again."
        ) from error


@contextmanager
def _opened(path: Path, name: str) -> Iterator[tuple[IO[bytes], _Header]]:
    """An array of an archive, at its first value, and what its header says. Raises InputError."""
    with (
        content_errors(path, InputError, "expected a whole NPZ: copy it again"),
        archive_errors(),
        ZipFile(path) as archive,
        archive.open(f"{name}.npy") as file,
    ):
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0
        yield file, (read if version == (1, 0) else np.lib.format.read_array_header_2_0)(file)


def _shape(path: Path, name: str) -> Shape:
    with _opened(path, name) as (_, (shape, _, dtype)):
        if dtype.kind not in "biuf":
            raise InputError(f"got {name} of {dtype} in {path}, expected numbers: write it again.")
        if len(shape) != 3:
            raise InputError(
                f"got {name} of shape {shape} in {path}, expected [T, H, W]: reshape it."
            )
        frames, height, width = shape
        return frames, height, width


def _frames(path: Path, name: str, wanted: range) -> Iterator[Array]:
    """Frames [H, W] of an array of an archive, of which no more than one is in memory."""
    _require_whole(path, name, path.stat().st_mtime_ns)
    with _opened(path, name) as (file, (shape, is_fortran, dtype)):
        if is_fortran:
            yield from npz_arrays(path, name)[0][wanted.start : wanted.stop : wanted.step]
            return
        begin, size = file.tell(), dtype.itemsize * shape[1] * shape[2]
        for index in wanted:
            file.seek(begin + index * size)
            yield np.frombuffer(file.read(size), dtype).reshape(shape[1:])


@lru_cache(maxsize=1 << 14)
def _require_whole(path: Path, name: str, _modified: int) -> None:
    """Compare an array with its checksum, once. Raises InputError."""
    with _opened(path, name) as (file, _):
        while file.read(_BLOCK):
            pass
