"""What COLMAP knows of depth: points of its sparse model, as each image sees them."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from depthcrafter_cli.errors import InputError
from depthcrafter_cli.structured import content_errors

Seen = tuple[str, npt.NDArray[np.float64], tuple[int, int]]
"""An image's name, its points [n, 3] as x and y in pixels and depth, its width and height.

The depth of what is behind the camera is below 0.
"""

_PARAMETERS = (3, 4, 4, 5, 4, 5, 8, 12, 5, 4, 5)  # of each camera model, by its number
_WHAT = "expected a sparse model of COLMAP: give the folder that holds sparse/0"


def read_colmap(folder: Path) -> list[Seen]:
    """Every image of the model in ``folder``, its ``sparse/0`` or ``sparse``; binary or text.

    Raises InputError.
    """
    places = (folder / "sparse" / "0", folder / "sparse", folder)
    for place in places:
        for suffix, read in ((".bin", _binary), (".txt", _text)):
            if (place / f"images{suffix}").is_file():
                with content_errors(place, InputError, _WHAT):
                    return list(_seen(*read(place)))
    raise InputError(f"There is no images.bin or images.txt in {places[0]}, {_WHAT}.")


def _seen(
    sizes: dict[int, tuple[int, int]], images: list[Any], points: dict[int, Any]
) -> Iterator[Seen]:
    for name, camera, quaternion, shift, marks in images:
        known = [(x, y, points[number]) for x, y, number in marks if number in points]
        if not known:
            continue
        third_row = _rotation(quaternion)[2]
        depth = np.array([where for _x, _y, where in known]) @ third_row + shift[2]
        places = np.array([(x, y) for x, y, _where in known])
        yield name, np.column_stack([places, depth]), sizes[camera]


def _rotation(quaternion: Any) -> npt.NDArray[np.float64]:
    w, x, y, z = np.asarray(quaternion, dtype=np.float64) / np.linalg.norm(quaternion)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def _text(place: Path) -> tuple[dict[int, tuple[int, int]], list[Any], dict[int, Any]]:
    def lines(name: str) -> list[str]:
        read = (place / name).read_text(encoding="utf-8").splitlines()
        return [line for line in read if not line.startswith("#")]

    cameras = [line.split() for line in lines("cameras.txt") if line.strip()]
    sizes = {int(words[0]): (int(words[2]), int(words[3])) for words in cameras}
    points = {
        int(words[0]): tuple(map(float, words[1:4]))
        for words in map(str.split, lines("points3D.txt"))
        if words
    }
    images, listed = [], lines("images.txt")
    while listed and not listed[-1].strip() and len(listed) % 2:
        listed.pop()
    for head, marks in zip(listed[::2], listed[1::2], strict=True):
        words, seen = head.split(maxsplit=9), marks.split()
        triples = zip(seen[::3], seen[1::3], seen[2::3], strict=True)
        images.append(
            (
                words[9], int(words[8]), tuple(map(float, words[1:5])),
                tuple(map(float, words[5:8])),
                [(float(x), float(y), int(number)) for x, y, number in triples],
            )
        )  # fmt: skip
    return sizes, images, points


class _Reader:
    """Values of a binary file, one after the other."""

    def __init__(self, path: Path) -> None:
        self._data, self._at = path.read_bytes(), 0

    def take(self, form: str) -> tuple[Any, ...]:
        values = struct.unpack_from(f"<{form}", self._data, self._at)
        self._at += struct.calcsize(f"<{form}")
        return values

    def name(self) -> str:
        end = self._data.index(b"\0", self._at)
        text, self._at = self._data[self._at : end], end + 1
        return text.decode("utf-8")


def _binary(place: Path) -> tuple[dict[int, tuple[int, int]], list[Any], dict[int, Any]]:
    file, sizes = _Reader(place / "cameras.bin"), {}
    for _ in range(file.take("Q")[0]):
        camera, model, width, height = file.take("iiQQ")
        file.take(f"{_PARAMETERS[model]}d")
        sizes[camera] = (width, height)
    file, images = _Reader(place / "images.bin"), []
    for _ in range(file.take("Q")[0]):
        _number, *pose, camera = file.take("i7di")
        name, (count,) = file.name(), file.take("Q")
        marks = [file.take("ddq") for _ in range(count)]
        images.append((name, camera, tuple(pose[:4]), tuple(pose[4:]), marks))
    file, points = _Reader(place / "points3D.bin"), {}
    for _ in range(file.take("Q")[0]):
        number, *where = file.take("Q3d")
        file.take("3Bd")
        (track,) = file.take("Q")
        file.take(f"{2 * track}i")
        points[number] = tuple(where)
    return sizes, images, points
