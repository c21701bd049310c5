"""Reading JSON and TOML: whatever is wrong with a file becomes one error of the caller's kind.

Read inside :func:`content_errors`, which also covers the use of what was read:

    with content_errors(path, WeightsError, "expected a model's settings: pull it again"):
        settings = Settings(**json_object(path))
"""

from __future__ import annotations

import csv
import json
import math
import struct
import sys
import types
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, fields, is_dataclass
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from pickle import UnpicklingError
from tokenize import TokenError
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin, get_type_hints
from zipfile import BadZipFile, ZipFile

from depthcrafter_cli.errors import DepthCrafterError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_LARGEST_BYTES = 64 << 20
_LARGEST_INTEGER = 1 << 63
_LONGEST_REASON = 200
# NumPy reads the header of an array as an expression of Python.
_DAMAGED = (
    BadZipFile, EOFError, SyntaxError, TokenError, UnpicklingError, struct.error, zlib.error,
)  # fmt: skip
_SENSELESS = (
    ValueError, TypeError, AttributeError, LookupError, ArithmeticError, csv.Error, *_DAMAGED,
)  # fmt: skip


@contextmanager
def content_errors(path: Path, kind: type[DepthCrafterError], expected: str) -> Iterator[None]:
    """Inside, whatever shows that ``path`` cannot be read or makes no sense raises ``kind``.

    The sentence names the file, says what is wrong with it and ends in ``expected``, such as
    "expected a recipe: correct it". Errors that are sentences already pass.
    """
    try:
        yield
    except DepthCrafterError:
        raise
    except RecursionError as error:
        raise kind(_sentence(path, "its values are nested too deeply", expected)) from error
    except KeyError as error:
        lacking = str(error.args[0]) if error.args else ""
        # Archives of NumPy say so themselves.
        reason = lacking if " " in lacking else f"it lacks {lacking!r}"
        raise kind(_sentence(path, reason, expected)) from error
    except UnicodeDecodeError as error:
        raise kind(_sentence(path, "it is no text in UTF-8", expected)) from error
    except OSError as error:
        raise kind(_sentence(path, error.strerror or str(error), expected)) from error
    except _SENSELESS as error:
        raise kind(_sentence(path, str(error), expected)) from error


@contextmanager
def archive_errors() -> Iterator[None]:
    """Inside, whatever shows that a ZIP archive (an NPZ, a checkpoint) is damaged is a ValueError.

    A flipped bit may say that it is encrypted or compressed in another way: a RuntimeError.
    """
    try:
        yield
    except (*_DAMAGED, RuntimeError) as error:
        raise ValueError(f"it is no whole archive: {error}") from error


def npz_arrays(path: Path, *names: str) -> list[npt.NDArray[np.generic]]:
    """Arrays of an NPZ. Raises OSError, KeyError or ValueError, so for any bit that flipped.

    An array is checked as a whole before its header is believed. NumPy reads only as much as the
    header says, and finds no fault in it.
    """
    from numpy.lib.format import read_array

    with archive_errors(), ZipFile(path) as archive:
        members = [archive.read(f"{name}.npy") for name in names]
        return [read_array(BytesIO(member), allow_pickle=False) for member in members]


def _sentence(path: Path, reason: str, expected: str) -> str:
    if len(reason) > _LONGEST_REASON:
        reason = f"{reason[:_LONGEST_REASON]}..."
    return f"{path} cannot be read ({reason}), {expected}."


def json_object(path: Path) -> dict[str, Any]:
    """The JSON object that is a file's content. Raises OSError, ValueError or RecursionError."""
    return parse_object(_text(path))


def parse_object(text: str | bytes) -> dict[str, Any]:
    """A JSON object. Raises ValueError, also for numbers that are not finite, or RecursionError."""
    content = json.loads(
        text, parse_int=_integer, parse_float=_finite, parse_constant=_refuse_constant
    )
    if not isinstance(content, dict):
        raise ValueError(f"it holds a {type(content).__name__}, not an object")
    return content


def toml_table(path: Path) -> dict[str, Any]:
    """The TOML table that is a file's content. Raises OSError, ValueError or RecursionError."""
    text = _text(path)
    try:
        table: dict[str, Any] = tomllib.loads(text, parse_float=_finite)
    except tomllib.TOMLDecodeError as error:
        # As Explorer copies a path: "C:\\clips".
        hint = r"; a path with \ is written in 'single quotes'" if "\\" in text else ""
        raise ValueError(f"{error}{hint}") from error
    return table


def _text(path: Path) -> str:
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise ValueError("it is no regular file")
    if path.is_file() and path.stat().st_size > _LARGEST_BYTES:
        raise ValueError(f"it has {path.stat().st_size:,} bytes, more than {_LARGEST_BYTES:,}")
    return path.read_text(encoding="utf-8-sig")


def _integer(digits: str) -> int:
    number = int(digits)
    if not -_LARGEST_INTEGER <= number < _LARGEST_INTEGER:
        raise ValueError(f"the whole number {digits[:20]}... is too large")
    return number


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits[:20]} is not a finite number")
    return number


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a finite number")


def typed(expected: Any, value: Any, where: str) -> Any:
    """``value`` as the type ``expected``; dataclasses are built of tables, to any depth.

    Paths and fractions are built of text, tuples of lists. ``where`` names the value in messages.

    Raises ValueError for unknown, missing and ill-typed keys.
    """
    origin, inner = get_origin(expected), get_args(expected)
    if expected is Any:
        return value
    if is_dataclass(expected) and isinstance(value, dict):
        return _built(expected, value, where)
    if origin in (Union, types.UnionType):
        if value is None and types.NoneType in inner:
            return None
        tables = [kind for kind in inner if is_dataclass(kind)]
        return typed(tables[0] if tables and isinstance(value, dict) else inner[0], value, where)
    if origin is Literal:
        if value in inner:
            return value
        raise ValueError(f"{where} is {value!r}, expected one of {list(inner)}")
    if origin in (list, tuple) and isinstance(value, list):
        return origin(typed(inner[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if origin in (dict, Mapping) and isinstance(value, dict):
        return {key: typed(inner[1], item, f"{where}.{key}") for key, item in value.items()}
    if expected is float and type(value) is int:
        return float(value)
    if expected is int and type(value) is int:
        return _integer(str(value))
    if expected in (Path, Fraction) and type(value) is str:
        return _of_text(expected, value, where)
    if type(value) is not expected:
        name = getattr(origin or expected, "__name__", expected)
        if is_dataclass(expected):
            name = "table"
        raise ValueError(f"{where} is a {type(value).__name__}, expected a {name}")
    return value


def _of_text(kind: type[Path] | type[Fraction], text: str, where: str) -> Path | Fraction:
    try:
        return kind(text)
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"{where} is {text!r}, expected a number such as 24000/1001") from None


def plain(value: Any) -> Any:
    """``value`` as JSON writes it: what :func:`typed` reads back, by its type."""
    if is_dataclass(value):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path | Fraction) else value


def _built(kind: Any, table: dict[str, Any], where: str) -> Any:
    hints = get_type_hints(kind)
    if unknown := sorted(set(table) - set(hints)):
        raise ValueError(f"{where} has unknown keys {unknown}, expected only {sorted(hints)}")
    values = {key: typed(hints[key], item, f"{where}: {key}") for key, item in table.items()}
    needed = {f.name for f in fields(kind) if f.default is f.default_factory is MISSING}
    if lacking := sorted(needed - set(table)):
        raise ValueError(f"{where} lacks the keys {lacking}, expected {sorted(needed)}")
    return kind(**values)
