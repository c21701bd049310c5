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

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import numpy.typing as npt

from depthcrafter_cli.datasets.clip import Shape
from depthcrafter_cli.datasets.recorded import Map, RecordedClip, inverse
from depthcrafter_cli.errors import InputError
from depthcrafter_cli.media.image_sequence import images_in
from depthcrafter_cli.media.images import opened_image
from depthcrafter_cli.media.numbered import natural_order
from depthcrafter_cli.media.reader import count_frames, probe
from depthcrafter_cli.structured import archive_errors, content_errors, npz_arrays

Array = npt.NDArray[np.generic]


def folder_clips(root: Path) -> list[RecordedClip]:
    """The clips of a folder by name.

    Raises:
        InputError: the folder or a part of a clip is missing, or its parts differ in length, or its
            maps and masks in size.
    """
    if not root.is_dir():
        raise InputError(f"got no folder {root}, expected one with a folder per clip: check it.")
    return [_clip(home) for home in sorted(root.iterdir()) if home.is_dir()]


def _clip(home: Path) -> RecordedClip:
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
    return replace(
        clip, disparity=lambda index: np.where(valid(index), read(index), np.float32(-1))
    )


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
        return len(images_in(pictures))
    # A container's word may be an estimate, but to count takes as long as to decode.
    return maps if probe(pictures).frame_count == maps else count_frames(pictures)


def _maps(home: Path) -> tuple[Shape, Callable[[int], Map]]:
    if (home / "disparity").is_dir():
        files = _pngs(home / "disparity")
        return _png_shape(files), lambda index: _png(files[index]).astype(np.float32)
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
        return _shape(path, name), lambda index: inverse(_array(path, "depth")[index])
    return _shape(path, name), lambda index: _array(path, "disparity")[index].astype(np.float32)


def _masks(home: Path) -> tuple[Shape, Callable[[int], npt.NDArray[np.bool_]]] | None:
    if (home / "valid").is_dir():
        files = _pngs(home / "valid")
        return _png_shape(files), lambda index: _png(files[index]) > 0
    path = home / "valid.npz"
    if not path.is_file():
        return None
    if "valid" not in _names(path):
        raise InputError(f"got the arrays {_names(path)} in {path}, expected 'valid': rename it.")
    return _shape(path, "valid"), lambda index: _array(path, "valid")[index].astype(bool)


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


def _shape(path: Path, name: str) -> Shape:
    """That of an array, from the headers of its archive alone."""
    with (
        content_errors(path, InputError, "expected a whole NPZ: copy it again"),
        archive_errors(),
        ZipFile(path) as archive,
        archive.open(f"{name}.npy") as file,
    ):
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0
        shape = (read if version == (1, 0) else np.lib.format.read_array_header_2_0)(file)[0]
    if len(shape) != 3:
        raise InputError(f"got {name} of shape {shape} in {path}, expected [T, H, W]: reshape it.")
    return shape


def _array(path: Path, name: str) -> Array:
    return _array_as_of(path, name, path.stat().st_mtime_ns)


@lru_cache(maxsize=2)  # consecutive frames come from one archive
def _array_as_of(path: Path, name: str, _modified: int) -> Array:
    try:
        return npz_arrays(path, name)[0]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"got {path}, of which '{name}' cannot be read ({error}), expected a whole array: copy "
            "it again."
        ) from error
