"""Arrays of numbers in MATLAB's files: version 5 by what MATLAB publishes of it, 7.3 as HDF5."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from depthcrafter_cli.errors import InputError
from depthcrafter_cli.media.files import missing_package
from depthcrafter_cli.structured import archive_errors, content_errors

Array = npt.NDArray[np.generic]
_KINDS = {
    1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8",
}  # fmt: skip
_MATRIX, _COMPRESSED = 14, 15
_HEAD = 128  # bytes
_HDF5 = b"\x89HDF\r\n\x1a\n"


def is_hdf5(path: Path) -> bool:
    """Whether a file is of version 7.3, which is HDF5 behind 512 bytes."""
    with path.open("rb") as file:
        head = file.read(512 + len(_HDF5))
    return _HDF5 in (head[: len(_HDF5)], head[512:])


class MatlabFile:
    """A file's arrays of real numbers, with their axes as MATLAB has them.

    Those of version 5 are unpacked once, and stay in memory only if they are compressed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._unpacked: dict[str, Array] = {}

    def array(self, name: str, index: int | None = None) -> Array:
        """An array, or given an ``index`` only that part along its last axis.

        Raises InputError for a file that has no such array, or cannot be read.
        """
        expected = "expected one of MATLAB: copy it again"
        with content_errors(self._path, InputError, expected), archive_errors():
            if name not in self._unpacked:
                if is_hdf5(self._path):
                    return _of_hdf5(self._path, name, index)
                self._unpacked[name] = self._found(name)
            array = self._unpacked[name]
            return array if index is None else array[..., index]

    def _found(self, name: str) -> Array:
        for found, array in _arrays(self._path):
            if found == name:
                return array
        raise _lacks(name, self._path)


def _lacks(name: str, path: Path) -> InputError:
    return InputError(f"got no array {name} in {path}, expected one: check which file it is.")


def _of_hdf5(path: Path, name: str, index: int | None) -> Array:
    if lacking := missing_package(path, "h5py", "hdf5", "name another folder"):
        raise InputError(lacking)
    import h5py

    with h5py.File(path) as file:
        if name not in file:
            raise _lacks(name, path)
        stored = file[name]
        # HDF5 counts axes from the other end.
        array: Array = np.asarray(stored[()] if index is None else stored[index]).T
    return array


def _arrays(path: Path) -> Iterator[tuple[str, Array]]:
    """The names and values of all arrays of real numbers in a file of version 5."""
    content = np.memmap(path, np.uint8, "r").data
    order = {b"IM": "<", b"MI": ">"}.get(bytes(content[126:_HEAD]))
    if order is None:
        raise ValueError("it is no file of MATLAB, version 5 or newer")
    for kind, data in _elements(content[_HEAD:], order):
        if kind == _COMPRESSED:
            ((kind, data),) = _elements(memoryview(zlib.decompress(data)), order)
        if kind == _MATRIX:
            _flags, shape, name, *values = _elements(data, order)
            if len(values) == 1 and values[0][0] in _KINDS:
                array = np.frombuffer(values[0][1], order + _KINDS[values[0][0]])
                sizes = np.frombuffer(shape[1], order + "i4")
                yield bytes(name[1]).decode("ascii"), array.reshape(sizes, order="F")


def _elements(content: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """Kinds and data of what follows one upon the other."""
    at = 0
    while at + 8 <= len(content):
        kind, length = struct.unpack_from(f"{order}II", content, at)
        begin = at + 8
        if kind >> 16:  # up to four bytes stand in the head itself
            kind, length, begin = kind & 0xFFFF, kind >> 16, at + 4
        if begin + length > len(content):
            raise ValueError("it ends early")
        yield kind, content[begin : begin + length]
        at = begin + length
        if kind != _COMPRESSED:
            at += -at % 8
