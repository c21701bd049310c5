"""What a model folder says about itself, and whether its files still agree with that.

The manifest, ``depthcrafter.json``, lies beside the networks. It names the model whose
settings suit the folder, may override them, and records every file's size and SHA-256.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from functools import lru_cache
from pathlib import Path
from typing import Any

from depthcrafter_cli.disk import write_whole
from depthcrafter_cli.errors import WeightsError
from depthcrafter_cli.progress import Observer, Progress, ignore
from depthcrafter_cli.structured import content_errors, json_object, typed
from depthcrafter_cli.text import parts_below

MANIFEST_NAME = "depthcrafter.json"
CARD_NAME = "README.md"
"""What tells people of a model: where it comes from, how good it is, its licence."""
SETTINGS = {"max_res": 64, "window": 1, "overlap": 0, "steps": 1, "multiple": 1}
"""What a model folder may override of its settings, with the least values that make sense."""

_READ_BYTES = 1 << 20
_SAMPLES, _SAMPLE_BYTES = 64, 1 << 16
_WHOLE_BYTES = 64 << 20  # read in a tenth of a second


@dataclass(frozen=True)
class FileRecord:
    """Size in bytes, SHA-256 in hexadecimal, and where the file came from, if known.

    ``sample`` is :func:`sample_of` the file, empty in manifests of version 0.1.
    """

    size: int
    sha256: str
    source: str = ""
    sample: str = ""


@dataclass(frozen=True)
class Manifest:
    """What a model folder says of itself.

    ``model`` is its name, ``settings`` may override the model's :data:`SETTINGS`, ``base`` names
    the registered model that weights of one's own were trained on from.
    """

    model: str
    created: str
    files: dict[str, FileRecord]
    settings: dict[str, int] = field(default_factory=dict)
    base: str = ""


@dataclass(frozen=True)
class FileCheck:
    """The verdict on one file of a model folder; ``problem`` is None when it is intact."""

    path: str
    problem: str | None


def read_manifest(folder: Path) -> Manifest | None:
    """The folder's manifest, None if it has none. Raises WeightsError if it is unreadable."""
    path = folder / MANIFEST_NAME
    if not path.is_file():
        return None
    expected = "expected the JSON that `depthcrafter weights pull` writes: delete it and pull again"
    with content_errors(path, WeightsError, expected):
        content = json_object(path)
        if "variant" in content:  # of version 0.1
            content["model"] = content.pop("variant")
        manifest: Manifest = typed(Manifest, content, path.name)
        for name in manifest.files:
            if not parts_below(name):
                raise ValueError(f"{name!r} is no file of its folder")
        for key, value in manifest.settings.items():
            if key not in SETTINGS or value < SETTINGS[key]:
                least = ", ".join(f"{name} from {low} on" for name, low in SETTINGS.items())
                raise ValueError(f"it sets {key} to {value}, and there is only {least}")
    return manifest


def write_manifest(
    folder: Path,
    model: str,
    *,
    files: Mapping[str, FileRecord] | None = None,
    settings: Mapping[str, int] | None = None,
    base: str = "",
) -> Manifest:
    """Write the manifest of a finished model folder; without ``files`` they are hashed now."""
    if files is None:
        files = {name: record_of(folder / name) for name in _model_files(folder)}
    created = datetime.now(timezone.utc).isoformat(timespec="seconds")
    manifest = Manifest(model, created, dict(files), dict(settings or {}), base)
    content: dict[str, Any] = asdict(manifest)
    write_whole(folder / MANIFEST_NAME, (json.dumps(content, indent=2) + "\n").encode())
    return manifest


def verify(folder: Path, observer: Observer = ignore) -> list[FileCheck]:
    """Compare the size and SHA-256 of every file with the manifest's.

    Raises WeightsError if the folder has no manifest to compare with.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        raise WeightsError(
            f"the model folder {folder} has no {MANIFEST_NAME}, so there is nothing to compare its "
            "files with; only pulled and shipped models can be verified."
        )
    total = sum(record.size for record in manifest.files.values())
    checks, before = [], 0
    for name, record in manifest.files.items():

        def on_bytes(done: int, name: str = name, before: int = before) -> None:
            observer(Progress("verify", before + done, total, "bytes", name))

        checks.append(FileCheck(name, _problem(folder / name, record, on_bytes)))
        before += record.size
    observer(Progress("verify", total, total, "bytes"))
    return checks


def file_hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of the model's files, for a run's record.

    A file above ``_WHOLE_BYTES`` that has the manifest's size and was not written after it is taken
    at the manifest's word if a sample of its bytes is as it was: hashing gigabytes before every run
    would only repeat ``verify``. All others are read whole.

    Raises WeightsError for a file that cannot be read, or that has changed though its date has not,
    as on a failing disk.
    """
    manifest = read_manifest(folder)
    known = manifest.files if manifest else {}
    written = (folder / MANIFEST_NAME).stat().st_mtime_ns if manifest else 0
    hashes = {}
    for name in _model_files(folder):
        path = folder / name
        record, status = known.get(name), path.stat()
        now = path, status.st_size, status.st_mtime_ns
        # Other weights in its place may be as large.
        as_then = record and record.size == status.st_size and status.st_mtime_ns <= written
        with content_errors(path, WeightsError, "expected a file of the model: pull it again"):
            if record and as_then and record.sample and record.size > _WHOLE_BYTES:
                intact = _sample_as_of(*now) == record.sample
                hashes[name] = record.sha256
            else:
                hashes[name] = _sha256_as_of(*now)
                intact = not (record and as_then) or hashes[name] == record.sha256
        if not intact:
            raise WeightsError(
                f"{path} has changed since it was pulled or made, though its date has not, "
                "expected the same bytes: check the disk, and pull or copy the model again."
            )
    return hashes


# Both read once for a batch of clips, while size and date stay.
@lru_cache(maxsize=64)
def _sha256_as_of(path: Path, _size: int, _modified: int) -> str:
    return sha256_of(path)


@lru_cache(maxsize=64)
def _sample_as_of(path: Path, _size: int, _modified: int) -> str:
    return sample_of(path)


def sample_of(path: Path) -> str:
    """SHA-256 of 64 blocks of 64 KiB, evenly spaced from the first byte to the last.

    Of all bytes where a file has no more than that.
    """
    spare = max(0, path.stat().st_size - _SAMPLES * _SAMPLE_BYTES)
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for index in range(_SAMPLES):
            stream.seek(index * _SAMPLE_BYTES + spare * index // (_SAMPLES - 1))
            digest.update(stream.read(_SAMPLE_BYTES))
    return digest.hexdigest()


def sha256_of(path: Path, on_bytes: Callable[[int], None] | None = None) -> str:
    """SHA-256 in hexadecimal; ``on_bytes`` is told the number of bytes read so far."""
    return hash_file(path, hashlib.sha256(), on_bytes)


def hash_file(path: Path, digest: Any, on_bytes: Callable[[int], None] | None = None) -> str:
    """Feed a file to a hashlib ``digest`` and return it in hexadecimal."""
    done = 0
    with path.open("rb") as stream:
        while block := stream.read(_READ_BYTES):
            digest.update(block)
            done += len(block)
            if on_bytes:
                on_bytes(done)
    return str(digest.hexdigest())


def _model_files(folder: Path) -> list[str]:
    paths = (*folder.glob("*/*.json"), *folder.glob("*/*.safetensors"))
    return sorted(path.relative_to(folder).as_posix() for path in paths)


def record_of(path: Path, source: str = "", sha256: str | None = None) -> FileRecord:
    """What the manifest tells of a file; its SHA-256 is computed unless it is known."""
    return FileRecord(path.stat().st_size, sha256 or sha256_of(path), source, sample_of(path))


def _problem(path: Path, record: FileRecord, on_bytes: Callable[[int], None]) -> str | None:
    if not path.is_file():
        return "is missing"
    size = path.stat().st_size
    if size != record.size:
        return f"has {size:,} bytes, expected {record.size:,}"
    if sha256_of(path, on_bytes) != record.sha256:
        return "differs from its recorded SHA-256"
    return None
