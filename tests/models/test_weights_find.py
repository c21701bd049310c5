"""Which model folder is used, and what is said when there is none."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from depthcrafter_cli.errors import WeightsError
from depthcrafter_cli.models.layout import missing_files
from depthcrafter_cli.models.manifest import (
    MANIFEST_NAME,
    FileRecord,
    _sample_as_of,
    _sha256_as_of,
    file_hashes,
    sha256_of,
    verify,
    write_manifest,
)
from depthcrafter_cli.models.registry import (
    DEPTHCRAFTER,
    MODELS,
    NANO,
    ModelSettings,
    base_of,
    licence_notice,
)
from depthcrafter_cli.models.weights import find_weights, pull_root, weights_roots

TINY = Path(__file__).parents[1] / "data" / "parity" / "tiny_model"


def _install(folder: Path) -> Path:
    """A complete model folder, small enough to copy; only its file names matter here."""
    for name in (
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/config.json",
        "vae/diffusion_pytorch_model.fp16.safetensors",
        "image_encoder/config.json",
        "image_encoder/model.fp16.safetensors",
        "scheduler/scheduler_config.json",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def test_published_weights_come_before_nano(root):
    _install(root / "nano")
    assert find_weights().spec is NANO
    published = _install(root / "depthcrafter")
    found = find_weights()
    assert (found.path, found.spec) == (published, DEPTHCRAFTER)
    assert find_weights("nano").path == root / "nano"


def test_incomplete_published_weights_are_passed_over_and_named(root):
    _install(root / "nano")
    _install(root / "depthcrafter")
    (root / "depthcrafter/unet/diffusion_pytorch_model.safetensors").unlink()
    assert find_weights().spec is NANO
    with pytest.raises(WeightsError, match=r"lacks unet/diffusion_pytorch_model\.safetensors") as e:
        find_weights("depthcrafter")
    assert "depthcrafter weights pull depthcrafter" in str(e.value)


def test_what_a_killed_pull_left_before_its_first_byte_counts_for_nothing(root):
    (root / "depthcrafter" / "unet").mkdir(parents=True)
    (root / "depthcrafter" / ".pull.lock").touch()
    with pytest.raises(WeightsError, match=r"not on this machine.*weights pull depthcrafter"):
        find_weights("depthcrafter")
    (root / "depthcrafter" / "unet" / "config.json.0123456789ab.partial").touch()
    with pytest.raises(WeightsError, match=r"finish the download with: depthcrafter weights pull"):
        find_weights("depthcrafter")


@pytest.mark.parametrize("name", [None, "depthcrafter", "nano", "no/such/folder"])
def test_missing_weights_name_the_command(root, name):
    with pytest.raises(WeightsError, match="depthcrafter weights pull depthcrafter") as caught:
        find_weights(name)
    assert caught.value.exit_code == 4
    assert "\n" not in str(caught.value)


def test_roots_are_searched_in_order(root, tmp_path, monkeypatch):
    (tmp_path / "site" / "weights").mkdir(parents=True)
    (tmp_path / "site" / "pyproject.toml").touch()
    places = weights_roots()
    assert places[:2] == [root, tmp_path / "site" / "weights"]
    assert places[-1] == tmp_path / "site" / "depthcrafter_cli" / "_weights"
    for place in reversed(places):
        installed = _install(place / "nano")
        assert find_weights("nano").path == installed
    assert pull_root() == root
    monkeypatch.delenv("DEPTHCRAFTER_WEIGHTS")
    assert pull_root() == tmp_path / "site" / "weights"


def test_folder_of_ones_own_takes_published_settings(root, tmp_path):
    folder = _install(tmp_path / "mine")
    found = find_weights(str(folder))
    assert (found.spec.name, found.spec.title) == ("custom", "mine")
    assert found.settings == ModelSettings(window=110, overlap=25, steps=5, max_res=1024)
    assert found.spec.licences == ()


def test_weights_trained_on_from_others_keep_their_licences(root, tmp_path):
    folder = _install(tmp_path / "mine")
    for base, licences in (("depthcrafter", DEPTHCRAFTER.licences), ("nano", NANO.licences)):
        write_manifest(folder, "fine-tune", base=base)
        spec = find_weights(str(folder)).spec
        assert (spec.name, spec.licences) == ("custom", licences)
        assert spec.non_commercial == (base == "depthcrafter")
        write_manifest(folder, "again", base=base_of(spec))
        assert find_weights(str(folder)).spec.licences == licences
    write_manifest(folder, "nano", base="depthcrafter")  # a recipe may be called nano.toml
    assert find_weights(str(folder)).spec.non_commercial
    write_manifest(folder, base)
    assert base_of(find_weights(str(folder)).spec) == base


def test_manifest_says_which_settings_suit_a_folder(root, tmp_path):
    folder = _install(tmp_path / "mine")
    write_manifest(folder, "nano")
    assert find_weights(str(folder)).spec is NANO
    write_manifest(folder, "my-own", settings={"max_res": 256, "window": 16, "overlap": 4})
    found = find_weights(str(folder))
    assert found.spec.name == "custom"
    assert found.settings == ModelSettings(max_res=256, window=16, overlap=4, steps=5)
    for settings, said in (({"colour": 3}, "sets colour"), ({"max_res": -5}, "max_res to -5")):
        write_manifest(folder, "nano", settings=settings)
        with pytest.raises(WeightsError, match=said):
            find_weights(str(folder))


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "", "a\0b"])
def test_a_manifest_names_no_file_outside_its_folder(tmp_path, name):
    write_manifest(tmp_path, "nano", files={name: FileRecord(1, "0" * 64)})
    with pytest.raises(WeightsError, match="no file of its folder"):
        verify(tmp_path)


def test_name_means_the_model_and_a_path_the_folder(root, tmp_path, monkeypatch):
    installed = _install(root / "nano")
    other = _install(tmp_path / "cwd" / "nano")
    monkeypatch.chdir(other.parent)
    assert find_weights("nano").path == installed
    assert find_weights("./nano").path.resolve() == other.resolve()


def test_folder_in_another_layout_is_refused_with_what_it_lacks(root, tmp_path):
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "model.safetensors").touch()
    with pytest.raises(WeightsError, match=r"lacks image_encoder/config\.json"):
        find_weights(str(tmp_path / "flat"))


def test_hashes_of_a_run_record(root, tmp_path):
    folder = Path(shutil.copytree(TINY, tmp_path / "model"))
    computed = file_hashes(folder)
    assert computed["scheduler/scheduler_config.json"] == sha256_of(
        TINY / "scheduler/scheduler_config.json"
    )
    assert {"unet/diffusion_pytorch_model.safetensors", "vae/config.json"} <= computed.keys()
    write_manifest(folder, "nano")
    assert find_weights(str(folder)).hashes() == computed
    assert [check.problem for check in verify(folder)] == [None] * len(computed)
    (folder / "unet/config.json").write_text("{}")
    assert file_hashes(folder)["unet/config.json"] == sha256_of(folder / "unet/config.json")


def test_weights_put_in_the_place_of_others_are_told_apart_though_as_large(tmp_path):
    folder = Path(shutil.copytree(TINY, tmp_path / "model"))
    write_manifest(folder, "nano")
    name = "unet/diffusion_pytorch_model.safetensors"
    before, manifest = file_hashes(folder), (folder / MANIFEST_NAME).stat().st_mtime_ns
    data = bytearray((folder / name).read_bytes())
    data[-1] ^= 1
    (folder / name).write_bytes(data)
    # The next time that NTFS can tell.
    os.utime(folder / name, ns=(manifest + 100, manifest + 100))
    after = file_hashes(folder)
    assert after[name] == sha256_of(folder / name) != before[name]
    assert {**after, name: before[name]} == before


def _flip(path: Path, offset: int) -> None:
    """As a failing disk does: the content changes, the date does not; read by a new process."""
    status, data = path.stat(), bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    _sha256_as_of.cache_clear()
    _sample_as_of.cache_clear()


@pytest.fixture
def sampled(tmp_path, monkeypatch):
    """A model with a file that is known by samples alone; its folder and that file."""
    monkeypatch.setattr("depthcrafter_cli.models.manifest._WHOLE_BYTES", 8 << 20)
    folder = Path(shutil.copytree(TINY, tmp_path / "model"))
    large = folder / "unet/diffusion_pytorch_model.safetensors"
    large.write_bytes(bytes(64 << 16) + bytes(16_000_000))
    write_manifest(folder, "nano")
    return folder, large


@pytest.mark.parametrize("offset", [0, 30 * 65_536 + 16_000_000 * 30 // 63 + 7, -1])
def test_a_bit_that_flipped_in_a_sampled_block_is_found(sampled, offset):
    folder, large = sampled
    before = file_hashes(folder)
    _flip(large, offset)
    with pytest.raises(WeightsError, match=r"has changed .* though its date has not"):
        file_hashes(folder)
    assert [check.path for check in verify(folder) if check.problem] == [
        "unet/diffusion_pytorch_model.safetensors"
    ]
    _flip(large, offset)
    assert file_hashes(folder) == before


def test_a_bit_that_flipped_anywhere_in_a_small_file_is_found(tmp_path):
    folder = Path(shutil.copytree(TINY, tmp_path / "model"))
    write_manifest(folder, "nano")
    weights = folder / "unet/diffusion_pytorch_model.safetensors"
    _flip(weights, 100_000)  # between the samples
    with pytest.raises(WeightsError, match="though its date has not"):
        file_hashes(folder)


def test_a_folder_in_the_place_of_a_file_is_a_sentence(tmp_path):
    folder = Path(shutil.copytree(TINY, tmp_path / "model"))
    write_manifest(folder, "nano")
    config = folder / "feature_extractor/preprocessor_config.json"
    config.unlink()
    config.mkdir()
    with pytest.raises(WeightsError, match=r"preprocessor_config\.json cannot be read"):
        file_hashes(folder)


def test_only_whole_reading_finds_a_bit_between_the_samples_of_a_large_file(sampled):
    folder, large = sampled
    before = file_hashes(folder)
    _flip(large, 200_000)
    assert file_hashes(folder) == before and any(check.problem for check in verify(folder))
    large.touch()
    assert file_hashes(folder) != before


def test_a_manifest_without_samples_is_not_believed(tmp_path):
    folder = Path(shutil.copytree(TINY, tmp_path / "model"))
    manifest = write_manifest(folder, "nano")
    records = {name: replace(record, sample="") for name, record in manifest.files.items()}
    write_manifest(folder, "nano", files=records)
    assert file_hashes(folder) == {name: record.sha256 for name, record in records.items()}
    _flip(folder / "vae/diffusion_pytorch_model.safetensors", 1_000_000)
    with pytest.raises(WeightsError, match="though its date has not"):
        file_hashes(folder)


def test_published_files_make_a_complete_folder(tmp_path):
    for file in DEPTHCRAFTER.sources:
        path = tmp_path / file.target
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        assert len(file.revision) == 40
    assert missing_files(tmp_path) == []
    assert not any(file.target.startswith(("/", "..")) for file in DEPTHCRAFTER.sources)


def test_licence_notice_says_non_commercial():
    notice = licence_notice(DEPTHCRAFTER)
    assert "https://huggingface.co/tencent/DepthCrafter" in notice
    assert "Stable Video Diffusion Research License" in notice
    assert "non-commercial" in notice
    assert "non-commercial" not in licence_notice(NANO)


def test_registry_names_are_its_keys():
    assert all(name == spec.name for name, spec in MODELS.items())


def test_finding_weights_loads_no_torch():
    script = (
        "import sys, depthcrafter_cli.models.weights, depthcrafter_cli.models.download\n"
        "heavy = {'torch', 'diffusers', 'transformers', 'huggingface_hub'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=dict(os.environ)
    )
    assert done.stdout.strip() == "[]", done.stderr
