"""Pulling weights from a real HTTP server, with the accidents that happen on the way."""

import hashlib
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fake_hub import REVISION, FakeHub, serve

from depthcrafter_cli.errors import WeightsError
from depthcrafter_cli.models.download import pull
from depthcrafter_cli.models.manifest import read_manifest, verify
from depthcrafter_cli.models.registry import NANO, HubFile, ModelSpec
from depthcrafter_cli.progress import Progress

KIB = 1 << 10
UNET = "diffusion_pytorch_model.safetensors"
VAE = "vae/diffusion_pytorch_model.fp16.safetensors"


def _bytes(size: int, seed: int) -> bytes:
    return random.Random(seed).randbytes(size)


@pytest.fixture(scope="module")
def contents() -> dict[str, dict[str, bytes]]:
    return {
        "lab/unet": {"config.json": b'{"a": 1}\n', UNET: _bytes(320 * KIB, 1), "other.bin": b"x"},
        "lab/svd": {VAE: _bytes(64 * KIB, 7), "vae/config.json": b"{}\n"},
    }


@pytest.fixture
def hub(contents) -> Iterator[FakeHub]:
    with serve(FakeHub(contents)) as running:
        yield running


def _variant(**changes) -> ModelSpec:
    files = (
        HubFile("lab/unet", REVISION, "config.json", "unet/config.json"),
        HubFile("lab/unet", REVISION, UNET, f"unet/{UNET}"),
        HubFile("lab/svd", REVISION, "vae/config.json", "vae/config.json"),
        HubFile("lab/svd", REVISION, VAE, VAE),
    )
    return replace(NANO, name="tiny", **{"sources": files, **changes})


def test_pull_takes_exactly_the_listed_files(hub, tmp_path, contents):
    events: list[Progress] = []
    found = pull(_variant(), tmp_path, events.append, endpoint=hub.address)

    files = {path.relative_to(found.path).as_posix() for path in found.path.rglob("*.*")}
    assert files - {".pull.lock"} == {
        "depthcrafter.json", "unet/config.json", f"unet/{UNET}", "vae/config.json", VAE,
    }  # fmt: skip
    assert (found.path / "unet" / UNET).read_bytes() == contents["lab/unet"][UNET]
    manifest = read_manifest(found.path)
    assert manifest.model == "tiny"
    assert manifest.files[VAE].source == f"lab/svd@{REVISION}:{VAE}"
    downloads = [event for event in events if event.stage == "download"]
    done = [event.done for event in downloads]
    assert done == sorted(done)
    assert (
        downloads[-1].done
        == downloads[-1].total
        == sum(file.size for file in manifest.files.values())
    )
    assert all(check.problem is None for check in verify(found.path))


def test_second_pull_needs_no_network(hub, tmp_path):
    pull(_variant(), tmp_path, endpoint=hub.address)
    asked = len(hub.requests)
    pull(_variant(), tmp_path, endpoint=hub.address)
    assert len(hub.requests) == asked


def test_dropped_connection_is_resumed_by_range(hub, tmp_path, contents):
    hub.drop_after[UNET] = 230 * KIB
    found = pull(_variant(), tmp_path, endpoint=hub.address)

    first, second = (request for request in hub.gets(UNET) if "/content/" in request.path)
    assert first.range is None
    assert second.range == f"bytes={230 * KIB}-"
    assert (found.path / "unet" / UNET).read_bytes() == contents["lab/unet"][UNET]


def test_killed_pull_is_resumed_by_the_next_process(hub, tmp_path, contents):
    hub.bytes_per_second = 100 * KIB
    script = (
        "import sys; sys.path[:0] = [sys.argv[1], sys.argv[1] + '/models']\n"
        "from pathlib import Path\n"
        "from test_weights_download import _variant, pull\n"
        "pull(_variant(), Path(sys.argv[2]), endpoint=sys.argv[3])\n"
    )
    here = str(Path(__file__).parents[1])
    child = subprocess.Popen([sys.executable, "-c", script, here, str(tmp_path), hub.address])
    partial = _wait_for_bytes(tmp_path / "tiny" / "unet", 100 * KIB, child)
    child.kill()
    child.wait()
    kept = partial.stat().st_size
    assert 0 < kept < 320 * KIB
    assert not (tmp_path / "tiny" / "unet" / UNET).exists()

    hub.bytes_per_second = None
    found = pull(_variant(), tmp_path, endpoint=hub.address)
    assert hub.gets(UNET)[-1].range == f"bytes={kept}-"
    assert (found.path / "unet" / UNET).read_bytes() == contents["lab/unet"][UNET]
    assert not list(found.path.rglob("*.partial"))


def _wait_for_bytes(folder: Path, least: int, child: subprocess.Popen) -> Path:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and child.poll() is None:
        for path in folder.glob(f"{UNET}.*.partial"):  # the config's may be gone when it is asked
            if path.stat().st_size >= least:
                return path
        time.sleep(0.01)
    raise AssertionError(f"no partial file of {least} bytes; the child returned {child.poll()}")


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_what_a_link_leads_to_is_not_written_to(hub, tmp_path, contents, link):
    victim = tmp_path / "victim"
    victim.write_bytes(b"a night's render")
    checksum = hashlib.sha256(contents["lab/unet"][UNET]).hexdigest()
    part = tmp_path / "tiny" / "unet" / f"{UNET}.{checksum[:12]}.partial"
    part.parent.mkdir(parents=True)
    link(victim, part)
    found = pull(_variant(), tmp_path, endpoint=hub.address)
    assert (found.path / "unet" / UNET).read_bytes() == contents["lab/unet"][UNET]
    assert not (found.path / "unet" / UNET).is_symlink()
    assert victim.read_bytes() == b"a night's render"


def test_server_without_ranges_starts_the_file_again(hub, tmp_path, contents):
    hub.drop_after[UNET] = 230 * KIB
    hub.ignore_ranges = True
    found = pull(_variant(), tmp_path, endpoint=hub.address)
    assert (found.path / "unet" / UNET).read_bytes() == contents["lab/unet"][UNET]


@pytest.mark.parametrize("path", [VAE, "vae/config.json"])
def test_damaged_content_is_removed_and_said(hub, tmp_path, path):
    hub.corrupt.add(path)
    with pytest.raises(WeightsError, match="is damaged"):
        pull(_variant(), tmp_path, endpoint=hub.address)
    assert not list(tmp_path.rglob("*.partial"))
    assert not (tmp_path / "tiny" / path).exists()
    assert read_manifest(tmp_path / "tiny") is None

    hub.corrupt.clear()
    found = pull(_variant(), tmp_path, endpoint=hub.address)
    assert len([r for r in hub.gets(UNET) if "/content/" in r.path]) == 1  # was kept
    assert all(check.problem is None for check in verify(found.path))


def test_verify_names_the_damage_and_pull_repairs_it(hub, tmp_path, contents):
    folder = pull(_variant(), tmp_path, endpoint=hub.address).path
    flipped = bytearray(contents["lab/svd"][VAE])
    flipped[1000] ^= 1
    (folder / VAE).write_bytes(flipped)
    (folder / "vae/config.json").unlink()
    (folder / "unet/config.json").write_text("{}")

    problems = {check.path: check.problem for check in verify(folder)}
    assert problems == {
        f"unet/{UNET}": None,
        VAE: "differs from its recorded SHA-256",
        "vae/config.json": "is missing",
        "unet/config.json": "has 2 bytes, expected 9",
    }
    pull(_variant(), tmp_path, endpoint=hub.address)
    assert all(check.problem is None for check in verify(folder))
    assert (folder / VAE).read_bytes() == contents["lab/svd"][VAE]


def test_gated_repository_asks_for_the_licence_then_takes_a_token(hub, tmp_path):
    hub.gated.add("lab/svd")
    with pytest.raises(WeightsError, match=r"accept it at https://huggingface.co/lab/svd"):
        pull(_variant(), tmp_path, endpoint=hub.address)
    pull(_variant(), tmp_path, endpoint=hub.address, token="secret")
    assert any(request.authorised for request in hub.requests)
    assert not any(r.authorised for r in hub.requests if r.path.startswith("/content/"))


@pytest.mark.parametrize(
    ("file", "sentence"),
    [
        (HubFile("lab/none", REVISION, "a", "a"), "no repository lab/none"),
        (HubFile("lab/unet", REVISION, "none.json", "a"), "has no none.json at revision 01234567"),
        (HubFile("lab/unet", "f" * 40, "config.json", "a"), "has no config.json at revision fff"),
        (HubFile("lab/svd", REVISION, VAE, VAE, size=5), "another .* than the published"),
        (HubFile("lab/svd", REVISION, VAE, VAE, sha256="0" * 64), "another .* than the published"),
    ],
)
def test_what_the_hub_lacks_is_one_sentence(hub, tmp_path, file, sentence):
    with pytest.raises(WeightsError, match=sentence) as caught:
        pull(_variant(sources=(file,)), tmp_path, endpoint=hub.address)
    assert "\n" not in str(caught.value)


def test_unreachable_hub_is_one_sentence(tmp_path):
    with serve(FakeHub({})) as stopped:
        pass
    with pytest.raises(WeightsError, match="the connection to the hub failed") as caught:
        pull(_variant(), tmp_path, endpoint=stopped.address)
    assert "\n" not in str(caught.value)


def test_too_little_space_is_said_before_any_download(tmp_path):
    # A file announced with more bytes than any disk has.
    class Boundless(bytes):
        def __len__(self) -> int:
            return 1 << 60

    with serve(FakeHub({"lab/unet": {UNET: Boundless()}})) as hub:
        source = HubFile("lab/unet", REVISION, UNET, f"unet/{UNET}")
        with pytest.raises(WeightsError, match=r"needs 1152921504.6 GB"):
            pull(_variant(sources=(source,)), tmp_path, endpoint=hub.address)
        assert not hub.gets(UNET)


def test_shipped_model_cannot_be_pulled(tmp_path):
    with pytest.raises(WeightsError, match="shipped with the program"):
        pull(NANO, tmp_path)


def test_offline_mode_is_obeyed(hub, tmp_path, monkeypatch):
    with monkeypatch.context() as offline:
        offline.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        with pytest.raises(WeightsError, match="HF_HUB_OFFLINE is set"):
            pull(_variant(), tmp_path, endpoint=hub.address)
    assert not hub.requests

    pull(_variant(), tmp_path, endpoint=hub.address)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    pull(_variant(), tmp_path, endpoint=hub.address)


def test_two_pulls_at_once_do_not_mix(hub, tmp_path):
    from filelock import FileLock

    folder = tmp_path / "tiny"
    folder.mkdir()
    with (
        FileLock(folder / ".pull.lock"),
        pytest.raises(WeightsError, match="another process is pulling"),
    ):
        pull(_variant(), tmp_path, endpoint=hub.address)


def test_unreadable_manifest_is_one_sentence(tmp_path):
    (tmp_path / "depthcrafter.json").write_text(json.dumps({"files": 3}))
    with pytest.raises(WeightsError, match="cannot be read"):
        verify(tmp_path)
