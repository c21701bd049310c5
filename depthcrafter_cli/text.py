"""Text that people type and read: paths with ``~``, times, lists, names that may hold anything."""

import re
from contextlib import suppress
from fractions import Fraction
from pathlib import Path, PureWindowsPath

from depthcrafter_cli.errors import InputError, UsageError

# Control characters of ASCII and C1, invisible ones, those that turn the direction of writing
# round, other line ends, and lone surrogates, which stand for bytes of no encoding.
_UNSHOWABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)


def printable(text: str, *, keep_bytes: bool = False) -> str:
    """The text on one line, with every character that could control a terminal written out.

    An escape becomes ``\\x1b`` and a new line ``\\n``; all else stays as it is, with ``keep_bytes``
    also bytes of no encoding, so that a file can be found by its name.
    """
    return _UNSHOWABLE.sub(lambda found: _written_out(found.group(), keep_bytes), text)


def _written_out(character: str, keep_bytes: bool) -> str:
    if keep_bytes and "\udca0" <= character <= "\udcff":  # none that controls anything
        return character
    if "\udc80" <= character <= "\udcff":
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+:/(?=/)", re.IGNORECASE)
_HASHES = re.compile("##+")


def video_path(text: str) -> Path:
    """The path of a video as typed: as :func:`expanded`, and ``####`` counts frames, as ``%04d``.

    Raises InputError for the address of something that is not on this machine, and for standard
    input, which only a run reads.
    """
    if text == "-":
        raise InputError(
            "got - for standard input, expected a file here, as only `depthcrafter run` reads the "
            "other: save it first, or write ./- for a file of that name."
        )
    if _ADDRESS.match(text):
        raise InputError(
            f"got the address {text}, expected a file on this machine: download or record it "
            "first, and give the file."
        )
    path = numbered(expanded(text))
    return path.absolute() if path == Path("-") else path


def numbered(path: Path) -> Path:
    """The path with ``####`` in its name as ``%04d``, unless a file has that very name."""
    hashes = _HASHES.search(path.name)
    if hashes is None or path.exists():
        return path
    number = f"%0{len(hashes.group())}d"
    return path.with_name(path.name[: hashes.start()] + number + path.name[hashes.end() :])


def expanded(text: str) -> Path:
    """A path as typed, with ``~`` and ``~user`` as the home folders they stand for.

    Raises UsageError for a user that there is not, for no path at all, and for what no path can be.
    """
    if not text:
        raise UsageError(
            "got an empty path, as a shell gives for a variable that is not set, expected a name: "
            "write . for the folder you are in."
        )
    if "\0" in text:
        raise UsageError(f"got the path {text!r}, expected one without the byte 0: correct it.")
    path = Path(text)
    try:
        return path if path.exists() else path.expanduser()
    except (OSError, ValueError):
        return path  # who opens it says what is wrong
    except RuntimeError:
        raise UsageError(
            f"got {text}, expected a user of this machine after the ~: write the folder in full, "
            "or ./ before a name that begins with ~."
        ) from None


_CLOCK = re.compile(r"(\d+:){0,2}\d+(\.\d+)?")


def clock_seconds(text: str) -> Fraction | None:
    """Seconds of a time such as ``83.5``, ``1:23.5`` or ``0:01:23.5``; None for other text."""
    if not _CLOCK.fullmatch(text):
        return None
    seconds = Fraction(0)
    for part in text.split(":"):
        seconds = seconds * 60 + Fraction(part)
    return seconds


TIME = "seconds, HH:MM:SS or a timecode HH:MM:SS:FF: write 83.5, 1:23.5 or 01:00:00:10"
RATE = "frames per second: write 12, 23.976 or 24000/1001"
_NTSC = (24, 30, 48, 60, 96, 120, 240)  # each times 1000/1001
_NTSC_ROUNDING = Fraction(5, 1000)  # 23.98 for 24000/1001


def read_rate(text: str) -> Fraction:
    """Frames per second as a number or a ratio; 23.976 and the like mean the rates of NTSC.

    Raises ValueError or ZeroDivisionError, which :data:`RATE` explains.
    """
    rate = Fraction(text)
    ntsc = Fraction(round(rate * 1001 / 1000) * 1000, 1001)
    if "/" not in text and ntsc * 1001 / 1000 in _NTSC and abs(rate - ntsc) < _NTSC_ROUNDING:
        return ntsc
    # Other floats written out mean the ratio they are nearest to.
    return rate.limit_denominator(1_000_000) or rate


_GIGABYTES = re.compile(r"\s*(\d+\.?\d*|\.\d+)\s*(?:([MG])(i?)B?)?\s*", re.IGNORECASE)


def read_gigabytes(text: str) -> float:
    """GB of an amount such as ``8``, ``8.5 GB``, ``8000MB`` or ``8GiB``. Raises ValueError.

    GB, as printed on a card's box, are GiB here.
    """
    if (found := _GIGABYTES.fullmatch(text)) is None:
        raise ValueError(text)
    number, unit, binary = found.groups()
    step = 1024 if binary else 1000
    amount = float(number) / (step if unit in ("M", "m") else 1)
    if not 0 < amount < 1e6:
        raise ValueError(text)
    return amount


_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


def decoded(data: bytes) -> str:
    """A list's text: UTF-8, or what Excel and editors on Windows write, UTF-16 and cp1252.

    Raises UnicodeDecodeError.
    """
    if data.startswith(_UTF16_MARKS):
        return data.decode("utf-16")
    with suppress(UnicodeDecodeError):
        return data.decode("utf-8-sig")
    return data.decode("cp1252")


def delimiter_of(header: str) -> str:
    """What parts the cells of a CSV: commas, or the semicolons and tabs that spreadsheets write."""
    return max(",;\t", key=header.count)


def parts_below(name: str) -> tuple[str, ...]:
    """The parts of a name that stays below the folder it is meant for; none if it leads out.

    As ``..``, an absolute path, a drive or an empty name do.
    """
    path = Path(name)
    out = path.drive or path.root or ".." in PureWindowsPath(name).parts or "\0" in name
    return () if out else path.parts


def counted(number: int, thing: str) -> str:
    """So many of a thing: ``1 window``, ``2 windows``."""
    return f"{number} {thing}" + "s" * (number != 1)


def size_in_words(count: int) -> str:
    """Bytes in a unit that people read: ``4.51 GB``, ``12.3 MB``."""
    return f"{count / 1e9:.2f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
