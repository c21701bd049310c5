"""A file of a model as it is offered, by the hub or by hand, and the one way to its place."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from depthcrafter_cli.disk import is_own_file, make_folder, publish, remove
from depthcrafter_cli.errors import WeightsError
from depthcrafter_cli.models.layout import read_json
from depthcrafter_cli.models.manifest import hash_file, sha256_of
from depthcrafter_cli.models.registry import HubFile

_SHA256_DIGITS = 64

OnBytes = Callable[[int], None]


@dataclass(frozen=True)
class Offer:
    """A file, where it can be had (a URL or path), and what it must be.

    ``size`` in bytes is None if it is not told, and only a hint unless it is ``sure``. ``checksum``
    is a SHA-256 or, of small files, a SHA-1 of the content, plain or as git names its blobs; None
    if it is not told.
    """

    file: HubFile
    place: str
    size: int | None
    checksum: str | None
    sure: bool

    @property
    def sha256(self) -> str | None:
        """The checksum if it is a SHA-256."""
        return self.checksum if len(self.checksum or "") == _SHA256_DIGITS else None

    def matches(self, path: Path) -> bool:
        """Whether a local file is the one that is offered, as far as is known of it.

        Where no checksum is known, a file counts that is whole and of the right kind.
        """
        if not path.is_file() or (self.sure and path.stat().st_size != self.size):
            return False
        if self.checksum is None:
            return fault(self.file, path) is None
        if self.sha256:
            return sha256_of(path) == self.checksum
        blob = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
        plain = hashlib.sha1(usedforsecurity=False)
        return self.checksum in (hash_file(path, blob), hash_file(path, plain))


class Source(Protocol):
    """Where files of a model can be had."""

    def offers(self, files: Sequence[HubFile]) -> list[Offer]:
        """One offer for each file. Raises WeightsError if one cannot be had."""

    def fetch(self, offer: Offer, partial: Path, on_bytes: OnBytes) -> None:
        """Write a file, or the rest of it; ``on_bytes`` is told how many bytes it has."""


def obtain(source: Source, offer: Offer, target: Path, on_bytes: OnBytes) -> None:
    """Fetch a file, or the rest of it, check it, and only then give it its name.

    Raises WeightsError if what came is not what was offered; it is removed.
    """
    make_folder(target.parent)
    # What is known of the content, in the name, keeps a part of another file from being continued.
    known = offer.checksum or offer.file.revision
    partial = target.with_name(f"{target.name}.{known[:12]}.partial")
    if not is_own_file(partial) or partial.stat().st_size > (offer.size or offer.file.most_bytes):
        remove(partial)
    source.fetch(offer, partial, on_bytes)
    reason = fault(offer.file, partial) if offer.file.class_name or not offer.checksum else None
    if reason is None and not offer.matches(partial):
        reason = f"its checksum is not {str(offer.checksum)[:8]}..., which was expected"
    if reason:
        partial.unlink()
        raise WeightsError(
            f"the download of {offer.file.path} is damaged, or another file ({reason}): it was "
            "removed, so pull again, or use another endpoint."
        )
    publish(partial, target)
    for stale in target.parent.glob(f"{target.name}.*.partial"):
        stale.unlink()


def fault(file: HubFile, path: Path) -> str | None:
    """What shows, without a checksum, that a file is damaged or another model's; None if nothing.

    Such as the login page of a network, in place of what was asked for.
    """
    from safetensors import SafetensorError, safe_open

    try:
        if path.suffix == ".safetensors" or ".safetensors." in path.name:
            with safe_open(path, framework="numpy"):
                return None
        found = read_json(path).get("_class_name")
    except WeightsError as error:
        return str(error).split(", expected")[0]
    except SafetensorError as error:
        return f"it is no whole safetensors file: {error}"
    if file.class_name and found != file.class_name:
        return f"it describes a {str(found)[:60]}, expected a {file.class_name}"
    return None


def other_file(file: HubFile, size: int | None) -> WeightsError:
    """What to say of an endpoint that offers a file of ``size`` bytes under the name of another."""
    expected = f"{file.size:,} bytes" if file.size else "a smaller one"
    checksum = f", SHA-256 {file.sha256[:8]}..." if file.sha256 else ""
    return WeightsError(
        f"the hub offers another {file.path} of {file.repo} ({size or 0:,} bytes) than the "
        f"published one ({expected}{checksum}): use another endpoint."
    )
