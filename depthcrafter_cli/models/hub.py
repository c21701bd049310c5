"""One file of the Hugging Face hub: what is announced of it, and fetching exactly that.

huggingface_hub speaks to the hub, but its own downloads resume only within one process: a killed
one starts again from zero (huggingface_hub issue 4196). So bytes go to a ``.partial`` file of our
own, which the next attempt continues, and a file gets its final name once its checksum is right.
"""

import hashlib
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from depthcrafter_cli.disk import publish
from depthcrafter_cli.errors import WeightsError
from depthcrafter_cli.models.manifest import hash_file, sha256_of
from depthcrafter_cli.models.variants import HubFile

SHA256_DIGITS, _GIT_SHA1_DIGITS = 64, 40

Report = Callable[[int], None]


@dataclass(frozen=True)
class RemoteFile:
    """A file as the hub announces it: size in bytes, and its SHA-256 or git object id."""

    file: HubFile
    url: str
    size: int
    checksum: str

    def matches(self, path: Path, report: Report | None = None) -> bool:
        """Whether a local file has the announced size and checksum."""
        if not path.is_file() or path.stat().st_size != self.size:
            return False
        if len(self.checksum) == SHA256_DIGITS:
            return sha256_of(path, report) == self.checksum
        # Files outside large-file storage are announced as git names its blobs.
        header = f"blob {self.size}\0".encode()
        digest = hashlib.sha1(header, usedforsecurity=False)
        return hash_file(path, digest, report) == self.checksum


def announced(file: HubFile, endpoint: str | None, token: str | None) -> RemoteFile:
    """Ask the hub for a file's size and checksum, and hold them against what is known of it."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    url = hf_hub_url(file.repo, file.path, revision=file.revision, endpoint=endpoint)
    with _explained(file):
        metadata = get_hf_file_metadata(url, token=token)
    size, checksum = metadata.size, file.sha256 or metadata.etag or ""
    if size is None or len(checksum) not in (SHA256_DIGITS, _GIT_SHA1_DIGITS):
        raise WeightsError(
            f"the hub announces {file.path} of {file.repo} without a size or checksum, expected "
            "both: use another endpoint."
        )
    if size != (file.size or size) or (file.sha256 and metadata.etag != file.sha256):
        raise WeightsError(
            f"the hub offers another {file.path} of {file.repo} ({size:,} bytes) than the "
            f"published one ({file.size or size:,} bytes, SHA-256 {str(file.sha256)[:8]}...): "
            "use another endpoint."
        )
    return RemoteFile(file, url, size, checksum)


def fetch(remote: RemoteFile, destination: Path, token: str | None, report: Report) -> None:
    """Continue or start a download, check it, and only then give it its name."""
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    destination.parent.mkdir(parents=True, exist_ok=True)
    # The checksum in the name keeps a part of another file from being continued.
    partial = destination.with_name(f"{destination.name}.{remote.checksum[:12]}.partial")
    if partial.is_file() and partial.stat().st_size > remote.size:
        partial.unlink()
    headers = build_hf_headers(token=token) | {"Accept-Encoding": "identity"}
    with (
        _ReportingWriter(io.FileIO(partial, "ab"), report) as stream,
        _explained(remote.file),
    ):
        http_get(
            remote.url,
            stream,
            resume_size=stream.tell(),
            headers=headers,
            expected_size=remote.size,
        )
    if not remote.matches(partial):
        partial.unlink()
        raise WeightsError(
            f"the download of {remote.file.path} is damaged: its checksum is not "
            f"{remote.checksum[:8]}..., which the hub announced; it was removed, so pull again."
        )
    publish(partial, destination)
    for stale in destination.parent.glob(f"{destination.name}.*.partial"):
        stale.unlink()


class _ReportingWriter(io.BufferedWriter):
    """A file that tells how long it has become."""

    def __init__(self, raw: io.FileIO, report: Report) -> None:
        super().__init__(raw)
        self._report = report

    def write(self, data: bytes) -> int:  # type: ignore[override]
        written = super().write(data)
        self._report(self.tell())
        return written


@contextmanager
def quiet_hub() -> Iterator[None]:
    """No progress bars or log lines from huggingface_hub: progress goes to our observer."""
    try:
        import huggingface_hub.file_download  # noqa: F401 - reads HF_ENDPOINT
        from huggingface_hub import utils
    except ValueError as error:
        raise WeightsError(
            f"the hub's address makes no sense ({error}), expected a URL: check HF_ENDPOINT."
        ) from error
    had_bars, verbosity = not utils.are_progress_bars_disabled(), utils.logging.get_verbosity()
    utils.disable_progress_bars()
    utils.logging.set_verbosity_error()
    try:
        yield
    finally:
        utils.logging.set_verbosity(verbosity)
        if had_bars:
            utils.enable_progress_bars()


@contextmanager
def _explained(file: HubFile) -> Iterator[None]:
    """Turn what can go wrong between us and the hub into one sentence each."""
    # HTTPError is the root of httpx's errors; those of requests, in older releases, are OSErrors
    # without a number.
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        HTTPError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        yield
    except OfflineModeIsEnabled as error:
        raise WeightsError(
            "HF_HUB_OFFLINE is set and the weights are not complete here, expected a connection: "
            "unset it and pull again."
        ) from error
    except GatedRepoError as error:
        raise WeightsError(
            f"{file.repo} is only open to those who accepted its licence: accept it at "
            f"https://huggingface.co/{file.repo}, log in with `hf auth login` or set HF_TOKEN, "
            "and pull again."
        ) from error
    except (RevisionNotFoundError, EntryNotFoundError) as error:
        raise WeightsError(
            f"the hub has no {file.path} at revision {file.revision[:8]} of {file.repo}, which "
            "this version expects: update depthcrafter or use another endpoint."
        ) from error
    except RepositoryNotFoundError as error:
        raise WeightsError(
            f"the hub has no repository {file.repo} or does not show it to you: check HF_ENDPOINT, "
            "log in with `hf auth login` or set HF_TOKEN, and pull again."
        ) from error
    except HfHubHTTPError as error:
        reason = str(error).strip().splitlines()[0]
        raise WeightsError(f"the hub refused {file.path} ({reason}): pull again later.") from error
    except (ImportError, ValueError) as error:  # raised for proxies, before anything is sent
        raise WeightsError(
            f"the hub cannot be reached by this machine's settings ({error}): check ALL_PROXY and "
            "HTTPS_PROXY (a SOCKS proxy needs: pip install 'httpx[socks]') and HF_ENDPOINT."
        ) from error
    except BrokenPipeError:
        raise  # nobody reads our own output any more
    except (HTTPError, OSError) as error:
        if getattr(error, "errno", None) is not None and not isinstance(error, ConnectionError):
            raise  # the disk's fault, not the network's
        reason = str(error).strip() or type(error).__name__
        raise WeightsError(
            f"the connection to the hub failed at {file.path} ({reason}): check the network and "
            "pull again, which continues where it stopped."
        ) from error
