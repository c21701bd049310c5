"""Models as users of diffusers name them: folders, repositories, and a UNet of its own."""

import gc
import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
from fake_hub import FakeHub, serve, use

from depthcrafter_cli import DepthCrafterPipeline
from depthcrafter_cli.errors import OutputError, UsageError, WeightsError
from depthcrafter_cli.models.manifest import read_manifest, verify, write_manifest
from depthcrafter_cli.models.registry import (
    DEPTHCRAFTER_REPO,
    DEPTHCRAFTER_REVISION,
    SVD_REPO,
    SVD_REVISION,
)

FRAMES = np.random.default_rng(3).integers(0, 255, (3, 64, 64, 3), dtype=np.uint8)
UNET = "diffusion_pytorch_model.safetensors"


def depth(weights, **options):
    pipeline = DepthCrafterPipeline.from_pretrained(weights, device="cpu", **options)
    return pipeline(FRAMES, steps=1, window=2, overlap=1).disparity


@pytest.fixture(scope="module")
def expected(tiny_folder):
    return depth(tiny_folder)


def tree(folder: Path, *parts: str) -> dict[str, bytes]:
    """The files of some folders of a model, as a repository holds them."""
    files = [path for part in parts for path in (folder / part).rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture
def hub(tmp_path, tiny_folder, monkeypatch, root):
    """The tiny model as repositories: whole, in two parts, and by the names of the published."""
    whole = tree(tiny_folder, "unet", "vae", "image_encoder", "scheduler")
    unet = {name.removeprefix("unet/"): data for name, data in whole.items() if "unet" in name}
    rest = {name: data for name, data in whole.items() if "unet" not in name}
    half = {
        name.replace(".safetensors", ".fp16.safetensors"): data for name, data in rest.items()
    } | tree(tiny_folder, "feature_extractor") | {"model_index.json": b"{}"}  # fmt: skip
    files = {"me/whole": whole, "me/unet": unet, "me/rest": rest, "me/half": half}
    hub = FakeHub(
        {**files, DEPTHCRAFTER_REPO: unet, SVD_REPO: half},
        {"main", DEPTHCRAFTER_REVISION, SVD_REVISION},
    )
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_PROGRESS_BARS", True)
    with serve(hub):
        use(hub, monkeypatch)
        yield hub


@pytest.mark.parametrize(
    ("weights", "options"),
    [
        ("me/whole", {}),
        ("me/rest", {"unet": "me/unet"}),
        ("me/half", {"unet": "me/unet", "variant": "fp16"}),
        (DEPTHCRAFTER_REPO, {}),
        (SVD_REPO, {"unet": DEPTHCRAFTER_REPO, "variant": "fp16"}),  # as the reference program
    ],
)
def test_repositories_are_fetched_once_and_used_offline_after(hub, expected, weights, options):
    assert np.array_equal(depth(weights, **options), expected)
    asked = len(hub.requests)
    assert asked
    offline = depth(weights, local_files_only=True, **options)
    assert np.array_equal(offline, expected) and len(hub.requests) == asked


def test_what_cannot_be_had_of_a_repository_is_one_sentence(hub, monkeypatch):
    for weights, options, says in (
        ("me/nothing", {}, "me/nothing.*neither|me/nothing, which is no folder"),
        ("me/unet", {}, "scheduler"),
        ("me/whole", {"local_files_only": True}, "me/whole"),
        ("me/rest", {"unet": "nowhere"}, "nowhere"),
    ):
        with pytest.raises(WeightsError, match=says) as refusal:
            DepthCrafterPipeline.from_pretrained(weights, **options)
        assert "\n" not in str(refusal.value) and "--" not in str(refusal.value)
    with pytest.raises(UsageError, match="lacks the UNet"):
        DepthCrafterPipeline.from_pretrained(SVD_REPO)
    with pytest.raises(UsageError, match="`unet`"):
        DepthCrafterPipeline.from_pretrained(unet="me/unet")


def test_an_installed_model_is_meant_by_the_names_of_its_repositories(
    hub, expected, root, tiny_folder
):
    shutil.copytree(tiny_folder, root / "depthcrafter")
    for weights, options in (
        (DEPTHCRAFTER_REPO, {}),
        (SVD_REPO, {"unet": DEPTHCRAFTER_REPO}),
        ("depthcrafter", {}),
    ):
        assert np.array_equal(depth(weights, **options), expected)
    assert not hub.requests


@pytest.mark.parametrize("links", ["symbolic", "not followed", "hard", "none"])
def test_the_unet_may_lie_in_another_folder(tmp_path, tiny_folder, expected, links, monkeypatch):
    def refuse(*_):
        raise OSError("not here")

    make_link = Path.symlink_to

    def lead_nowhere(link, _place):
        make_link(link, "nowhere")

    if links != "symbolic":  # as on Windows
        made = lead_nowhere if links == "not followed" else refuse
        monkeypatch.setattr(Path, "symlink_to", made)
    if links == "none":
        monkeypatch.setattr("os.link", refuse)
    trained = shutil.copytree(tiny_folder, tmp_path / "trained")
    (trained / "vae" / UNET).unlink()
    shutil.rmtree(shutil.copytree(tiny_folder, tmp_path / "svd") / "unet")
    write_manifest(trained, "mine", settings={"max_res": 64}, base="nano")
    large = np.zeros((2, 128, 192, 3), np.uint8)
    for unet in (trained, str(trained / "unet")):
        pipeline = DepthCrafterPipeline.from_pretrained(tmp_path / "svd", unet=unet, device="cpu")
        found = pipeline(FRAMES, steps=1, window=2, overlap=1).disparity
        assert np.array_equal(found, expected)
        folder = pipeline._model.links
        assert folder.is_dir()
        if unet == trained:  # whose settings are those that suit the UNet
            assert pipeline(large, size="model", steps=1).disparity.shape[1:] == (64, 64)
        del pipeline
        gc.collect()
        assert not folder.exists()


def test_a_network_in_place_of_its_folder_is_refused(tiny, tiny_folder):
    with pytest.raises(UsageError, match="got a UNet as a model"):
        DepthCrafterPipeline.from_pretrained(tiny_folder, unet=tiny.unet)


def test_a_model_is_saved_as_one_folder_to_the_bit(tmp_path, tiny_folder, expected):
    shutil.copytree(tiny_folder, tmp_path / "svd")
    shutil.move(tmp_path / "svd" / "unet", tmp_path / "unet")
    pipeline = DepthCrafterPipeline.from_pretrained(
        tmp_path / "svd", unet=tmp_path / "unet", device="cpu"
    )
    saved = tmp_path / "saved"
    pipeline.save_pretrained(saved)
    assert np.array_equal(depth(saved), expected)
    assert not any(path.is_symlink() for path in saved.rglob("*"))
    assert all(check.problem is None for check in verify(saved))
    digest = hashlib.sha256((saved / "unet" / UNET).read_bytes()).hexdigest()
    assert read_manifest(saved).files[f"unet/{UNET}"].sha256 == digest
    with pytest.raises(OutputError, match="holds something"):
        pipeline.save_pretrained(saved)
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write"):
        pipeline.save_pretrained(tmp_path / "file" / "below")
    (tmp_path / "empty").mkdir()
    pipeline.save_pretrained(tmp_path / "empty")
    assert sorted(path.name for path in tmp_path.glob(".*")) == []
    shipped = tmp_path / "nano"
    DepthCrafterPipeline.from_pretrained("nano").save_pretrained(shipped)
    assert read_manifest(shipped).settings["max_res"] == 256
    with pytest.raises(UsageError, match="no weights"):
        DepthCrafterPipeline.from_pretrained(method="trivial-mean").save_pretrained(tmp_path / "x")
