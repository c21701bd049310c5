"""Pull a model's weights: exactly the needed files, at pinned revisions, checked."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from depthcrafter_cli.disk import locked, make_folder
from depthcrafter_cli.errors import WeightsError
from depthcrafter_cli.models.given import GivenFiles
from depthcrafter_cli.models.hub import Hub
from depthcrafter_cli.models.layout import DEPTHCRAFTER_LAYOUT
from depthcrafter_cli.models.manifest import (
    MANIFEST_NAME,
    FileRecord,
    read_manifest,
    record_of,
    verify,
    write_manifest,
)
from depthcrafter_cli.models.offers import Offer, Source, obtain
from depthcrafter_cli.models.registry import HubFile, Licence, ModelSpec, unregistered
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
    settings: Mapping[str, int] = MappingProxyType({}),
    endpoint: str | None = None,
    token: str | None = None,
) -> InstalledModel:
    """Make ``root/<name>`` a complete, checked copy of a model and return it.

    Files already there are kept if their checksums are right, so a second pull needs no network
    and a pull after damage repairs. ``given`` are folders and files to take it all from, instead
    of the hub. ``settings`` go into the model's manifest. ``endpoint`` and ``token`` default to
    huggingface_hub's own (``HF_ENDPOINT``, ``HF_TOKEN`` or a stored login). ``warn`` is told what a
    user should know: what is waited for, and the SHA-256 of files of which none was known before.

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
                _pull_claimed(spec, folder, source, known, settings, observer, warn)
    except (WeightsError, BrokenPipeError):  # the latter: our own output is not read any more
        raise
    except OSError as error:
        raise WeightsError(
            f"cannot write the weights to {folder} ({error.strerror or error}): free space or "
            "permissions there, or set DEPTHCRAFTER_WEIGHTS to another folder, and pull again."
        ) from error
    return opened(folder, spec)


def find_repository(name: str, warn: Warn = ignore) -> tuple[ModelSpec, Mapping[str, int]]:
    """A model or adapter in a repository of the hub, and its settings, by its manifest.

    Raises WeightsError as :func:`pull` does, and for a repository without a manifest.
    """
    hub, file = Hub(None, None, warn), HubFile(name, "main", MANIFEST_NAME, MANIFEST_NAME)
    with tempfile.TemporaryDirectory(prefix="depthcrafter-") as folder:
        for offer in hub.offers([file]):
            obtain(hub, offer, Path(folder, MANIFEST_NAME), lambda _done: None)
        manifest = read_manifest(Path(folder))
    assert manifest is not None
    sources = tuple(
        HubFile(name, "main", path, path, record.size, record.sha256)
        for path, record in manifest.files.items()
    )
    spec = unregistered(name, DEPTHCRAFTER_LAYOUT, manifest.base)
    page = Licence("see its page", "all weights", f"https://huggingface.co/{name}", False)
    size = sum(record.size for record in manifest.files.values())
    licences = spec.licences or (page,)
    found = replace(spec, name=name, licences=licences, sources=sources, download_bytes=size)
    return found, manifest.settings


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
    if any(file.sha256 not in (None, known[file.target].sha256) for file in spec.sources):
        return False
    return all(check.problem is None for check in verify(folder, observer))


def _pull_claimed(
    spec: ModelSpec,
    folder: Path,
    source: Source,
    known: Mapping[str, FileRecord],
    settings: Mapping[str, int],
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
    write_manifest(folder, spec.name, files=records, settings=settings, base=spec.base)
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
