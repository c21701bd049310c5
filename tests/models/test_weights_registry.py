"""A model is one entry of the registry: all commands then know it, with its weights or without."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_hub import REVISION, FakeHub, serve, use

from depthcrafter_cli.models.registry import MODELS, HubFile, ModelSpec

TINY = Path(__file__).parents[1] / "data" / "parity" / "tiny_model"


@pytest.fixture
def hub(monkeypatch) -> Iterator[FakeHub]:
    """A hub with the tiny model."""
    names = [path.relative_to(TINY).as_posix() for path in sorted(TINY.glob("*/*"))]
    with serve(FakeHub({"lab/tiny": {name: (TINY / name).read_bytes() for name in names}})) as hub:
        use(hub, monkeypatch)
        yield hub


@pytest.fixture
def micro(monkeypatch, hub) -> ModelSpec:
    """A third model, as a contributor would enter it."""
    spec = ModelSpec(
        name="micro",
        title="Micro",
        description="A model of this test.",
        licences=MODELS["nano"].licences,
        sources=tuple(
            HubFile("lab/tiny", REVISION, name, name) for name in sorted(hub.files["lab/tiny"])
        ),
        download_bytes=1_000_000,
        configs=TINY,
        advice="For tests alone.",
    )
    monkeypatch.setitem(MODELS, "micro", spec)
    return spec


def test_a_new_model_is_one_entry(cli, root, clip, micro, tmp_path):
    out, planned = tmp_path / "d.npz", ("plan", clip, "--weights", "micro", "--device", "cpu")
    before = cli(*planned, "--json")
    assert before.code == 0, before.err
    assert json.loads(before.out.splitlines()[-1])["model"] == "micro"
    missing = cli("run", clip, "--out", out, "--weights", "micro", "--device", "cpu")
    assert missing.code == 4 and "depthcrafter weights pull micro" in missing.err
    assert "micro" in cli("weights", "list").out
    assert cli("weights", "pull", "micro").code == 0
    settings = ["--steps", 1, "--window", 6, "--overlap", 2, "--decode-chunk", 3]
    done = cli("run", clip, "--out", out, "--weights", "micro", "--device", "cpu", *settings)
    assert done.code == 0, done.err
    assert "Micro: A model of this test." in done.err and "For tests alone." in done.err
    record = json.loads((tmp_path / "d.npz.json").read_text())
    assert record["model"] == "micro" and not record["non_commercial"]
    # With no other model here it is also what a run takes that names none.
    assert cli("weights", "path").out.strip() == str(root / "micro")


def test_the_registry_holds_no_setting_of_a_model():
    """Each stands in the manifest of the model's folder, where it cannot be contradicted."""
    fields = set(ModelSpec.__dataclass_fields__)
    assert fields.isdisjoint({"max_res", "window", "overlap", "steps", "multiple"})
