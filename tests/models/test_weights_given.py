"""Installing weights that were copied by hand: what is taken, and what is refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from depthcrafter_cli.errors import WeightsError
from depthcrafter_cli.models.download import pull
from depthcrafter_cli.models.manifest import sha256_of, verify
from depthcrafter_cli.models.registry import DEPTHCRAFTER, MODELS, HubFile, ModelSpec

TINY = Path(__file__).parents[1] / "data" / "parity" / "tiny_model"
REVISION = "0" * 40
UNET, VAE = "diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.safetensors"
SVD = (
    "vae/config.json", VAE, "image_encoder/config.json", "image_encoder/model.safetensors",
    "scheduler/scheduler_config.json",
)  # fmt: skip


@pytest.fixture
def spec(monkeypatch) -> ModelSpec:
    """As the published one: the UNet in its own repository and not pinned, the rest pinned."""
    kind = json.loads((TINY / "unet/config.json").read_text())["_class_name"]
    pinned = [(name, (TINY / name).stat().st_size, sha256_of(TINY / name)) for name in SVD]
    sources = (
        HubFile("lab/unet", REVISION, "config.json", "unet/config.json", class_name=kind),
        HubFile("lab/unet", REVISION, UNET, f"unet/{UNET}"),
        *(HubFile("lab/svd", REVISION, name, name, size, sha) for name, size, sha in pinned),
    )
    tiny = replace(DEPTHCRAFTER, name="tiny", sources=sources)
    monkeypatch.setitem(MODELS, "tiny", tiny)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tiny


def _as_cache(folder: Path) -> Path:
    """The cache of huggingface_hub: links from names to blobs."""
    for repo, name in (("unet", "config.json"), ("unet", UNET), *(("svd", name) for name in SVD)):
        blob = folder / f"models--lab--{repo}" / "blobs" / sha256_of(_tiny(repo, name))
        link = folder / f"models--lab--{repo}" / "snapshots" / REVISION / name
        for place in (blob, link):
            place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(_tiny(repo, name), blob)
        link.symlink_to(blob)
    return folder


def _tiny(repo: str, name: str) -> Path:
    return TINY / "unet" / name if repo == "unet" else TINY / name


def _as_files(folder: Path) -> list[Path]:
    """All files in one folder, named as they were downloaded by a browser."""
    folder.mkdir()
    names = ["unet/config.json", f"unet/{UNET}", *SVD]
    given = []
    for index, name in enumerate(names):
        copy = folder / str(index) / Path(name).name
        if index > 1:  # pinned ones are known whatever they are called
            copy = folder / f"download ({index}){copy.suffix}"
        copy.parent.mkdir(exist_ok=True)
        shutil.copyfile(TINY / name, copy)
        given.append(copy)
    return given


def _check(folder: Path) -> None:
    checks = verify(folder)
    assert len(checks) == 7 and not any(check.problem for check in checks)
    assert not any(path.is_symlink() for path in folder.rglob("*"))
    assert not list(folder.rglob("*.partial")) and not (folder / ".pull.lock").exists()


def test_a_folder_of_another_machine_is_installed(spec, tmp_path):
    other = Path(shutil.copytree(TINY, tmp_path / "stick"))
    folder = pull(spec, tmp_path / "root", given=[other]).path
    _check(folder)
    shutil.rmtree(other)  # nothing is shared with what was given
    _check(folder)
    assert pull(spec, tmp_path / "root").path == folder  # and nothing is left to pull


def test_a_cache_of_huggingface_hub_is_installed(spec, tmp_path):
    _check(pull(spec, tmp_path / "root", given=[_as_cache(tmp_path / "hub")]).path)


def test_single_files_are_installed_and_what_was_not_pinned_is_said(spec, tmp_path):
    told: list[str] = []
    given = _as_files(tmp_path / "files")
    _check(pull(spec, tmp_path / "root", warn=told.append, given=given).path)
    assert [sha256_of(TINY / "unet" / UNET) in sentence for sentence in told] == [False, True]


def test_what_lies_there_already_need_not_be_given(spec, tmp_path):
    given = _as_files(tmp_path / "files")
    place = tmp_path / "root" / "tiny" / VAE
    place.parent.mkdir(parents=True)
    shutil.copyfile(TINY / VAE, place)
    _check(pull(spec, tmp_path / "root", given=[*given[:3], *given[4:]]).path)


def _refused(spec: ModelSpec, root: Path, *given: Path) -> str:
    with pytest.raises(WeightsError) as caught:
        pull(spec, root, given=given)
    assert not root.exists() or list(root.iterdir()) == []
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_lacking_is_named(spec, tmp_path):
    other = Path(shutil.copytree(TINY, tmp_path / "stick"))
    (other / VAE).unlink()
    (other / "unet/config.json").unlink()
    told = _refused(spec, tmp_path / "root", other)
    assert f"lacks unet/config.json, {VAE}, expected all 7 files" in told


def test_files_of_another_model_are_refused_by_name(spec, tmp_path):
    other = Path(shutil.copytree(TINY, tmp_path / "stick"))
    config = json.loads((other / "unet/config.json").read_text())
    config["_class_name"] = "UNetSpatioTemporalConditionModel"
    (other / "unet/config.json").write_text(json.dumps(config))
    data = bytearray((other / VAE).read_bytes())
    data[-1] ^= 1
    (other / VAE).write_bytes(data)
    (other / "unet" / UNET).write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    (other / "scheduler/scheduler_config.json").write_text("{}")
    told = _refused(spec, tmp_path / "root", other)
    assert "it describes a UNetSpatioTemporalConditionModel" in told
    assert f"{VAE} has another SHA-256" in told
    assert "no whole safetensors file" in told
    assert "scheduler_config.json has 2 bytes, expected" in told


def test_paths_with_nothing_there_are_named(spec, tmp_path):
    assert "there is no" in _refused(spec, tmp_path / "root", tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "lacks unet/config.json" in _refused(spec, tmp_path / "root", tmp_path / "empty")


def test_the_command_takes_folders_and_files_and_prints_the_licence(spec, tmp_path, cli):
    given = _as_files(tmp_path / "files")
    for index, files in enumerate(([given[0].parent.parent], given)):
        root = tmp_path / f"root{index}"
        done = cli("weights", "pull", "tiny", "--to", root, "--from", *files)
        assert done.code == 0, done.err
        assert "non-commercial" in done.out and "complete and checked" in done.err
        assert "recorded" in done.err
        _check(root / "tiny")
    stray = cli("weights", "pull", "tiny", given[0])
    assert stray.code == 2 and "--from" in stray.err
