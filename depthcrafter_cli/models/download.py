"""Pull a model's weights: exactly the needed files, at pinned revisions, checked."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from depthcrafter_cli.disk import locked, make_folder
from depthcrafter_cli.errors import WeightsError
from depthcrafter_cli.models.given import GivenFiles
from depthcrafter_cli.models.hub import Hub
from depthcrafter_cli.models.manifest import (
    FileRecord,
    read_manifest,
    record_of,
    verify,
    write_manifest,
)
from depthcrafter_cli.models.offers import Offer, Source, obtain
from depthcrafter_cli.models.registry import HubFile, ModelSpec
from depthcrafter_cli.models.weights import InstalledModel, opened
from depthcrafter_cli.progress import Observer, Progress, Warn, ignore

_SPARE_BYTES = 64 << 20  # left free on the disk beyond the download itself


def pull(
    spec: ModelSpec,
    root: Path,
    observer: Observer = ignore,
    warn: Warn = ignore,
    *,
    given: Sequence[Path] = (),
    endpoint: str | None = None,
    token: str | None = None,
) -> InstalledModel:
    """Make ``root/<name>`` a complete, checked copy of a model and return it.

    Files already there are kept if their checksums are right, so a second pull needs no network
    and a pull after damage repairs. ``given`` are folders and files to take it all from, instead
    of the hub. ``endpoint`` and ``token`` default to huggingface_hub's own (``HF_ENDPOINT``,
    ``HF_TOKEN`` or a stored login). ``warn`` is told what a user should know: what is waited for,
    and the SHA-256 of files of which none was known before.

    Raises:
        WeightsError: no such download, no connection, no permission, no space, wrong content.
    """
    if not spec.sources:
        raise WeightsError(
            f"the {spec.name} model is not on the hub, expected a downloadable one: "
            "it is shipped with the program and needs no pull."
        )
    folder = root / spec.name
    try:
        with _claimed(folder):
            known = _recorded(folder)
            if not _intact(folder, spec, known, observer):
                source = GivenFiles([*given, folder]) if given else Hub(endpoint, token, warn)
                _pull_claimed(spec, folder, source, known, observer, warn)
    except (WeightsError, BrokenPipeError):  # the latter: our own output is not read any more
        raise
    except OSError as error:
        raise WeightsError(
            f"cannot write the weights to {folder} ({error.strerror or error}): free space or "
            "permissions there, or set DEPTHCRAFTER_WEIGHTS to another folder, and pull again."
        ) from error
    return opened(folder, spec)


@contextmanager
def _claimed(folder: Path) -> Iterator[None]:
    """Inside, no other pull may write the folder; what a failed pull leaves empty goes."""
    from filelock import Timeout

    make_folder(folder)
    try:
        with locked(folder / ".pull.lock"):
            yield
    except Timeout as error:
        raise WeightsError(
            f"another process is pulling into {folder}: wait for it to finish."
        ) from error
    except BaseException:
        for place in (*(path for path in folder.iterdir() if path.is_dir()), folder):
            with suppress(OSError):
                place.rmdir()
        raise


def _recorded(folder: Path) -> Mapping[str, FileRecord]:
    manifest = read_manifest(folder)
    return manifest.files if manifest else {}


def _intact(
    folder: Path, spec: ModelSpec, known: Mapping[str, FileRecord], observer: Observer
) -> bool:
    if {k: record.source for k, record in known.items()} != {
        file.target: file.origin for file in spec.sources
    }:
        return False
    return all(check.problem is None for check in verify(folder, observer))


def _pull_claimed(
    spec: ModelSpec,
    folder: Path,
    source: Source,
    known: Mapping[str, FileRecord],
    observer: Observer,
    warn: Warn,
) -> None:
    files = [_as_recorded(file, known) for file in spec.sources]
    offers = source.offers(files)
    wanted = [offer for offer in offers if not offer.matches(folder / offer.file.target)]
    _require_space(folder, wanted)
    sizes = [offer.size for offer in offers]
    total = None if None in sizes else sum(size or 0 for size in sizes)
    before = sum(offer.size or 0 for offer in offers if offer not in wanted)
    for offer in wanted:

        def on_bytes(done: int, offer: Offer = offer, before: int = before) -> None:
            observer(Progress("download", before + done, total, "bytes", offer.file.target))

        obtain(source, offer, folder / offer.file.target, on_bytes)
        before += (folder / offer.file.target).stat().st_size
    records = {
        offer.file.target: record_of(folder / offer.file.target, offer.file.origin, offer.sha256)
        for offer in offers
    }
    write_manifest(folder, spec.name, files=records)
    for file in files:
        if file.sha256 is None:
            warn(
                f"No SHA-256 of {file.target} was known beforehand; recorded, and checked from "
                f"now on: {records[file.target].sha256}"
            )


def _as_recorded(file: HubFile, known: Mapping[str, FileRecord]) -> HubFile:
    """A file that is not pinned must be what it was when it was first pulled."""
    record = known.get(file.target)
    if file.sha256 or record is None or record.source != file.origin:
        return file
    return replace(file, size=record.size, sha256=record.sha256)


def _require_space(folder: Path, wanted: Sequence[Offer]) -> None:
    partials = folder.glob("*/*.partial")
    needed = sum(offer.size or 0 for offer in wanted)
    needed -= sum(path.stat().st_size for path in partials)
    free = shutil.disk_usage(folder).free
    if needed + _SPARE_BYTES > free:
        raise WeightsError(
            f"the download needs {needed / 1e9:.1f} GB and {folder} has {free / 1e9:.1f} GB free: "
            "free some space or set DEPTHCRAFTER_WEIGHTS to a folder on another disk."
        )
