"""What the headers of a hub's answer tell; whoever answers may write anything into them."""

import re
from collections.abc import Mapping
from contextlib import suppress
from email.utils import formatdate, parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from requests import Response


def told_size(told: Mapping[str, str]) -> int | None:
    """How many bytes a file has by the headers of an answer to HEAD."""
    length = told.get("X-Linked-Size") or (told.get("Content-Length", "") if _plain(told) else "")
    return _number(length) or None


def told_checksum(told: Mapping[str, str]) -> str | None:
    """The SHA-256, or the SHA-1 as git or a mirror counts it, by the headers of an answer.

    A plain ETag may be anything, unless it comes with another header of the hub's.
    """
    tag = told.get("X-Linked-Etag") or ("X-Repo-Commit" in told and told.get("Etag")) or ""
    match = re.fullmatch(r'(?:w/)?"?([0-9a-f]{40}|[0-9a-f]{64})"?', tag.lower())
    return match[1] if match else None


def continues(response: "Response", start: int) -> bool:
    """Whether an answer is the rest of a file from ``start`` on, as it is stored."""
    begins = response.headers.get("Content-Range", "").startswith(f"bytes {start}-")
    return (
        response.status_code == HTTPStatus.PARTIAL_CONTENT and begins and _plain(response.headers)
    )


def length_of(response: "Response", start: int) -> int | None:
    """The whole file's size by this answer, None where it does not tell."""
    if not _plain(response.headers):
        return None
    # Of the rest, a server may send as little as it likes at a time.
    whole = response.headers.get("Content-Range", "").rpartition("/")[2] if start else ""
    length = _number(response.headers.get("Content-Length", ""))
    return _number(whole) or (None if length is None else start + length)


def retry_after(response: "Response", otherwise: float) -> float:
    """How many seconds a server asks to be left alone for."""
    asked = response.headers.get("Retry-After", "")
    if (seconds := _number(asked)) is not None:
        return seconds
    with suppress(ValueError, TypeError, OverflowError):
        # By the server's clock, as this machine's may be wrong.
        now = parsedate_to_datetime(response.headers.get("Date", formatdate(usegmt=True)))
        return max(0.0, (parsedate_to_datetime(asked) - now).total_seconds())
    return otherwise


def status_of(response: "Response") -> str:
    """An answer's status, not in the server's words, which could be anything."""
    with suppress(ValueError):
        return f"{response.status_code} {HTTPStatus(response.status_code).phrase}"
    return str(response.status_code)


def _number(digits: str) -> int | None:
    """A number of an answer's headers; None for other text, and for more than any file has."""
    return int(digits) if re.fullmatch("[0-9]{1,19}", digits) else None


def _plain(headers: Mapping[str, str]) -> bool:
    return headers.get("Content-Encoding", "identity") == "identity"
