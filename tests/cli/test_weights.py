"""``depthcrafter weights`` as users run it, against a real server."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import USERS_DATA
from fake_hub import REVISION, FakeHub, serve, use

from depthcrafter_cli import disk
from depthcrafter_cli.models import weights
from depthcrafter_cli.models.manifest import write_manifest
from depthcrafter_cli.models.registry import DEPTHCRAFTER, MODELS, HubFile

TINY = Path(__file__).parents[1] / "data" / "parity" / "tiny_model"


@pytest.fixture
def hub(monkeypatch) -> Iterator[FakeHub]:
    """A hub with the tiny model, which the registry knows as ``tiny``."""
    names = sorted(path.relative_to(TINY).as_posix() for path in TINY.glob("*/*"))
    tree = {name: (TINY / name).read_bytes() for name in names}
    sources = tuple(HubFile("lab/tiny", REVISION, name, name) for name in names)
    tiny = replace(DEPTHCRAFTER, name="tiny", sources=sources)
    monkeypatch.setitem(MODELS, "tiny", tiny)
    with serve(FakeHub({"lab/tiny": tree})) as running:
        use(running, monkeypatch)
        yield running


def test_a_proxy_that_cannot_be_used_is_a_sentence(tmp_path):
    odd = {**os.environ, "ALL_PROXY": "socks://127.0.0.1:9", "HF_HUB_OFFLINE": "0"}
    command = [sys.executable, "-m", "depthcrafter_cli", "weights", "pull", "--to", tmp_path]
    done = subprocess.run(command, env=odd, capture_output=True, text=True)
    assert done.returncode == 4 and "ALL_PROXY" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:99999", "http://[::1"])
def test_an_address_of_the_hub_that_makes_no_sense_is_a_sentence(tmp_path, endpoint):
    odd = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": "0"}
    command = [sys.executable, "-m", "depthcrafter_cli", "weights", "pull", "--to", tmp_path]
    done = subprocess.run(command, env=odd, capture_output=True, text=True)
    assert done.returncode == 4 and "check" in done.stderr and "HF_ENDPOINT" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_fails_is_an_event_as_well(cli, root):
    failed = cli("weights", "verify", "nosuch", "--json")
    event = json.loads(failed.out)
    assert (failed.code, event["event"], event["exit_code"]) == (4, "error", 4)
    assert "'nosuch' is neither" in event["message"]


def test_output_that_cannot_be_written_is_a_sentence(tmp_path):
    command = [sys.executable, "-m", "depthcrafter_cli", "weights", "verify", "nano"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 6 and "No space left" in done.stderr
    assert "Traceback" not in done.stderr


def test_brackets_in_paths_are_shown(cli, root, hub, monkeypatch):
    home = root.with_name("[models]")
    monkeypatch.setenv("DEPTHCRAFTER_WEIGHTS", str(home))
    monkeypatch.setenv("COLUMNS", "400")
    assert cli("weights", "pull", "tiny", "--quiet").code == 0
    assert str(home / "tiny") in cli("weights", "list").out


def test_named_weights_need_no_home(root, monkeypatch):
    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv(USERS_DATA)
    monkeypatch.setattr(Path, "home", nowhere)
    assert weights.weights_roots()[0] == root


def test_pull_list_path_verify(cli, hub, root, monkeypatch):
    pulled = cli("weights", "pull", "tiny")
    assert pulled.code == 0, pulled.err
    assert "non-commercial" in pulled.out
    assert "https://huggingface.co/tencent/DepthCrafter" in pulled.out
    assert str(root / "tiny") in pulled.out

    # From here on nothing may ask the network.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert cli("weights", "path", "tiny").out == f"{root / 'tiny'}\n"
    rows = {row["name"]: row for row in json.loads(cli("weights", "list", "--json").out)}
    assert rows["tiny"]["path"] == str(root / "tiny")
    assert rows["depthcrafter"]["path"] is None
    assert rows["depthcrafter"]["non_commercial"]
    assert "depthcrafter weights pull" in cli("weights", "list").out
    assert cli("weights", "verify", "tiny").code == 0

    (root / "tiny/unet/config.json").write_text("{}")
    verified = cli("weights", "verify", "tiny")
    assert verified.code == 4
    assert "unet/config.json: has 2 bytes" in verified.out
    assert "depthcrafter weights pull tiny" in verified.err


@pytest.mark.skipif(disk.WINDOWS, reason="no process of Windows interrupts another by a signal")
def test_an_interrupted_pull_says_how_it_goes_on(hub, root, tmp_path):
    shutil.copytree(TINY, tmp_path / "tiny")
    write_manifest(tmp_path / "tiny", "tiny")
    hub.files["lab/tiny"]["depthcrafter.json"] = (tmp_path / "tiny/depthcrafter.json").read_bytes()
    hub.revisions.add("main")
    hub.bytes_per_second = 1e6
    command = [sys.executable, "-m", "depthcrafter_cli", "weights", "pull", "lab/tiny"]
    variables = {**os.environ, "HF_ENDPOINT": hub.address, "HF_HUB_OFFLINE": "0"}
    pulling = subprocess.Popen(command, env=variables, stderr=subprocess.PIPE, text=True)
    while not any(part.stat().st_size for part in root.rglob("unet/diffusion*.partial")):
        assert pulling.poll() is None
        time.sleep(0.01)
    pulling.send_signal(signal.SIGINT)
    said = pulling.communicate()[1]
    assert pulling.returncode == 130
    assert "what is finished is kept. Go on with: the same command." in said
    hub.bytes_per_second = None
    assert subprocess.run(command, env=variables, check=False).returncode == 0
    assert any(request.range for request in hub.requests)


def test_pull_as_json_is_one_event_a_line(cli, hub, root):
    events = [
        json.loads(line) for line in cli("weights", "pull", "tiny", "--json").out.splitlines()
    ]
    assert events[0]["event"] == "licence"
    last = events[-1]
    assert (last["event"], last["model"], last["path"]) == ("done", "tiny", str(root / "tiny"))
    assert last["outputs"] == [last["path"]] and last["seconds"] > 0
    last = [event for event in events if event["event"] == "progress"][-1]
    assert last["done"] == last["total"] > 8_000_000


def test_published_pull_refuses_other_files(cli, hub, root):
    for file in DEPTHCRAFTER.sources:
        hub.files.setdefault(file.repo, {})[file.path] = b"something else"
    hub.revisions |= {file.revision for file in DEPTHCRAFTER.sources}
    pulled = cli("weights", "pull", "depthcrafter")
    assert pulled.code == 4
    assert "the hub offers another vae/diffusion_pytorch_model.fp16.safetensors" in pulled.err
    assert not list(root.rglob("*.safetensors"))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("path",), "depthcrafter weights pull depthcrafter"),
        (("path", "depthcrafter"), "depthcrafter weights pull depthcrafter"),
        (("verify", "nowhere"), "neither a model"),
        (("pull", "nowhere"), "expected one of depthcrafter, nano"),
        (("pull", "nano"), "shipped with the program"),
    ],
)
def test_what_is_missing_is_one_sentence(cli, root, arguments, sentence):
    ended = cli("weights", *arguments)
    assert ended.code == 4
    assert sentence in ended.err
    assert len(ended.err.splitlines()) == 1
