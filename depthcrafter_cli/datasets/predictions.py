"""Results of any method, read from its own files: one file, or one folder of frames, for each clip.

To read another kind of file, enter it in :data:`_READERS`.
"""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from depthcrafter_cli.errors import InputError
from depthcrafter_cli.media.depth_files import array_of, read_exr, single
from depthcrafter_cli.media.images import opened_image
from depthcrafter_cli.media.numbered import (
    by_pattern,
    files_in,
    missing_from,
    natural_order,
    step_of,
)
from depthcrafter_cli.structured import content_errors, npz_arrays
from depthcrafter_cli.types import Disparity


def prediction_of(root: Path, clip: str) -> Path:
    """Return the file or folder below ``root`` that holds a clip's result.

    It has the clip's name, or that name, ``_`` and more, such as ``NAME_depths.npz`` of Video Depth
    Anything. Raises InputError for none, and for several.
    """
    named = [path for path in sorted(files_in(root)) if _is_of(path, clip)]
    exact = [path for path in named if clip in (path.name, path.stem)]
    found = exact or named
    if len(found) != 1:
        raise InputError(
            f"got {len(found)} predictions of the clip {clip} in {root}, expected one file "
            f"({', '.join(_READERS)}) or folder of frames with its name: name it so, or pass the "
            "clips that are there as `only`."
        )
    return found[0]


def read_prediction(path: Path) -> Disparity:
    """Return a clip's result, [T, h, w]; float32 is kept as a memory map.

    Raises InputError for files that cannot be read, and for frames that a folder lacks.
    """
    return _read_folder(path) if path.is_dir() else single(_checked(_read(path), path))


def files_of(path: Path) -> list[Path]:
    """The file, or the files of the folder, that a clip's result is read from."""
    return _frames_in(path) if path.is_dir() else [path]


def _is_of(path: Path, clip: str) -> bool:
    if not path.is_dir() and path.suffix.lower() not in _READERS:
        return False
    name = path.name if path.is_dir() else path.stem
    return name == clip or name.startswith(f"{clip}_")


def _read(path: Path) -> np.ndarray[Any, Any]:
    with content_errors(path, InputError, "expected an array of estimates: write it again"):
        return _READERS[path.suffix.lower()](path)


def _read_npz(path: Path) -> np.ndarray[Any, Any]:
    with np.load(path, allow_pickle=False) as archive:
        name = array_of([*archive])
    return npz_arrays(path, name)[0]


def _read_npy(path: Path) -> np.ndarray[Any, Any]:
    array: np.ndarray[Any, Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return array


def _read_picture(path: Path) -> np.ndarray[Any, Any]:
    """Gray levels; also of a picture in colours that are all gray, as Depth Anything writes it."""
    with opened_image(path) as image:
        if len(image.getbands()) == 1 and image.mode != "P":
            return np.asarray(image)
        colours = np.asarray(image.convert("RGB"))
    if (colours != colours[..., :1]).any():
        raise ValueError("it is in colours, from which depth cannot be read")
    return colours[..., 0]


def _read_raw(path: Path) -> np.ndarray[Any, Any]:
    """OpenCV's raw matrix, as CVD and Robust CVD write one for each frame: a head, then floats.

    The head is height, width, OpenCV's type (5 for one channel of floats) and bytes to a pixel.
    """
    content = path.read_bytes()
    head = struct.Struct("<iiiQ")
    height, width, kind, length = head.unpack(content[: head.size].ljust(head.size, b"\0"))
    values = np.frombuffer(content, "<f4", offset=min(head.size, len(content)))
    if (kind, length) != (_ONE_FLOAT, 4) or height < 1 or values.size != height * width:
        raise ValueError("it is no matrix of OpenCV with one channel of floats")
    return values.reshape(height, width)


_ONE_FLOAT = 5  # OpenCV's CV_32FC1
_READERS: dict[str, Callable[[Path], np.ndarray[Any, Any]]] = {
    ".npz": _read_npz,
    ".npy": _read_npy,
    ".exr": read_exr,
    ".raw": _read_raw,
    ".dsp": _read_raw,
    ".tif": _read_picture,
    ".tiff": _read_picture,
    ".png": _read_picture,
}
"""By suffix; of a folder with several kinds, as arrays and pictures of them, the first counts."""


def _frames_in(folder: Path) -> list[Path]:
    """Files of one kind, in the order of the numbers in their names."""
    found = [*files_in(folder)]
    files: list[Path] = []
    for suffix in _READERS:
        files = files or [path for path in found if path.suffix.lower() == suffix]
    if not files:
        raise InputError(f"got no frames in {folder}, expected {', '.join(_READERS)}: add them.")
    return sorted(files, key=natural_order)


def _require_all(files: list[Path]) -> None:
    """Raise InputError where the count of frames in names has a gap: all after it would be others.

    Names may be times, or numbers of every third frame.
    """
    counts = by_pattern(files)
    numbers = [number for number, _file in next(iter(counts.values()))]
    step = step_of(numbers) if len(counts) == 1 else None
    if step is not None and (gaps := missing_from(numbers, step)):
        raise InputError(
            f"got no frame {gaps[0].start} in {files[0].parent}, expected all from {numbers[0]} to "
            f"{numbers[-1]}: predict the clip again."
        )


def _read_folder(folder: Path) -> Disparity:
    files = _frames_in(folder)
    _require_all(files)
    frames = [_checked(_read(path), path) for path in files]
    if len(sizes := {frame.shape[1:] for frame in frames}) > 1:
        raise InputError(f"got frames of the sizes {sorted(sizes)} in {folder}, expected one.")
    if len(types := {str(frame.dtype) for frame in frames}) > 1:
        raise InputError(f"got frames of the types {sorted(types)} in {folder}, expected one.")
    return single(np.concatenate(frames))


def _checked(array: np.ndarray[Any, Any], path: Path) -> np.ndarray[Any, Any]:
    """Return [T, h, w] of what may have a last or second axis of one channel. Raises InputError."""
    if array.ndim == 4 and 1 in (array.shape[1], array.shape[3]):
        array = array[:, 0] if array.shape[1] == 1 else array[..., 0]
    if array.ndim == 2:
        array = array[None]
    if array.ndim != 3 or 0 in array.shape[1:] or array.dtype.kind not in "fiu":
        raise InputError(
            f"got an array of shape {list(array.shape)} and type {array.dtype} in {path}, expected "
            "numbers [frames, height, width]: write it so."
        )
    return array
