"""Pulling from mirrors: what they leave out, say wrong or send on, and what decides in the end."""

import hashlib
import io
import time
from collections.abc import Iterator
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path

import numpy as np
import pytest
from fake_hub import REVISION, FakeHub, serve
from safetensors.numpy import save

from depthcrafter_cli.errors import WeightsError
from depthcrafter_cli.models import hub as hub_module
from depthcrafter_cli.models.download import pull
from depthcrafter_cli.models.manifest import read_manifest, sha256_of, verify
from depthcrafter_cli.models.registry import NANO, HubFile, ModelSpec
from depthcrafter_cli.progress import Progress

CONFIG = b'{"a": 1}\n'
WEIGHTS = save({"a": np.random.default_rng(1).integers(0, 255, 300_000, dtype=np.uint8)})
NAME = "model.safetensors"


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _variant(*, pinned: bool, **changes) -> ModelSpec:
    files = [
        HubFile("lab/x", REVISION, name, f"unet/{name}", **(
            {"size": len(content), "sha256": _sha256(content)} if pinned else {}
        ))
        for name, content in (("config.json", CONFIG), (NAME, WEIGHTS))
    ]  # fmt: skip
    return replace(NANO, name="tiny", sources=tuple(files), **changes)


@pytest.fixture
def hub(monkeypatch) -> Iterator[FakeHub]:
    monkeypatch.setattr(hub_module, "_PAUSE", 0)
    with serve(FakeHub({"lab/x": {"config.json": CONFIG, NAME: WEIGHTS}})) as running:
        yield running


def _pulled(hub: FakeHub, root: Path, *, pinned: bool, warn=lambda _: None) -> Path:
    folder = pull(_variant(pinned=pinned), root, warn=warn, endpoint=hub.address).path
    assert (folder / "unet" / NAME).read_bytes() == WEIGHTS
    assert (folder / "unet/config.json").read_bytes() == CONFIG
    assert all(check.problem is None for check in verify(folder))
    assert not list(folder.rglob("*.partial")) and not list(folder.rglob("*.lock"))
    return folder


HABITS = {
    "nothing announced": {},
    "HEAD without a length": {"no_length": frozenset({"HEAD"})},
    "everything in chunks": {"no_length": frozenset({"HEAD", "GET"})},
    "HEAD answered 204": {"head_status": 204},
    "HEAD forbidden": {"head_status": 403},
    "HEAD not found": {"head_status": 404},
    "HEAD not allowed": {"head_status": 405},
    "HEAD broken": {"head_status": 501},
    "a wrong length in HEAD": {"head_length": 1234},
    "a length of 5,000 digits in HEAD": {"head_length": "9" * 5000},
    "MD5 as ETag": {"etag": lambda content: f'"{hashlib.md5(content).hexdigest()}"'},
    "SHA-1 as ETag": {"etag": lambda content: f'"{hashlib.sha1(content).hexdigest()}"'},
    "a weak ETag": {"etag": lambda content: f'W/"{_sha256(content)}"'},
    "a bare ETag": {"etag": _sha256},
    "another SHA-256 as ETag": {"etag": lambda content: f'"{_sha256(content[1:])}"'},
    "gzip though unasked": {"encoding": "gzip"},
    "gzip in chunks": {"encoding": "gzip", "no_length": frozenset({"HEAD", "GET"})},
    "moved for good": {"redirect": (301, "")},
    "found elsewhere": {"redirect": (302, "")},
    "moved for now": {"redirect": (307, "")},
    "moved for good, to an address": {"redirect": (308, "HOST")},
}


@pytest.mark.parametrize("pinned", [True, False], ids=["pinned", "not pinned"])
@pytest.mark.parametrize("habit", HABITS)
def test_a_mirror_may_have_habits(hub, tmp_path, habit, pinned):
    hub.mirror = True
    for name, value in HABITS[habit].items():
        if name == "redirect" and value[1]:
            value = (value[0], hub.address.replace("127.0.0.1", "localhost"))
        setattr(hub, name, value)
    _pulled(hub, tmp_path, pinned=pinned)


@pytest.mark.parametrize("etag", [lambda c: f'W/"{_sha256(c)}"', lambda _: '"abc"', lambda _: "*"])
def test_etags_of_a_hub_behind_a_cache(hub, tmp_path, etag):
    hub.etag = etag
    _pulled(hub, tmp_path, pinned=False)


def test_resuming_where_ranges_are_not_honoured_begins_again(hub, tmp_path):
    hub.mirror = hub.ignore_ranges = True
    hub.drop_after[NAME] = 200_000
    _pulled(hub, tmp_path, pinned=True)
    assert [request.range for request in hub.gets(NAME)] == [None, "bytes=200000-"]


def test_a_rest_that_comes_in_pieces_is_asked_for_piece_by_piece(hub, tmp_path):
    hub.drop_after[NAME] = 100_000
    hub.most_of_a_range = 80_000
    _pulled(hub, tmp_path, pinned=True)
    asked = [request.range for request in hub.gets(NAME) if "/content/" in request.path]
    assert asked == [None, "bytes=100000-", "bytes=180000-", "bytes=260000-"]


@pytest.mark.parametrize("status", [401, 403, 416, 503])
def test_what_came_is_kept_where_the_rest_and_the_whole_are_refused(hub, tmp_path, status):
    hub.drop_after[NAME] = 200_000

    def refuse_what_follows(event: Progress) -> None:
        if event.stage == "download" and event.detail.endswith(NAME):
            hub.busy = [(status, "0")] * 20

    with pytest.raises(WeightsError, match=r"refused|does not show it"):
        pull(_variant(pinned=True), tmp_path, refuse_what_follows, endpoint=hub.address)
    hub.busy = []
    _pulled(hub, tmp_path, pinned=True)
    assert hub.gets(NAME)[-1].range == "bytes=200000-"


def test_a_part_of_a_compressed_body_is_not_continued(hub, tmp_path):
    hub.mirror, hub.encoding = True, "gzip"
    hub.drop_after[NAME] = 150_000
    _pulled(hub, tmp_path, pinned=True)


def test_an_unknown_compression_is_a_sentence(hub, tmp_path):
    hub.mirror, hub.encoding = True, "br"
    with pytest.raises(WeightsError, match="compressed as 'br'"):
        pull(_variant(pinned=True), tmp_path, endpoint=hub.address)


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_hub_is_waited_for_and_that_is_said(hub, tmp_path, monkeypatch, status):
    slept: list[float] = []
    monkeypatch.setattr(hub_module.time, "sleep", slept.append)
    later = formatdate(time.time() + 7, usegmt=True)
    hub.busy = [(status, "3"), (status, None), (status, later), (status, "nonsense")]
    told: list[str] = []
    _pulled(hub, tmp_path, pinned=True, warn=told.append)
    assert slept[:2] == [3, 2] and 5 < slept[2] <= 7 and slept[3] == 8
    assert [str(status) in sentence for sentence in told] == [True] * 4


def test_how_long_a_busy_hub_is_left_alone_does_not_depend_on_our_clock(hub, tmp_path, monkeypatch):
    slept: list[float] = []
    monkeypatch.setattr(hub_module.time, "sleep", slept.append)
    hub.clock_ahead = 86_400
    later = formatdate(time.time() + hub.clock_ahead + 7, usegmt=True)
    hub.busy = [(429, later)]
    _pulled(hub, tmp_path, pinned=True)
    assert 5 < slept[0] <= 7


def test_a_hub_that_stays_busy_is_given_up(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(hub_module.time, "sleep", lambda _: None)
    hub.busy = [(429, "1")] * 50
    with pytest.raises(WeightsError, match="429 Too Many Requests"):
        pull(_variant(pinned=True), tmp_path, endpoint=hub.address)
    assert len(hub.requests) < 20
    hub.busy = [(503, "86400")]
    with pytest.raises(WeightsError, match="asks to wait for 86400 s"):
        pull(_variant(pinned=True), tmp_path, endpoint=hub.address)


def test_what_nobody_announced_is_recorded_said_and_checked_from_then_on(hub, tmp_path):
    hub.mirror = True
    told: list[str] = []
    folder = _pulled(hub, tmp_path, pinned=False, warn=told.append)
    assert len(told) == 2 and _sha256(WEIGHTS) in told[1] and "recorded" in told[1]
    assert read_manifest(folder).files[f"unet/{NAME}"].sha256 == _sha256(WEIGHTS)

    (folder / "unet" / NAME).unlink()
    told.clear()
    _pulled(hub, tmp_path, pinned=False, warn=told.append)
    assert told == []

    (folder / "unet" / NAME).unlink()
    hub.files["lab/x"][NAME] = WEIGHTS[:-1] + b"\0"
    with pytest.raises(WeightsError, match="is damaged, or another file"):
        pull(_variant(pinned=False), tmp_path, endpoint=hub.address)


@pytest.mark.parametrize("name", ["config.json", NAME])
@pytest.mark.parametrize("content", [b"<html>log in</html>", WEIGHTS[:1000], b"[1]", b""])
def test_a_login_page_is_not_recorded_as_weights(hub, tmp_path, name, content):
    hub.mirror = True
    hub.files["lab/x"] = {**hub.files["lab/x"], name: content}
    with pytest.raises(WeightsError, match="is damaged, or another file"):
        pull(_variant(pinned=False), tmp_path, endpoint=hub.address)
    assert not list(tmp_path.rglob(f"{name}*"))


@pytest.mark.parametrize("name", ["config.json", NAME])
@pytest.mark.parametrize("pinned", [True, False], ids=["pinned", "not pinned"])
@pytest.mark.parametrize("encoding", [None, "gzip"])
def test_a_body_without_end_is_left_at_once_and_removed(hub, tmp_path, name, pinned, encoding):
    hub.endless.add(name)
    if encoding:
        hub.encoding, hub.endless = encoding, set()
        hub.files["lab/x"] = {**hub.files["lab/x"], name: bytes(40 << 20)}
        hub.mirror, hub.head_length = True, 7
    before = time.monotonic()
    unbounded = encoding and not pinned and name == NAME  # so it ends by itself, here
    sentence = "no whole safetensors file" if unbounded else "sends more than the"
    with pytest.raises(WeightsError, match=sentence):
        pull(_variant(pinned=pinned), tmp_path, endpoint=hub.address)
    assert time.monotonic() - before < 20
    assert not list(tmp_path.rglob(f"{name}*"))


def test_a_body_that_nobody_bounds_is_bounded_for_a_config(hub, tmp_path):
    hub.mirror = True
    hub.endless.add("config.json")
    with pytest.raises(WeightsError, match=r"more than the 1,048,576 bytes of config\.json"):
        pull(_variant(pinned=False), tmp_path, endpoint=hub.address)


def test_a_trickle_is_given_up_and_goes_on_where_it_stopped(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(hub_module, "_LEAST_SECONDS", 0.2)
    hub.bytes_per_second = 1 << 16  # half of what is least
    hub.mirror = True
    with pytest.raises(WeightsError, match=r"only 16,384 bytes|only [\d,]+ bytes came in 0.2 s"):
        pull(_variant(pinned=True), tmp_path, endpoint=hub.address)
    asked = [request.range for request in hub.gets(NAME)]
    assert len(asked) == 5 and asked[0] is None and None not in asked[1:]
    hub.bytes_per_second = None
    _pulled(hub, tmp_path, pinned=True)


def test_a_redirect_never_leads_away_from_https(hub):
    from requests import Response

    way = hub_module.Hub(hub.address, None, lambda _: None)

    class Sending:
        """Answers, in place of a server with a certificate."""

        def request(self, *_arguments, **_options) -> Response:
            answer = Response()
            answer.status_code, answer.raw = 302, io.BytesIO()
            answer.headers["Location"] = "http://127.0.0.1/x"
            return answer

        get_redirect_target = way._session.get_redirect_target
        should_strip_auth = way._session.should_strip_auth

    way._session = Sending()
    file = _variant(pinned=True).sources[0]
    with pytest.raises(WeightsError, match="from https on to http"):
        way._follow("GET", file, "https://mirror.example/x", {}, None)


ELSEWHERE = r"https to stay https|expected an end"


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("file:///etc/passwd", ELSEWHERE),
        ("ftp://127.0.0.1/x", ELSEWHERE),
        ("/again", ELSEWHERE),
        ("http://[x", "no address that makes sense"),
        ("http://h\xe9", "no address that makes sense"),
    ],
)
def test_redirects_to_anything_else_or_in_a_circle_end(hub, tmp_path, target, said):
    hub.redirect = (302, target)
    with pytest.raises(WeightsError, match=said):
        pull(_variant(pinned=True), tmp_path, endpoint=hub.address)


def test_a_pull_that_fails_leaves_nothing_behind(tmp_path):
    with serve(FakeHub({})) as stopped:
        pass
    with pytest.raises(WeightsError, match=r"HTTPS_PROXY.*HF_ENDPOINT.*`given`"):
        pull(_variant(pinned=True), tmp_path, endpoint=stopped.address)
    assert list(tmp_path.iterdir()) == []


def test_hashes_are_of_what_lies_there(hub, tmp_path):
    folder = _pulled(hub, tmp_path, pinned=False)
    for name, record in read_manifest(folder).files.items():
        assert record.sha256 == sha256_of(folder / name)
