"""Files of the Hugging Face hub, or of a mirror of it with habits of its own.

huggingface_hub knows addresses, settings and the token. The transfer is ours: its downloads begin
again from zero after a kill (huggingface_hub issue 4196), write whatever a server goes on sending,
and use another HTTP library in each major release.
"""

import re
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from depthcrafter_cli.errors import WeightsError
from depthcrafter_cli.models.answers import (
    continues,
    length_of,
    retry_after,
    status_of,
    told_checksum,
    told_size,
)
from depthcrafter_cli.models.offers import Offer, OnBytes, other_file
from depthcrafter_cli.models.registry import HubFile
from depthcrafter_cli.progress import Warn

if TYPE_CHECKING:
    from requests import PreparedRequest, Response

_BUSY = (408, 429, 500, 502, 503, 504)
_MOST_WAITS, _LONGEST_WAIT = 5, 300  # seconds
_MOST_REDIRECTS = 10
_MOST_FAILURES, _PAUSE = 5, 1  # breaks of a connection in a row, seconds after each
# A connection that brings less than this is given up; more than this makes a break forgotten.
_LEAST_BYTES, _LEAST_SECONDS = 1 << 16, 60
_READ_BYTES = 1 << 18
_COMPRESSED = ("gzip", "x-gzip", "deflate")


class TransferError(Exception):
    """A connection that broke, came to a standstill, or has to begin at the file's start."""


class Hub:
    """The hub at HF_ENDPOINT or ``endpoint``; ``warn`` is told when it is waited for.

    Raises WeightsError where the settings of this machine make no sense.
    """

    def __init__(self, endpoint: str | None, token: str | None, warn: Warn) -> None:
        import requests

        try:  # reads HF_ENDPOINT
            from huggingface_hub import constants, hf_hub_url
            from huggingface_hub.utils import build_hf_headers
        except ValueError as error:
            raise WeightsError(
                f"the hub's address makes no sense ({error}), expected a URL: check HF_ENDPOINT."
            ) from error
        if constants.HF_HUB_OFFLINE:
            raise WeightsError(
                "HF_HUB_OFFLINE is set and the weights are not complete here, expected a "
                "connection: unset it and pull again."
            )
        headers = build_hf_headers(token=token)
        self._authorization = headers.pop("authorization", None)
        self._headers = headers | {"Accept-Encoding": "identity"}
        self._timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT
        self._endpoint, self._url_of, self._warn = endpoint, hf_hub_url, warn
        self._session = requests.Session()

    def offers(self, files: Sequence[HubFile]) -> list[Offer]:
        """What the hub announces of files; what is pinned overrules it.

        Raises WeightsError where the hub itself says that it has no such file, or another one.
        """
        return [self._offer(file) for file in files]

    def _offer(self, file: HubFile) -> Offer:
        url = self._url_of(file.repo, file.path, revision=file.revision, endpoint=self._endpoint)
        told: dict[str, str] = {}
        try:
            with _explained(file), self._request("HEAD", file, url, {}, told) as response:
                # Mirrors refuse HEAD in many ways; only the hub's own codes are a verdict.
                if response.status_code >= 400 and "X-Error-Code" in response.headers:
                    raise _verdict(file, response)
        except TransferError as error:
            raise _unreachable(file, error) from error
        size, checksum = told_size(told), told_checksum(told)
        linked = "X-Linked-Size" in told
        if linked and file.size not in (None, size):
            raise other_file(file, size)
        if "X-Linked-Etag" in told and file.sha256 not in (None, checksum):
            raise other_file(file, size)
        sure = linked or file.size is not None
        return Offer(file, url, file.size or size, file.sha256 or checksum, sure)

    def fetch(self, offer: Offer, partial: Path, on_bytes: OnBytes) -> None:
        """Continue or start a download, until it has all its bytes or the connection is hopeless.

        Raises WeightsError; the partial file stays for the next attempt, unless it is too long.
        """
        furthest = failures = 0
        while True:
            try:
                with _explained(offer.file):
                    return self._receive(offer, partial, on_bytes)
            except TransferError as error:
                done = partial.stat().st_size if partial.is_file() else 0
                failures = 0 if done >= furthest + _LEAST_BYTES else failures + 1
                furthest = max(done, furthest)
                if failures >= _MOST_FAILURES:
                    raise _unreachable(offer.file, error) from error
                time.sleep(_PAUSE)

    def _receive(self, offer: Offer, partial: Path, on_bytes: OnBytes) -> None:
        start = partial.stat().st_size if partial.is_file() else 0
        if start and start == offer.size:
            return
        response, start = self._from(offer, start)
        with response:
            if response.status_code >= 400:
                raise _verdict(offer.file, response)
            length = length_of(response, start)
            if offer.sure and length not in (None, offer.size):
                raise other_file(offer.file, length)
            expected = offer.size if offer.sure else length or offer.size
            limit = expected or offer.file.most_bytes
            with partial.open("ab") as stream:
                stream.truncate(start)
                done = start
                for block in _decoded(_steady(response), response, limit + 1 - done):
                    done += stream.write(block)
                    if done > limit:
                        break
                    on_bytes(done)
        if done > limit:
            partial.unlink()
            raise WeightsError(
                f"the hub sends more than the {limit:,} bytes of {offer.file.path}, expected its "
                "end there: what came was removed; use another endpoint."
            )
        if done < (expected or 0):
            raise TransferError(f"it ended after {done:,} of {expected:,} bytes")

    def _from(self, offer: Offer, start: int) -> tuple["Response", int]:
        """An answer, and the byte it begins with: ``start``, or 0 where the rest is not given."""
        ranged = {"Range": f"bytes={start}-"} if start else {}
        response = self._request("GET", offer.file, offer.place, ranged)
        if not start or response.status_code in _BUSY or continues(response, start):
            return response, start
        if response.status_code == HTTPStatus.OK:
            return response, 0
        response.close()
        return self._request("GET", offer.file, offer.place, {}), 0

    def _request(
        self,
        method: str,
        file: HubFile,
        url: str,
        headers: Mapping[str, str],
        told: dict[str, str] | None = None,
    ) -> "Response":
        """The answer of a server that is not too busy to give one."""
        for waits in range(_MOST_WAITS + 1):
            response = self._follow(method, file, url, headers, told)
            if response.status_code not in _BUSY or waits == _MOST_WAITS:
                return response
            status, pause = status_of(response), retry_after(response, 2**waits)
            response.close()
            if pause > _LONGEST_WAIT:
                raise WeightsError(
                    f"the hub is too busy for {file.path} ({status}) and asks to wait for "
                    f"{pause:.0f} s: pull again then, which continues where it stopped."
                )
            self._warn(
                f"The hub is busy ({status}); {file.path} is asked for again in {pause:g} s."
            )
            time.sleep(pause)
        raise AssertionError

    def _follow(
        self,
        method: str,
        file: HubFile,
        url: str,
        headers: Mapping[str, str],
        told: dict[str, str] | None,
    ) -> "Response":
        """The answer where redirects end; ``told`` gets the headers of all on the way."""
        first = url
        for _ in range(_MOST_REDIRECTS):
            # The token is for the hub alone, not for the servers it sends us to.
            is_trusted = self._authorization and not self._session.should_strip_auth(first, url)
            response, target = self._ask(method, file, url, headers, is_trusted=bool(is_trusted))
            if told is not None:
                for name, value in response.headers.items():
                    if target is None or name.title().startswith("X-"):
                        told.setdefault(name.title(), value)
            # A content server may refuse HEAD, and the hub has said everything before.
            if target is None or (told and "X-Linked-Etag" in told):
                return response
            response.close()
            ways = urlsplit(url).scheme, urlsplit(target).scheme
            if ways not in (("http", "http"), ("http", "https"), ("https", "https")):
                raise WeightsError(
                    f"the hub sends {file.path} from {ways[0]} on to {ways[1]}, expected http or "
                    "https, and https to stay https: use another endpoint."
                )
            url = target
        raise WeightsError(
            f"the hub sends {file.path} on more than {_MOST_REDIRECTS} times, expected an end: "
            "use another endpoint."
        )

    def _ask(
        self, method: str, file: HubFile, url: str, headers: Mapping[str, str], *, is_trusted: bool
    ) -> tuple["Response", str | None]:
        """One answer, and the address that it sends on to, None where it does not."""
        from requests import RequestException

        try:
            response = self._session.request(
                method,
                url,
                headers={**self._headers, **headers},
                auth=self._authorize if is_trusted else None,
                timeout=self._timeout,
                stream=True,
                allow_redirects=False,
            )
            location = self._session.get_redirect_target(response)
            return response, None if location is None else urljoin(url, location)
        except RequestException:
            raise
        except ValueError as error:  # of a location that cannot be read
            raise WeightsError(
                f"the hub sends {file.path} on to no address that makes sense, expected a URL: "
                "use another endpoint."
            ) from error

    def _authorize(self, request: "PreparedRequest") -> "PreparedRequest":
        request.headers["Authorization"] = str(self._authorization)
        return request


def _steady(response: "Response") -> Iterator[bytes]:
    """The bytes of an answer as they come. Raises TransferError where next to none do."""
    from urllib3.exceptions import HTTPError

    begun, taken = time.monotonic(), 0
    while True:
        try:
            block = response.raw.read1(_READ_BYTES, decode_content=False)
        except HTTPError as error:
            raise TransferError(_brief(error)) from error
        if not block:
            return
        yield block
        taken += len(block)
        if time.monotonic() - begun > _LEAST_SECONDS:
            if taken < _LEAST_BYTES:
                raise TransferError(f"only {taken:,} bytes came in {_LEAST_SECONDS} s")
            begun, taken = time.monotonic(), 0


def _decoded(blocks: Iterator[bytes], response: "Response", most: int) -> Iterator[bytes]:
    """Blocks as they were before a mirror compressed them; at most ``most`` bytes, about.

    Raises WeightsError for a compression that is not known, TransferError for one that is damaged.
    """
    encoding = response.headers.get("Content-Encoding", "identity").lower()
    if encoding == "identity":
        yield from blocks
        return
    if encoding not in _COMPRESSED:
        raise WeightsError(
            f"the hub sends a file compressed as {encoding[:20]!r}, expected it as it is: use "
            "another endpoint."
        )
    unpacker = zlib.decompressobj(wbits=47)  # of zlib and gzip alike
    for block in blocks:
        try:
            yield (unpacked := unpacker.decompress(block, most))
            most -= len(unpacked)
            while unpacker.unconsumed_tail and most > 0:
                yield (unpacked := unpacker.decompress(unpacker.unconsumed_tail, most))
                most -= len(unpacked)
        except zlib.error as error:
            raise TransferError(f"its compression is damaged ({error})") from error
    if not unpacker.eof:
        raise TransferError("it ended in the midst of its compression")


def _verdict(file: HubFile, response: "Response") -> WeightsError:
    """What a refusal means, by the hub's code for it if there is one."""
    status, code = response.status_code, response.headers.get("X-Error-Code", "")
    if code == "GatedRepo":
        return WeightsError(
            f"{file.repo} is only open to those who accepted its licence: accept it at "
            f"https://huggingface.co/{file.repo}, log in with `hf auth login` or set HF_TOKEN, "
            "and pull again."
        )
    if code == "RepoNotFound" or status == HTTPStatus.UNAUTHORIZED:
        return WeightsError(
            f"the hub has no repository {file.repo} or does not show it to you: check HF_ENDPOINT, "
            "log in with `hf auth login` or set HF_TOKEN, and pull again."
        )
    if status == HTTPStatus.NOT_FOUND:
        return WeightsError(
            f"the hub has no {file.path} at revision {file.revision[:8]} of {file.repo}, which "
            "this version expects: update depthcrafter or use another endpoint."
        )
    return WeightsError(f"the hub refused {file.path} ({status_of(response)}): pull again later.")


@contextmanager
def _explained(file: HubFile) -> Iterator[None]:
    """Turn what can go wrong between us and the hub into one sentence each."""
    from requests import exceptions
    from urllib3.exceptions import HTTPError

    try:
        yield
    except (exceptions.Timeout, exceptions.ConnectionError) as error:
        if isinstance(error, exceptions.ProxyError | exceptions.SSLError):
            raise _unreachable(file, error) from error
        raise TransferError(_brief(error)) from error
    except exceptions.ChunkedEncodingError as error:
        raise TransferError(_brief(error)) from error
    except (exceptions.RequestException, HTTPError) as error:  # before anything is sent
        raise WeightsError(
            f"the hub cannot be reached by this machine's settings ({_brief(error)}): check "
            "ALL_PROXY and HTTPS_PROXY (a SOCKS proxy needs: pip install 'requests[socks]') and "
            "HF_ENDPOINT."
        ) from error


def _unreachable(file: HubFile, error: Exception) -> WeightsError:
    return WeightsError(
        f"the connection to the hub failed at {file.path} ({_brief(error)}): check the network and "
        "pull again, which continues where it stopped; a proxy is named in HTTPS_PROXY, a mirror "
        "in HF_ENDPOINT, and files copied from another machine are installed with `given`."
    )


def _brief(error: Exception) -> str:
    """The innermost reason of an HTTP library's error, in one line."""
    while error.args and isinstance(error.args[-1], Exception):
        error = error.args[-1]
    reason = getattr(error, "reason", None)
    if isinstance(reason, Exception):
        return _brief(reason)
    text = " ".join(str(error).split()) or type(error).__name__
    return re.sub(r"^<[^>]*>:? |^\w*Connection\w*\([^)]*\): ", "", text)[:200]
