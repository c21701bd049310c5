"""From known distances to metres: what turns the disparity of a result into depth."""

import json
import zipfile
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from depthcrafter_cli.depth.metric import MetricFit
from depthcrafter_cli.depth.metric_fit import TRUSTED_MAPS, TRUSTED_POINTS, fit_metric
from depthcrafter_cli.disk import derived
from depthcrafter_cli.errors import InputError, OutputError, UsageError
from depthcrafter_cli.media.colmap import Seen, read_colmap
from depthcrafter_cli.media.image_sequence import images_in
from depthcrafter_cli.media.numbered import natural_order
from depthcrafter_cli.media.published import Published
from depthcrafter_cli.structured import archive_errors, content_errors
from depthcrafter_cli.text import decoded, delimiter_of

_SAMPLES = 400_000  # of a reference
_EVERY = 8  # rows and columns of a frame for its extremes, which single pixels shall not be
_COLUMNS = ("frame", "x", "y", "depth")
_PNG_STEPS = 65535, 65536  # of our levels, and by which Inria's trainer divides them

Points = Mapping[int, npt.NDArray[np.float64]]
"""By frame: [n, 3], x and y from 0 to 1 across the picture, and depth in metres."""
Pairs = Mapping[int, npt.NDArray[np.float64]]
"""By frame: [n, 2], disparity and depth in metres."""


def fit(
    depth: Path,
    *,
    points: Path | None = None,
    reference: Path | None = None,
    colmap: Path | None = None,
    images: Path | None = None,
    out: Path | None = None,
    overwrite: bool = False,
) -> tuple[list[MetricFit], Path]:
    """Solve 1 / depth = a * disparity + b for each shot of the NPZ ``depth``.

    Returns what was found, and where it is kept.

    Known depths are one of: ``points``, a CSV of frame, x, y (pixels of the result) and depth
    (metres); ``reference``, an NPZ with true ``depth`` [T, H, W]; ``colmap``, a folder with a
    sparse model, whose images are those of ``images`` (by default what ``depth`` was made of). An
    ``out`` called ``depth_params.json`` is written as Gaussian splatting reads it.

    Raises UsageError for none or several of them, InputError for files that make no sense and for a
    shot without known depths, and OutputError for a name that is taken.
    """
    given = [each for each in (points, reference, colmap) if each is not None]
    if len(given) != 1:
        raise UsageError(
            f"got {len(given)} of `points`, `reference` and `colmap`, expected one: name one."
        )
    out = out or derived(depth, ".fit.json")
    if out.exists() and not overwrite:
        raise OutputError(f"{out} exists, expected a free name: pass `overwrite=True`.")
    names: list[str] = []
    with _archive(depth) as file:
        result = _Result.of(file, depth)
        if reference is not None:
            pairs = _reference_pairs(file, result, reference)
        elif points is not None:
            pairs = _pairs(file, result, _points_of(points, result.shape))
        else:
            assert colmap is not None
            images = images or Path(str(result.metadata["input"]["path"]))
            names = _image_names(images, result.shape[0])
            pairs = _pairs(file, result, _points_of_colmap(read_colmap(colmap), names))
    fits = _fitted(result, pairs, TRUSTED_POINTS if reference is None else TRUSTED_MAPS)
    record: dict[str, Any] = {
        "depth": str(depth.absolute()),
        "from": str(given[0].absolute()),
        "shots": [fit.to_json() for fit in fits],
    }
    if out.name == "depth_params.json":
        if not names:
            raise UsageError("got depth_params.json to write, expected `colmap` for it: name it.")
        record = _splatting(result, fits, names)
    Published(overwrite=overwrite).write_whole(out, (json.dumps(record, indent=2) + "\n").encode())
    return fits, out


@dataclass(frozen=True)
class _Result:
    """What is known of an NPZ: the array's shape, what made it, its shots and their ranges.

    ``spans`` are the lowest and the highest disparity of each shot in the frames read so far.
    """

    shape: tuple[int, int, int]
    metadata: dict[str, Any]
    starts: list[int]
    ranges: list[list[float]]
    spans: list[tuple[float, float]]

    @staticmethod
    def of(file: zipfile.ZipFile, path: Path) -> "_Result":
        with file.open("depth.npy") as member:
            shape = _shape(member)
        metadata = json.loads(str(_array(file, "metadata_json")))
        if "metric" in metadata:
            raise InputError(
                f"{path} is in metres already, expected disparity: fit the first result."
            )
        starts, ranges = [0], [_array(file, "range").tolist()]
        if "shots.npy" in file.namelist():
            starts, ranges = _array(file, "shots").tolist(), _array(file, "ranges").tolist()
        return _Result(shape, metadata, starts, ranges, [(np.inf, -np.inf)] * len(starts))

    def shot_of(self, frame: int) -> int:
        """The index of the shot that a frame belongs to."""
        return bisect_right(self.starts, frame) - 1

    def frames(self, file: zipfile.ZipFile) -> Iterator[npt.NDArray[Any]]:
        """The frames of the NPZ, one at a time."""
        for index, disparity in enumerate(_frames(file)):
            some, shot = disparity[::_EVERY, ::_EVERY], self.shot_of(index)
            low, high = self.spans[shot]
            self.spans[shot] = min(low, float(some.min())), max(high, float(some.max()))
            yield disparity


def _fitted(result: _Result, pairs: Pairs, trusted: float) -> list[MetricFit]:
    """A fit for each shot, by what is known of its frames."""
    shots: list[list[npt.NDArray[np.float64]]] = [[np.empty((0, 2))] for _ in result.starts]
    for frame, known in pairs.items():
        shots[result.shot_of(frame)].append(known)
    fits = []
    for index, (start, parts) in enumerate(zip(result.starts, shots, strict=True)):
        disparity, depth = np.concatenate(parts).T
        try:
            fit = fit_metric(disparity, depth, result.spans[index], trusted)
        except InputError as error:
            where = f"of the shot {index} from frame {start} on: " if len(shots) > 1 else ""
            raise InputError(where + str(error)) from None
        fits.append(replace(fit, first_frame=start))
    return fits


def _splatting(result: _Result, fits: Sequence[MetricFit], names: Sequence[str]) -> dict[str, Any]:
    """1 / depth = level / 65536 * scale + offset, where the levels 0 to 65535 are the range."""
    most, divisor = _PNG_STEPS
    params = {}
    for frame, name in enumerate(names):
        fit, (low, high) = fits[result.shot_of(frame)], result.ranges[result.shot_of(frame)]
        scale = fit.a * (high - low) * divisor / most
        params[Path(name).stem] = {"scale": scale, "offset": fit.a * low + fit.b}
    return params


@contextmanager
def _archive(path: Path) -> Iterator[zipfile.ZipFile]:
    expected = "expected an NPZ that `depthcrafter run --out depth.npz` wrote: check the path"
    with (
        content_errors(path, InputError, expected),
        archive_errors(),
        zipfile.ZipFile(path) as file,
    ):
        yield file


def _array(file: zipfile.ZipFile, name: str) -> npt.NDArray[Any]:
    with file.open(f"{name}.npy") as member:
        array: npt.NDArray[Any] = np.lib.format.read_array(member)
    return array


def _shape(member: IO[bytes]) -> tuple[int, int, int]:
    np.lib.format.read_magic(member)
    shape, _fortran, kind = np.lib.format.read_array_header_1_0(member)
    if len(shape) != 3 or kind.kind != "f":
        raise ValueError(f"its depth is {kind} of {len(shape)} dimensions")
    frames, height, width = shape
    return frames, height, width


def _frames(file: zipfile.ZipFile) -> Iterator[npt.NDArray[Any]]:
    """The frames of ``depth``, one at a time."""
    with file.open("depth.npy") as member:
        np.lib.format.read_magic(member)
        (frames, *size), _fortran, kind = np.lib.format.read_array_header_1_0(member)
        length = kind.itemsize * size[0] * size[1]
        for _ in range(frames):
            yield np.frombuffer(member.read(length), kind).reshape(size)


def _pairs(file: zipfile.ZipFile, result: _Result, known: Points) -> Pairs:
    """The disparity and the depth at each known place."""
    _count, height, width = result.shape
    pairs = {}
    for index, disparity in enumerate(result.frames(file)):
        if index in known:
            x, y, depth = known[index].T
            columns = np.clip((x * width).astype(int), 0, width - 1)
            rows = np.clip((y * height).astype(int), 0, height - 1)
            pairs[index] = np.column_stack([disparity[rows, columns], depth])
    return pairs


def _reference_pairs(file: zipfile.ZipFile, result: _Result, reference: Path) -> Pairs:
    """As many pixels of each frame, drawn by lot, the same ones each time."""
    shape = result.shape
    rng, each = np.random.default_rng(0), max(100, _SAMPLES // shape[0])
    pairs = {}
    with _archive(reference) as truth:
        with truth.open("depth.npy") as member:
            frames, height, width = _shape(member)
        if frames != shape[0]:
            raise ValueError(f"it has {frames} frames, and the result {shape[0]}")
        both = zip(result.frames(file), _frames(truth), strict=True)
        for index, (disparity, depth) in enumerate(both):
            x, y = rng.random((2, each))
            true = depth[(y * height).astype(int), (x * width).astype(int)]
            ours = disparity[(y * shape[1]).astype(int), (x * shape[2]).astype(int)]
            pairs[index] = np.column_stack([ours, true])
    return pairs


def _points_of(path: Path, shape: tuple[int, int, int]) -> Points:
    """A CSV's points; its columns are those of the header, or frame, x, y, depth."""
    found: defaultdict[int, list[tuple[float, float, float]]] = defaultdict(list)
    frames, height, width = shape
    expected = "expected a CSV of frame,x,y,depth, in pixels and metres: correct it"
    with content_errors(path, InputError, expected):
        lines = [line for line in decoded(path.read_bytes()).splitlines() if line.strip()]
        delimiter = delimiter_of(lines[0])
        head = [cell.strip().lower() for cell in lines[0].split(delimiter)]
        has_head = set(_COLUMNS) <= set(head)
        order = [head.index(name) if has_head else at for at, name in enumerate(_COLUMNS)]
        for number, line in enumerate(lines[has_head:], start=1 + has_head):
            cells = line.split(delimiter)
            frame, x, y, depth = (float(cells[at]) for at in order)
            if not (0 <= frame < frames and 0 <= x < width and 0 <= y < height):
                raise ValueError(
                    f"line {number} is at frame {frame:g}, pixel {x:g},{y:g} of {frames} frames of "
                    f"{width}x{height}"
                )
            found[int(frame)].append(((x + 0.5) / width, (y + 0.5) / height, depth))
    return {frame: np.array(rows) for frame, rows in found.items()}


def _image_names(folder: Path, frames: int) -> list[str]:
    """The names of the images that the frames were made of, in their order."""
    files = sorted(images_in(folder), key=natural_order) if folder.is_dir() else []
    if len(files) != frames:
        raise InputError(
            f"{folder} holds {len(files)} images, expected the {frames} of which the depth was "
            "made, and which COLMAP saw: name their folder with `images`."
        )
    return [file.name for file in files]


def _points_of_colmap(seen: Sequence[Seen], names: Sequence[str]) -> Points:
    """The points that the images see, by the frames they are."""
    frames = {name: index for index, name in enumerate(names)}
    known = {
        frames[Path(name).name]: points / (*size, 1)
        for name, points, size in seen
        if Path(name).name in frames
    }
    if not known:
        raise InputError(
            f"none of COLMAP's images ({seen[0][0] if seen else 'it has none'}, ...) is one of "
            f"{names[0]} to {names[-1]}, expected the same: name their folder with `images`."
        )
    return known
