"""From known distances to metres: what turns the disparity of a result into depth."""

import json
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from depthcrafter_cli.depth.metric import MetricFit
from depthcrafter_cli.depth.metric_fit import TRUSTED_MAPS, TRUSTED_POINTS, fit_metric
from depthcrafter_cli.disk import derived
from depthcrafter_cli.errors import InputError, OutputError, UsageError
from depthcrafter_cli.media.colmap import Seen, read_colmap
from depthcrafter_cli.media.depth_files import DepthFile, open_depth
from depthcrafter_cli.media.image_sequence import images_in
from depthcrafter_cli.media.numbered import natural_order
from depthcrafter_cli.media.published import Published
from depthcrafter_cli.options import as_kind, require_functions
from depthcrafter_cli.progress import Warn, ignore
from depthcrafter_cli.structured import content_errors
from depthcrafter_cli.text import decoded, delimiter_of
from depthcrafter_cli.workflows.looking import FitRequest

_SAMPLES = 400_000  # of a reference
_EVERY = 8  # rows and columns of a frame for its extremes, which single pixels shall not be
_COLUMNS = ("frame", "x", "y", "depth")
_EXPECTED = "expected an NPZ that `depthcrafter run --out depth.npz` wrote: check the path"
_PNG_STEPS = 65535, 65536  # of our levels, and by which Inria's trainer divides them

Points = Mapping[int, npt.NDArray[np.float64]]
"""By frame: [n, 3], x and y from 0 to 1 across the picture, and depth in metres."""
Pairs = Mapping[int, npt.NDArray[np.float64]]
"""By frame: [n, 2], disparity and depth in metres."""


def fit(request: FitRequest, warn: Warn = ignore) -> tuple[list[MetricFit], Path]:
    """Solve 1 / depth = a * disparity + b for each shot of a result.

    Returns what was found, and where it is kept. ``warn`` is told of known depths that are left
    out.

    Raises UsageError for ``depth_params.json`` without COLMAP, InputError for files that make no
    sense and for a shot without known depths, and OutputError for a name that is taken.
    """
    require_functions(warn=warn)
    request = as_kind(FitRequest, "request", request)
    depth, out = request.depth, request.out or derived(request.depth, ".fit.json")
    if out.exists() and not request.overwrite:
        raise OutputError(f"{out} exists, expected a free name: pass `overwrite=True`.")
    names: list[str] = []
    with content_errors(depth, InputError, _EXPECTED):
        result = _Result(_npz(depth))
        if request.reference is not None:
            pairs = _reference_pairs(result, request.reference)
        elif request.points is not None:
            pairs = _pairs(result, _points_of(request.points, result.depth))
        else:
            images = request.images or Path(str(result.metadata["input"]["path"]))
            names = _image_names(images, result.depth.frames)
            pairs = _pairs(result, _points_of_colmap(read_colmap(request.known), names, warn))
    trusted = TRUSTED_POINTS if request.reference is None else TRUSTED_MAPS
    fits = _fitted(result, pairs, trusted, warn)
    record: dict[str, Any] = {
        "depth": str(depth.absolute()),
        "from": str(request.known.absolute()),
        "shots": [fit.to_json() for fit in fits],
    }
    if out.name == "depth_params.json":
        if not names:
            raise UsageError("got depth_params.json to write, expected `colmap` for it: name it.")
        record = _splatting(result, fits, names)
    text = json.dumps(record, indent=2) + "\n"
    Published(overwrite=request.overwrite).write_whole(out, text.encode())
    return fits, out


def _npz(path: Path) -> DepthFile:
    if path.suffix.lower() != ".npz":
        raise InputError(f"got {path}, {_EXPECTED}.")
    return open_depth(path)


class _Result:
    """An NPZ of ours with its shots.

    ``spans`` are the lowest and the highest disparity of each shot in the frames read so far.

    Raises InputError for one in metres, KeyError for one that does not say how it was made.
    """

    def __init__(self, depth: DepthFile) -> None:
        if depth.metadata is None:
            raise KeyError("metadata_json")
        if "metric" in depth.metadata:
            raise InputError(
                f"{depth.path} is in metres already, expected disparity: fit the first result."
            )
        self.depth, self.metadata = depth, depth.metadata
        self.starts = depth.shots or (0,)
        self.spans = [(np.inf, -np.inf)] * len(self.starts)

    def shot_of(self, frame: int) -> int:
        """The index of the shot that a frame belongs to."""
        return bisect_right(self.starts, frame) - 1

    def frames(self) -> Iterator[npt.NDArray[Any]]:
        """The frames, one at a time."""
        for index, disparity in enumerate(self.depth.read()):
            some, shot = disparity[::_EVERY, ::_EVERY], self.shot_of(index)
            low, high = self.spans[shot]
            self.spans[shot] = min(low, float(some.min())), max(high, float(some.max()))
            yield disparity


def _fitted(result: _Result, pairs: Pairs, trusted: float, warn: Warn) -> list[MetricFit]:
    """A fit for each shot, by what is known of its frames."""
    usable = {frame: known[_is_usable(known)] for frame, known in pairs.items()}
    count = sum(map(len, pairs.values()))
    if left_out := count - sum(map(len, usable.values())):
        warn(
            f"left out {left_out:,} of {count:,} known depths, which are not finite or not above 0 "
            "m, or where there is no disparity"
        )
    shots: list[list[npt.NDArray[np.float64]]] = [[np.empty((0, 2))] for _ in result.starts]
    for frame, known in usable.items():
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


def _is_usable(known: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Whether pairs [n, 2] of disparity and depth tell anything: [n]."""
    usable: npt.NDArray[np.bool_] = np.isfinite(known).all(axis=1) & (known[:, 1] > 0)
    return usable


def _splatting(result: _Result, fits: Sequence[MetricFit], names: Sequence[str]) -> dict[str, Any]:
    """1 / depth = level / 65536 * scale + offset, where the levels 0 to 65535 are the range."""
    most, divisor = _PNG_STEPS
    params = {}
    for frame, name in enumerate(names):
        shot = result.shot_of(frame)
        fit, values = fits[shot], result.depth.ranges[shot]
        scale = fit.a * (values.high - values.low) * divisor / most
        params[Path(name).stem] = {"scale": scale, "offset": fit.a * values.low + fit.b}
    return params


def _pairs(result: _Result, known: Points) -> Pairs:
    """The disparity and the depth at each known place."""
    height, width = result.depth.size.height, result.depth.size.width
    pairs = {}
    for index, disparity in enumerate(result.frames()):
        if index in known:
            x, y, depth = known[index].T
            columns = np.clip((x * width).astype(int), 0, width - 1)
            rows = np.clip((y * height).astype(int), 0, height - 1)
            pairs[index] = np.column_stack([disparity[rows, columns], depth])
    return pairs


def _reference_pairs(result: _Result, reference: Path) -> Pairs:
    """As many pixels of each frame, drawn by lot, the same ones each time."""
    truth, ours = _npz(reference), result.depth
    if truth.frames != ours.frames:
        raise InputError(
            f"{reference} has {truth.frames} frames, and {ours.path} {ours.frames}, expected as "
            "many: check the path."
        )
    rng, each = np.random.default_rng(0), max(100, _SAMPLES // ours.frames)
    pairs = {}
    for index, (disparity, depth) in enumerate(zip(result.frames(), truth.read(), strict=True)):
        x, y = rng.random((2, each))
        both = (
            frame[(y * size.height).astype(int), (x * size.width).astype(int)]
            for frame, size in ((disparity, ours.size), (depth, truth.size))
        )
        pairs[index] = np.column_stack([*both])
    return pairs


def _points_of(path: Path, result: DepthFile) -> Points:
    """A CSV's points; its columns are those of the header, or frame, x, y, depth."""
    found: defaultdict[int, list[tuple[float, float, float]]] = defaultdict(list)
    senseless: list[int] = []
    frames, height, width = result.frames, result.size.height, result.size.width
    expected = "expected a CSV of frame,x,y,depth, in pixels and metres such as 2.5: correct it"
    with content_errors(path, InputError, expected):
        lines = [line for line in decoded(path.read_bytes()).splitlines() if line.strip()]
        if not lines:
            raise ValueError("it is empty")
        delimiter = delimiter_of(lines[0])
        head = [cell.strip().lower() for cell in lines[0].split(delimiter)]
        has_head = set(_COLUMNS) <= set(head)
        order = [head.index(name) if has_head else at for at, name in enumerate(_COLUMNS)]
        for number, line in enumerate(lines[has_head:], start=1 + has_head):
            cells = line.split(delimiter)
            try:
                frame, x, y, depth = (float(cells[at]) for at in order)
            except (ValueError, IndexError):
                raise ValueError(f"line {number} is {line!r}") from None
            if not (0 <= frame < frames and 0 <= x < width and 0 <= y < height):
                raise ValueError(
                    f"line {number} is at frame {frame:g}, pixel {x:g},{y:g} of {frames} frames of "
                    f"{width}x{height}"
                )
            found[int(frame)].append(((x + 0.5) / width, (y + 0.5) / height, depth))
            if not 0 < depth < np.inf:
                senseless.append(number)
        if senseless and 2 * len(senseless) >= len(lines) - has_head:
            raise ValueError(
                f"line {senseless[0]} is {lines[senseless[0] - 1]!r}, and {len(senseless)} of "
                f"{len(lines) - has_head} depths are not above 0 and finite"
            )
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


def _points_of_colmap(seen: Sequence[Seen], names: Sequence[str], warn: Warn) -> Points:
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
    if others := len(seen) - len(known):
        warn(f"left out {others} of COLMAP's {len(seen)} images, which are none of the frames")
    return known
