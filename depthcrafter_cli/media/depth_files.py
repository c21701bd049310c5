"""Depth that was written before, by this program or another, one frame at a time.

To add a format: a function here that opens it, and its line in :data:`_OPENERS`.
"""

import json
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from depthcrafter_cli.depth.colorize import depth_of_colours
from depthcrafter_cli.errors import InputError
from depthcrafter_cli.media.files import missing_package
from depthcrafter_cli.media.images import opened_image
from depthcrafter_cli.media.numbered import NUMBER, files_in, natural_order, numbered_files
from depthcrafter_cli.media.reader import count_frames, probe, read_frames
from depthcrafter_cli.structured import archive_errors, content_errors, npz_arrays
from depthcrafter_cli.types import Disparity, Size, ValueRange

_ARRAYS = ("depth", "depths", "disparity", "disparities", "arr_0")
"""What programs call the array in an NPZ, ours first."""
_EXPECTED = "expected depth [frames, height, width]: write it again"


@dataclass(frozen=True)
class ColourTable:
    """How a video shows depth: by which colormap, and whether its source stands left of it."""

    colormap: str = "inferno"
    side_by_side: bool = False


@dataclass(frozen=True)
class DepthFile:
    """Depth in a file, or in files of one frame each.

    ``read`` gives the frames, float32 [H, W]; each call begins anew. ``is_raw`` says that they are
    raw disparity; they lie in 0 to 1 otherwise, and ``kind`` says in words what they are.
    ``times`` are in seconds; ``shots`` the first frames of each, and ``ranges`` the disparities
    that became 0 and 1 there; ``metadata`` says how it was made. They are empty where the file
    does not tell.
    """

    path: Path
    frames: int
    size: Size
    read: Callable[[], Iterator[Disparity]]
    is_raw: bool
    kind: str
    times: tuple[float, ...] = ()
    shots: tuple[int, ...] = ()
    ranges: tuple[ValueRange, ...] = ()
    metadata: Mapping[str, Any] | None = None


def open_depth(path: Path, table: ColourTable | None = None) -> DepthFile:
    """Open depth in any format that :data:`_OPENERS` has, or as a folder or pattern of images.

    ``table`` says how a video in colours shows it: without that none is read. Raises InputError for
    what is no depth.
    """
    if path.is_dir() or (NUMBER.search(path.name) and not path.is_file()):
        return _images(path)
    if not path.is_file():
        raise InputError(f"got no file {path}, expected a result of a run: check the path.")
    opener = _OPENERS.get(path.suffix.lower())
    if opener is None:
        raise InputError(
            f"got {path} with the suffix {path.suffix!r}, expected depth as one of "
            f"{', '.join(_OPENERS)} or a folder of images: name another file."
        )
    with content_errors(path, InputError, _EXPECTED):
        return opener(path, table)


def joined(parts: Sequence[DepthFile]) -> DepthFile:
    """Files of one shot each as one film. Raises InputError if their sizes differ."""
    if len(parts) == 1:
        return parts[0]
    for part in parts:
        if part.size != parts[0].size:
            raise InputError(
                f"got {part.path} of {part.size} beside {parts[0].path} of {parts[0].size}, "
                "expected one size: name one of them."
            )
    starts = np.cumsum([0, *(part.frames for part in parts)]).tolist()
    return replace(
        parts[0],
        frames=starts[-1],
        read=lambda: chain.from_iterable(part.read() for part in parts),
        shots=tuple(starts[:-1]),
        times=tuple(chain.from_iterable(part.times for part in parts)),
        ranges=tuple(chain.from_iterable(part.ranges for part in parts)),
    )


def _npz(path: Path, _table: ColourTable | None) -> DepthFile:
    with archive_errors(), zipfile.ZipFile(path) as file:
        held = [name.removesuffix(".npy") for name in file.namelist()]
        name = array_of(held)
        with file.open(f"{name}.npy") as member:
            shape, _kind, is_fortran = _header(member)

        def values(array: str) -> npt.NDArray[Any]:
            with file.open(f"{array}.npy") as member:
                found: npt.NDArray[Any] = np.lib.format.read_array(member)
            return found

        times = values("times").tolist() if "times" in held else ()
        ranges = [values("range")] if "range" in held else []
        ranges = list(values("ranges")) if "ranges" in held else ranges
        shots = values("shots").tolist() if "shots" in held else ()
        metadata = json.loads(str(values("metadata_json"))) if "metadata_json" in held else None

    def read() -> Iterator[Disparity]:
        with content_errors(path, InputError, _EXPECTED), archive_errors():
            if is_fortran:  # no frame is in one piece
                yield from map(single, npz_arrays(path, name)[0])
                return
            with zipfile.ZipFile(path) as file, file.open(f"{name}.npy") as member:
                (frames, height, width), kind, _is_fortran = _header(member)
                for _ in range(frames):
                    data = member.read(kind.itemsize * height * width)
                    yield single(np.frombuffer(data, kind).reshape(height, width))

    return DepthFile(
        path, shape[0], Size(*shape[1:]), read, is_raw=True, kind="raw disparity",
        times=tuple(times), shots=tuple(shots), metadata=metadata,
        ranges=tuple(ValueRange(float(low), float(high)) for low, high in ranges),
    )  # fmt: skip


def single(values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """The values as float32, infinite where they are too large for that."""
    with np.errstate(over="ignore"):
        return np.asarray(values, np.float32)


def array_of(held: Sequence[str]) -> str:
    """Which of the arrays that an NPZ holds is depth. Raises ValueError if none is."""
    named = [name for name in _ARRAYS if name in held] or [*held][: len(held) == 1]
    if not named:
        raise ValueError(f"it has the arrays {held}, and none is called {' or '.join(_ARRAYS)}")
    return named[0]


def _header(member: IO[bytes]) -> tuple[tuple[int, int, int], np.dtype[Any], bool]:
    """The shape and type of an array of frames, and whether it is in Fortran's order.

    Raises ValueError for another array.
    """
    version = np.lib.format.read_magic(member)
    read = np.lib.format.read_array_header_1_0
    if version != (1, 0):
        read = np.lib.format.read_array_header_2_0
    shape, is_fortran, kind = read(member)
    if len(shape) != 3 or 0 in shape or kind.kind not in "fiu":
        raise ValueError(f"it holds {kind} of the shape {list(shape)}")
    frames, height, width = shape
    return (frames, height, width), kind, is_fortran


def _npy(path: Path, _table: ColourTable | None) -> DepthFile:
    with path.open("rb") as file:
        shape, _kind, _is_fortran = _header(file)

    def read() -> Iterator[Disparity]:
        with content_errors(path, InputError, _EXPECTED):
            yield from map(single, np.load(path, mmap_mode="r"))

    size = Size(*shape[1:])
    return DepthFile(path, shape[0], size, read, is_raw=True, kind="raw disparity")


def _zarr(path: Path, _table: ColourTable | None) -> DepthFile:
    if lacking := missing_package(path, "zarr", "zarr", "name another output of the run"):
        raise InputError(lacking)
    import zarr

    def depth() -> Any:
        return zarr.open_group(zarr.storage.ZipStore(path, mode="r"), mode="r")["depth"]

    found = depth()
    frames, height, width = found.shape
    low, high = found.attrs.get("range", (0.0, 1.0))
    return DepthFile(
        path, frames, Size(height, width),
        lambda: (np.asarray(frame, np.float32) for frame in depth()),
        is_raw=True, kind="raw disparity", ranges=(ValueRange(float(low), float(high)),),
        metadata=found.attrs.get("metadata"),
    )  # fmt: skip


def _video(path: Path, table: ColourTable | None) -> DepthFile:
    size, frames = probe(path).size, count_frames(path)
    if _is_matte(path):
        return DepthFile(
            path, frames, size, lambda: _matte_frames(path), is_raw=False, kind="levels of gray"
        )
    if table is None:
        raise InputError(
            f"got {path}, a video in colours of which no record tells that it is depth, expected "
            "depth: name the record, or a result in .npz or gray."
        )
    left = size.width // 2 if table.side_by_side else 0
    back = depth_of_colours(table.colormap)
    return DepthFile(
        path, frames, Size(size.height, size.width - left),
        lambda: (back(frame.rgb[:, left:]) for frame in read_frames(path, size)),
        is_raw=False, kind="read back from colours, so rough",
    )  # fmt: skip


def _is_matte(path: Path) -> bool:
    """Whether a video holds one channel of more than 8 bits."""
    import av

    with av.open(str(path)) as container:
        pixels = container.streams.video[0].codec_context.pix_fmt or ""
    return pixels.startswith("gray") and pixels != "gray"


def _matte_frames(path: Path) -> Iterator[Disparity]:
    import av

    with content_errors(path, InputError, _EXPECTED), av.open(str(path)) as container:
        for frame in container.decode(video=0):
            most = np.float32((1 << frame.format.components[0].bits) - 1)
            plane = frame.planes[0]
            rows = np.frombuffer(plane, "<u2").reshape(plane.height, plane.line_size // 2)
            yield rows[:, : plane.width] / most


def _images(path: Path) -> DepthFile:
    """A folder or pattern of one image or array a frame, in the order of their numbers."""
    found = files_in(path) if path.is_dir() else numbered_files(path)
    files = sorted((file for file in found if file.suffix.lower() in _FRAMES), key=natural_order)
    if not files:
        raise InputError(
            f"got no frames in {path}, expected files in {', '.join(_FRAMES)}: check the path."
        )

    def frames(files: Sequence[Path]) -> Iterator[tuple[Disparity, "_Meaning"]]:
        size = None
        for file in files:
            with content_errors(file, InputError, _EXPECTED):
                shown, meaning = _FRAMES[file.suffix.lower()](file)
                size = size or shown.shape
                if shown.shape != size:
                    raise ValueError(f"it is of {Size(*shown.shape)}, the first of {Size(*size)}")
                yield single(shown), meaning

    first, meaning = next(frames(files))
    told = [meaning] if meaning.shot is None else [each for _frame, each in frames(files)]
    changes = (at for at, (a, b) in enumerate(pairwise(told), 1) if a.shot != b.shot)
    shots = (0, *changes)
    ranges = tuple(r for at in shots if (r := told[at].values) is not None)
    return DepthFile(
        path, len(files), Size(*first.shape), lambda: (frame for frame, _told in frames(files)),
        is_raw=meaning.is_raw, kind="raw disparity" if meaning.is_raw else "levels of gray",
        shots=shots if len(shots) > 1 else (), ranges=ranges if len(ranges) == len(shots) else (),
    )  # fmt: skip


@dataclass(frozen=True)
class _Meaning:
    """What the numbers of one image are."""

    is_raw: bool
    values: ValueRange | None = None
    shot: str | None = None


def _picture(path: Path) -> tuple[npt.NDArray[Any], _Meaning]:
    """Gray levels; raw disparity where the text of a PNG or a TIFF says which they stand for."""
    with opened_image(path) as image:
        levels, text = np.asarray(image), dict(getattr(image, "text", {}))
        described = getattr(image, "tag_v2", {}).get(270, "")
    if levels.ndim != 2:
        raise ValueError(f"it has {levels.ndim - 1} dimensions too many, as a picture in colours")
    if described.startswith("{"):
        text = json.loads(described)
    if levels.dtype.kind == "f":
        return levels, _Meaning(is_raw=True)
    share = levels.astype(np.float32) / np.float32(255 if levels.dtype == np.uint8 else 65535)
    shot = None if "shot" not in text else str(text["shot"])
    if "disparity_low" not in text:
        return share, _Meaning(is_raw=False, shot=shot)
    values = ValueRange(float(text["disparity_low"]), float(text["disparity_high"]))
    raw = np.float32(values.low) + share * np.float32(values.high - values.low)
    return raw, _Meaning(is_raw=True, values=values, shot=shot)


def _exr(path: Path) -> tuple[npt.NDArray[Any], _Meaning]:
    """The one channel of floats that an image of ours has."""
    if lacking := missing_package(path, "OpenEXR", "exr", "name another output of the run"):
        raise InputError(lacking)
    import OpenEXR

    with OpenEXR.File(os.fsencode(path)) as image:  # as text, only UTF-8
        head, channels = image.header(), image.channels()
        depth = np.asarray(next(iter(channels.values())).pixels, np.float32)
    is_raw = "normalised" not in str(head.get("comments", ""))
    shot = None if "shot" not in head else str(head["shot"])
    values = None
    if "disparity_low" in head:
        values = ValueRange(float(head["disparity_low"]), float(head["disparity_high"]))
    return depth, _Meaning(is_raw=is_raw, values=values, shot=shot)


def read_exr(path: Path) -> npt.NDArray[Any]:
    """The first channel of an OpenEXR image, float32 [H, W]. Raises InputError without OpenEXR."""
    return _exr(path)[0]


def _array(path: Path) -> tuple[npt.NDArray[Any], _Meaning]:
    array = np.load(path, allow_pickle=False)
    if array.ndim == 3 and 1 in (array.shape[0], array.shape[-1]):
        array = array[0] if array.shape[0] == 1 else array[..., 0]
    if array.ndim != 2 or array.dtype.kind not in "fiu":
        raise ValueError(f"it holds {array.dtype} of the shape {list(array.shape)}")
    return array, _Meaning(is_raw=True)


_FRAMES: dict[str, Callable[[Path], tuple[npt.NDArray[Any], _Meaning]]] = {
    ".png": _picture, ".tif": _picture, ".tiff": _picture, ".exr": _exr, ".npy": _array,
}  # fmt: skip
_OPENERS: dict[str, Callable[[Path, ColourTable | None], DepthFile]] = {
    ".npz": _npz, ".npy": _npy, ".zip": _zarr,
    ".mkv": _video, ".mp4": _video, ".mov": _video,
}  # fmt: skip
EXACT_FIRST = (".npz", ".npy", ".zip", ".exr", ".tif", ".tiff", ".png", "", ".mkv", ".mov", ".mp4")
"""Formats that hold depth, by suffix, from the most exact to the roughest."""
