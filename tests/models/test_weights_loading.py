"""Loading model folders: layouts, precisions, and what is said of folders that do not fit."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from depthcrafter_cli.errors import UsageError, WeightsError
from depthcrafter_cli.models import loading
from depthcrafter_cli.models.components import Components
from depthcrafter_cli.models.devices import pick_device, pick_dtype
from depthcrafter_cli.models.loading import load_components

TINY = Path(__file__).parents[1] / "data" / "parity" / "tiny_model"
CPU = torch.device("cpu")
FILES = {
    "unet": "diffusion_pytorch_model.safetensors",
    "vae": "diffusion_pytorch_model.safetensors",
    "image_encoder": "model.safetensors",
}


@pytest.fixture
def model(tmp_path) -> Path:
    """A copy of the tiny model that a test may damage."""
    return Path(shutil.copytree(TINY, tmp_path / "model"))


def _load(folder: Path, dtype: torch.dtype = torch.float32) -> Components:
    return load_components(folder, device=CPU, dtype=dtype)


def _networks(components: Components) -> dict[str, torch.nn.Module]:
    return {name: getattr(components, name) for name in FILES}


def _edit_json(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _edit_tensors(path: Path, edit) -> None:
    tensors = {key: tensor.clone() for key, tensor in load_file(path).items()}
    edit(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def test_every_tensor_is_that_of_the_file(tiny):
    for name, network in _networks(tiny).items():
        written, loaded = load_file(TINY / name / FILES[name]), network.state_dict()
        assert written.keys() == loaded.keys()
        assert all(torch.equal(written[key], loaded[key]) for key in written)
        assert not network.training
        assert not any(parameter.requires_grad for parameter in network.parameters())
        assert all(buffer.device == CPU for buffer in network.buffers())


def test_half_precision_keeps_the_vae_encoder_in_float32():
    components = _load(TINY, torch.bfloat16)
    dtypes = {key: tensor.dtype for key, tensor in components.vae.state_dict().items()}
    for key, dtype in dtypes.items():
        encodes = key.startswith(("encoder.", "quant_conv."))
        assert dtype == (torch.float32 if encodes else torch.bfloat16), key
    for network in (components.unet, components.image_encoder):
        assert {tensor.dtype for tensor in network.state_dict().values()} == {torch.bfloat16}


def test_fp16_files_shards_and_foreign_config_keys_load(model):
    for name, file in FILES.items():
        tensors = {key: value.half() for key, value in load_file(model / name / file).items()}
        (model / name / file).unlink()
        stem = file.removesuffix(".safetensors")
        halves = sorted(tensors)[::2], sorted(tensors)[1::2]
        for number, keys in enumerate(halves, 1):
            shard = f"{stem}.fp16-0000{number}-of-00002.safetensors"
            save_file({key: tensors[key] for key in keys}, model / name / shard)
    _edit_json(model / "unet/config.json", _class_name="SomeoneElsesUNet", invented=3)
    _edit_json(model / "vae/config.json", force_upcast=False)
    for name, network in _networks(_load(model, torch.float16)).items():
        published = load_file(TINY / name / FILES[name])
        for key, tensor in network.state_dict().items():
            assert torch.equal(tensor, published[key].half()), key


def test_mapping_is_renewed_without_changing_a_tensor(monkeypatch):
    path = TINY / "image_encoder" / FILES["image_encoder"]
    size = path.stat().st_size
    monkeypatch.setattr(loading, "_MAPPED_BYTES", size // 5)
    streamed, whole = dict(loading._stream(path)), load_file(path)
    assert streamed.keys() == whole.keys()
    assert all(torch.equal(streamed[key], whole[key]) for key in whole)


def test_files_of_the_wrong_architecture_are_named(model):
    def edit(tensors):
        del tensors["conv_in.bias"]
        tensors["extra.weight"] = torch.zeros(1)
        tensors["conv_out.bias"] = torch.zeros(7)

    _edit_tensors(model / "unet" / FILES["unet"], edit)
    with pytest.raises(WeightsError) as caught:
        _load(model)
    for fault in (
        "1 missing (conv_in.bias)",
        "1 unexpected (extra.weight)",
        "1 of another shape (conv_out.bias)",
    ):
        assert fault in str(caught.value)


@pytest.mark.parametrize(
    ("file", "changes", "sentence"),
    [
        ("scheduler/scheduler_config.json", {"prediction_type": "epsilon"}, "'v_prediction'"),
        ("scheduler/scheduler_config.json", {"use_karras_sigmas": False}, "use_karras_sigmas"),
        ("scheduler/scheduler_config.json", {"sigma_max": 80.0}, "sigma_max = 80.0"),
        ("unet/config.json", {"in_channels": 4}, "in_channels = 4"),
        ("unet/config.json", {"out_channels": 8}, "out_channels = 8"),
        ("unet/config.json", {"cross_attention_dim": 64}, "cross_attention_dim = 64"),
        ("vae/config.json", {"latent_channels": 16}, "in_channels = 8 .* expected 32"),
    ],
)
def test_configs_of_another_algorithm_are_refused(model, file, changes, sentence):
    _edit_json(model / file, **changes)
    with pytest.raises(WeightsError, match=sentence):
        _load(model)


def test_cut_off_file_is_one_sentence(model):
    path = model / "unet" / FILES["unet"]
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(WeightsError, match="cannot be read"):
        _load(model)


def test_damaged_config_is_one_sentence(model):
    (model / "unet/config.json").write_text("{")
    with pytest.raises(WeightsError, match="expected JSON"):
        _load(model)


def test_pickled_weights_are_refused(model):
    path = model / "unet" / FILES["unet"]
    torch.save(load_file(path), path.with_suffix(".bin"))
    path.unlink()
    with pytest.raises(WeightsError, match="pickled weights"):
        _load(model)


def test_device_and_dtype_names():
    assert pick_device("cpu") == CPU
    assert pick_device("auto").type in ("cuda", "mps", "cpu")
    assert pick_dtype("auto", CPU) == torch.float32
    assert pick_dtype("auto", torch.device("cuda")) == torch.float16
    assert pick_dtype("bf16", CPU) == torch.bfloat16
    for name in ("cuda:99", "tpu", "meta"):
        with pytest.raises(UsageError):
            pick_device(name)
    with pytest.raises(UsageError):
        pick_dtype("float12", CPU)
