"""Models and adapters go to a hub, and come back from it, by a real server."""

import shutil
from pathlib import Path

import pytest
from fake_hub import REVISION, FakeHub, serve, use

from depthcrafter_cli.models.manifest import write_manifest
from depthcrafter_cli.models.weights import find_weights

TINY = Path(__file__).parents[1] / "data" / "parity" / "tiny_model"


@pytest.fixture
def hub(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "secret")
    # Its own storage would want another server beside.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True, raising=False)
    with serve(FakeHub({}, revisions={REVISION, "main"})) as running:
        use(running, monkeypatch)
        yield running


@pytest.fixture
def root(monkeypatch, tmp_path):
    monkeypatch.setenv("DEPTHCRAFTER_WEIGHTS", str(tmp_path / "root"))
    return tmp_path / "root"


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "mine"
    shutil.copytree(TINY, folder)
    (folder / "README.md").write_text("A card.")
    write_manifest(folder, "mine", settings={"window": 12}, base="depthcrafter")
    return folder


def test_what_is_pushed_is_pulled(cli, hub, root, model):
    pushed = cli("weights", "push", model, "lab/mine")
    assert pushed.code == 0, pushed.err
    assert "non-commercial" in pushed.err and "weights pull lab/mine" in pushed.err
    assert hub.files["lab/mine"]["README.md"] == b"A card."

    pulled = cli("weights", "pull", "lab/mine")
    assert pulled.code == 0, pulled.err
    assert "non-commercial" in pulled.out
    found = find_weights("lab/mine")
    assert found.path == root / "lab/mine"
    assert (found.settings.window, found.spec.base) == (12, "depthcrafter")
    assert found.hashes() == find_weights(str(model)).hashes()
    assert cli("weights", "verify", "lab/mine").code == 0

    # Another version of it is another model, and is pulled as well.
    (model / "unet/config.json").write_text((model / "unet/config.json").read_text() + " ")
    write_manifest(model, "mine", settings={"window": 12}, base="depthcrafter")
    assert cli("weights", "push", model, "lab/mine").code == 0
    assert cli("weights", "pull", "lab/mine").code == 0
    assert find_weights("lab/mine").hashes() == find_weights(str(model)).hashes()


@pytest.mark.parametrize(
    ("spoil", "code", "says"),
    [
        (lambda model: (model / "README.md").unlink(), 4, "without a README.md"),
        (lambda model: (model / "vae/config.json").unlink(), 4, "vae/config.json"),
        (lambda model: (model / "unet/config.json").write_text("{}"), 4, "not as recorded"),
        (lambda model: (model / "depthcrafter.json").unlink(), 4, "depthcrafter.json"),
    ],
)
def test_half_a_model_is_not_pushed(cli, hub, model, spoil, code, says):
    spoil(model)
    pushed = cli("weights", "push", model, "lab/mine")
    assert (pushed.code, says in pushed.err) == (code, True), pushed.err
    assert "lab/mine" not in hub.files


def test_a_hub_that_refuses_or_is_away_is_a_sentence(cli, hub, model, monkeypatch):
    assert cli("weights", "push", model, "mine").code == 2
    monkeypatch.setenv("HF_TOKEN", "another")
    refused = cli("weights", "push", model, "lab/mine")
    assert refused.code == 4 and "401" in refused.err and "HF_TOKEN" in refused.err, refused.err
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    away = cli("weights", "push", model, "lab/mine", "--quiet")
    assert away.code == 4 and "check the name and the network" in away.err, away.err
    assert away.err.count("\n") == 1


def test_a_repository_without_a_manifest_is_refused(cli, hub, root):
    hub.files["lab/other"] = {"config.json": b"{}"}
    pulled = cli("weights", "pull", "lab/other")
    assert pulled.code == 4 and "depthcrafter.json" in pulled.err, pulled.err
    assert not list(root.rglob("*.json"))


def test_what_is_not_pulled_names_the_command(cli, root):
    missing = cli("weights", "path", "lab/none")
    assert missing.code == 4 and "weights pull lab/none" in missing.err, missing.err
