"""A small Hugging Face hub on 127.0.0.1: the requests huggingface_hub makes, and its accidents.

Large files are answered as the hub does: a redirect to a content server on another host name,
with the true size and SHA-256 in ``X-Linked-*`` headers. Small files are served in place with a
git object id as ETag. A mirror serves all in place, and has habits of its own.
"""

import base64
import gzip
import hashlib
import json
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

REVISION = "0123456789abcdef0123456789abcdef01234567"


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    range: str | None
    authorised: bool


@dataclass
class FakeHub:
    """``files`` maps repository to path to content; the other fields are the accidents."""

    files: dict[str, dict[str, bytes]]
    revisions: set[str] = field(default_factory=lambda: {REVISION})
    gated: set[str] = field(default_factory=set)
    drop_after: dict[str, int] = field(default_factory=dict)  # path -> bytes, once
    corrupt: set[str] = field(default_factory=set)
    bytes_per_second: float | None = None
    ignore_ranges: bool = False
    most_of_a_range: int | None = None  # bytes of the answer to a range, however many it asks for
    clock_ahead: float = 0.0  # seconds that this clock is ahead of the one that asks
    mirror: bool = False  # no redirect, and no header of the hub's
    no_length: frozenset[str] = frozenset()  # methods answered in chunks, without a length
    head_status: int | None = None  # what HEAD is refused with
    head_length: int | str | None = None  # what HEAD says instead of the length
    etag: Callable[[bytes], str | None] | None = None
    encoding: str | None = None  # of all bodies, asked for or not
    redirect: tuple[int, str] | None = None  # once a file: status, and what comes before its path
    busy: list[tuple[int, str | None]] = field(default_factory=list)  # status, Retry-After
    endless: set[str] = field(default_factory=set)
    requests: list[Request] = field(default_factory=list)
    uploads: dict[str, bytes] = field(default_factory=dict)  # by SHA-256, not yet in a commit
    address: str = ""

    def gets(self, path: str) -> list[Request]:
        """The GET requests whose bytes were those of ``path``."""
        trees = [tree for tree in self.files.values() if path in tree]
        digests = [hashlib.sha256(tree[path]).hexdigest() for tree in trees]
        wanted = (f"/resolve/{REVISION}/{path}", *(f"/content/{digest}" for digest in digests))
        return [
            request
            for request in self.requests
            if request.method == "GET" and request.path.endswith(wanted)
        ]


@contextmanager
def serve(hub: FakeHub) -> Iterator[FakeHub]:
    """Run the hub in a thread; ``hub.address`` is what HF_ENDPOINT must be."""
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def use(hub: FakeHub, monkeypatch) -> None:
    """Let this process take ``hub`` for the hub, whatever HF_ENDPOINT was when it began."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.address)
    for module in ("constants", "file_download"):  # the latter has a copy in old releases
        monkeypatch.setattr(
            f"huggingface_hub.{module}.HUGGINGFACE_CO_URL_TEMPLATE",
            hub.address + "/{repo_id}/resolve/{revision}/{filename}",
            raising=False,
        )


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        # A client that was killed, or that has had enough, is no fault of the hub's.
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: FakeHub
    commit = REVISION  # that of the files asked for

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        """What an upload asks: a repository, how each file is sent, and a commit of all."""
        body = self._body()
        if self.headers.get("Authorization") != "Bearer secret":
            return self._refuse(401)
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            self.hub.files.setdefault(name, {})
            return self._json({"url": f"{self.hub.address}/{name}"})
        if self.path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        if match := re.fullmatch(r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", self.path):
            places = [
                {**each, "actions": {"upload": {"href": f"{self.hub.address}/lfs/{each['oid']}"}}}
                for each in json.loads(body)["objects"]
            ]
            return self._json({"transfer": "basic", "objects": places})
        match = re.fullmatch(r"/api/models/([^/]+/[^/]+)/(preupload|commit)/main", self.path)
        assert match is not None, self.path
        if match[2] == "preupload":
            files = [
                {
                    "path": each["path"],
                    "uploadMode": "lfs" if each["path"].endswith(".safetensors") else "regular",
                    "shouldIgnore": False,
                    "oid": None,
                }
                for each in json.loads(body)["files"]
            ]
            return self._json({"files": files})
        for line in body.splitlines():
            entry = json.loads(line)
            if entry["key"] == "file":
                content = base64.b64decode(entry["value"]["content"])
            elif entry["key"] == "lfsFile":
                content = self.hub.uploads[entry["value"]["oid"]]
            else:
                continue
            self.hub.files[match[1]][entry["value"]["path"]] = content
        commit = {"commitUrl": f"{self.hub.address}/{match[1]}/commit/{REVISION}"}
        self._json({**commit, "commitOid": REVISION, "success": True})

    def do_PUT(self) -> None:
        self.hub.uploads[self.path.rsplit("/", 1)[1]] = self._body()
        self._json({})

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _json(self, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def date_time_string(self, timestamp: float | None = None) -> str:
        return super().date_time_string((timestamp or time.time()) + self.hub.clock_ahead)

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self) -> None:
        authorised = self.headers.get("Authorization") == "Bearer secret"
        self.hub.requests.append(
            Request(self.command, self.path, self.headers.get("Range"), authorised)
        )
        if self.hub.busy:
            return self._busy(*self.hub.busy.pop(0))
        if self.command == "HEAD" and self.hub.head_status:
            return self._refuse(self.hub.head_status)
        if self.hub.redirect and not self.path.startswith("/moved"):
            status, before = self.hub.redirect
            return self._refuse(status, location=f"{before}/moved{self.path}")
        self.path = self.path.removeprefix("/moved")
        if match := re.fullmatch(r"/content/(\w+)", self.path):
            return self._content(*self._by_digest(match[1]))
        match = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self.path)
        repo, revision, path = match.groups() if match else ("", "", "")
        self.commit = revision if re.fullmatch(r"[0-9a-f]{40}", revision) else REVISION
        tree = self.hub.files.get(repo)
        if tree is None:
            return self._refuse(401, "RepoNotFound")
        if repo in self.hub.gated and not authorised:
            return self._refuse(401, "GatedRepo")
        if revision not in self.hub.revisions:
            return self._refuse(404, "RevisionNotFound")
        if path not in tree:
            return self._refuse(404, "EntryNotFound")
        if path.endswith(".safetensors") and not self.hub.mirror:
            return self._redirect(tree[path])
        return self._content(path, tree[path])

    def _by_digest(self, digest: str) -> tuple[str, bytes]:
        for tree in self.hub.files.values():
            for path, content in tree.items():
                if hashlib.sha256(content).hexdigest() == digest:
                    return path, content
        raise KeyError(digest)

    def _refuse(self, status: int, code: str | None = None, location: str | None = None) -> None:
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        if location:
            self.send_header("Location", location)
        if status != 204:
            self.send_header("Content-Length", "0")
        self.end_headers()

    def _busy(self, status: int, retry_after: str | None) -> None:
        self.send_response(status)
        if retry_after is not None:
            self.send_header("Retry-After", retry_after)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _redirect(self, content: bytes) -> None:
        digest = hashlib.sha256(content).hexdigest()
        self.send_response(302)
        # Another host name, as the real content servers have: no token may travel there.
        port = self.hub.address.rsplit(":", 1)[1]
        self.send_header("Location", f"http://localhost:{port}/content/{digest}")
        self.send_header("X-Repo-Commit", self.commit)
        self.send_header("X-Linked-Size", str(len(content)))
        self.send_header("X-Linked-Etag", f'"{digest}"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _content(self, path: str, content: bytes) -> None:
        blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        if path in self.hub.corrupt:
            content = bytes([content[0] ^ 255]) + content[1:]
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        start = int(wanted[1]) if wanted and not self.hub.ignore_ranges else 0
        size, whole = len(content), content
        if self.hub.encoding:
            content = gzip.compress(content) if self.hub.encoding == "gzip" else content
        self.send_response(206 if start else 200)
        if not self.hub.mirror:
            self.send_header("X-Repo-Commit", self.commit)
        tag = self.hub.etag(whole) if self.hub.etag else None if self.hub.mirror else f'"{blob}"'
        if tag:
            self.send_header("ETag", tag)
        if self.hub.encoding:
            self.send_header("Content-Encoding", self.hub.encoding)
        if start:
            content = content[: start + (self.hub.most_of_a_range or size)]
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{size}")
        chunked = self.command in self.hub.no_length or path in self.hub.endless
        if chunked and self.command == "GET":
            self.send_header("Transfer-Encoding", "chunked")
        elif not chunked:
            length = self.hub.head_length if self.command == "HEAD" else None
            self.send_header("Content-Length", str(length or len(content) - start))
        self.end_headers()
        if self.command == "GET" and chunked:
            self._send_chunks(content[start:], path in self.hub.endless)
        elif self.command == "GET":
            self._send_body(content[start:], self.hub.drop_after.pop(path, None))

    def _send_chunks(self, body: bytes, endless: bool) -> None:
        try:
            for offset in range(0, len(body), 1 << 14):
                block = body[offset : offset + (1 << 14)]
                self.wfile.write(b"%x\r\n%s\r\n" % (len(block), block))
            while endless:
                self.wfile.write(b"%x\r\n%s\r\n" % (1 << 14, bytes(1 << 14)))
            self.wfile.write(b"0\r\n\r\n")
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _send_body(self, body: bytes, drop_after: int | None) -> None:
        if drop_after is not None:
            body = body[:drop_after]
            self.close_connection = True
        block = 1 << 14
        try:
            for offset in range(0, len(body), block):
                self.wfile.write(body[offset : offset + block])
                if self.hub.bytes_per_second:
                    time.sleep(block / self.hub.bytes_per_second)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
