"""Pull a variant's weights: exactly the needed files, at pinned revisions, checked."""

import shutil
from collections.abc import Iterable
from pathlib import Path

from depthcrafter_cli.errors import WeightsError
from depthcrafter_cli.models.hub import SHA256_DIGITS, RemoteFile, announced, fetch, quiet_hub
from depthcrafter_cli.models.manifest import (
    FileRecord,
    read_manifest,
    sha256_of,
    verify,
    write_manifest,
)
from depthcrafter_cli.models.variants import ModelVariant
from depthcrafter_cli.models.weights import WeightsFolder
from depthcrafter_cli.progress import Observer, Progress, ignore

_SPARE_BYTES = 64 << 20  # left free on the disk beyond the download itself


def pull(
    variant: ModelVariant,
    root: Path,
    observer: Observer = ignore,
    *,
    endpoint: str | None = None,
    token: str | None = None,
) -> WeightsFolder:
    """Make ``root/<variant name>`` a complete, checked copy of a variant and return it.

    Files already there are kept if their checksums are right, so a second pull needs no network
    and a pull after damage repairs. ``endpoint`` and ``token`` default to huggingface_hub's own
    (``HF_ENDPOINT``, ``HF_TOKEN`` or a stored login).

    Raises:
        WeightsError: no such download, no connection, no permission, no space, wrong content.
    """
    from filelock import FileLock, Timeout

    if not variant.sources:
        raise WeightsError(
            f"the {variant.name} model is not on the hub, expected a downloadable one: "
            "it is shipped with the program and needs no pull."
        )
    folder = root / variant.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".pull.lock", timeout=0):
            if not _intact(folder, variant, observer):
                _pull_locked(variant, folder, observer, endpoint, token)
    except Timeout as error:
        raise WeightsError(
            f"another process is pulling into {folder}: wait for it to finish."
        ) from error
    except BrokenPipeError:
        raise  # nobody reads our own output any more
    except OSError as error:
        raise WeightsError(
            f"cannot write the weights to {folder} ({error.strerror or error}): free space or "
            "permissions there, or set DEPTHCRAFTER_WEIGHTS to another folder, and pull again."
        ) from error
    return WeightsFolder(folder, variant)


def _intact(folder: Path, variant: ModelVariant, observer: Observer) -> bool:
    manifest = read_manifest(folder)
    published = {file.target: file.origin for file in variant.sources}
    if manifest is None or {k: record.source for k, record in manifest.files.items()} != published:
        return False
    return all(check.problem is None for check in verify(folder, observer))


def _pull_locked(
    variant: ModelVariant, folder: Path, observer: Observer, endpoint: str | None, token: str | None
) -> None:
    with quiet_hub():
        remotes = [announced(file, endpoint, token) for file in variant.sources]
        wanted = [remote for remote in remotes if not remote.matches(_place(folder, remote))]
        _require_space(folder, wanted)
        total = sum(remote.size for remote in remotes)
        before = total - sum(remote.size for remote in wanted)
        for remote in wanted:

            def report(done: int, remote: RemoteFile = remote, before: int = before) -> None:
                observer(Progress("download", before + done, total, "bytes", remote.file.target))

            fetch(remote, _place(folder, remote), token, report)
            before += remote.size
    records = {remote.file.target: _record(remote, folder) for remote in remotes}
    write_manifest(folder, variant.name, files=records)


def _record(remote: RemoteFile, folder: Path) -> FileRecord:
    announced_sha256 = len(remote.checksum) == SHA256_DIGITS
    sha256 = remote.checksum if announced_sha256 else sha256_of(_place(folder, remote))
    return FileRecord(remote.size, sha256, remote.file.origin)


def _place(folder: Path, remote: RemoteFile) -> Path:
    return folder / remote.file.target


def _require_space(folder: Path, wanted: Iterable[RemoteFile]) -> None:
    partials = folder.glob("*/*.partial")
    needed = sum(remote.size for remote in wanted) - sum(path.stat().st_size for path in partials)
    free = shutil.disk_usage(folder).free
    if needed + _SPARE_BYTES > free:
        raise WeightsError(
            f"the download needs {needed / 1e9:.1f} GB and {folder} has {free / 1e9:.1f} GB free: "
            "free some space or set DEPTHCRAFTER_WEIGHTS to a folder on another disk."
        )
