"""What is no number is never delivered as depth, nor kept to go on from."""

import shutil

import pytest
from safetensors.torch import load_file, save_file

from depthcrafter_cli.models.layout import weight_files


def changed(folder, tmp_path, network: str, name: str, change):
    """The tiny model with other values in one of its tensors."""
    copy = tmp_path / "model"
    shutil.copytree(folder, copy)
    (path,) = weight_files(copy, network)
    tensors = load_file(path)
    tensors[name] = change(tensors[name])
    save_file(tensors, path)
    return copy


def large(most: float):
    """Weights as large as ``most``, which are numbers, and whose products are none."""
    return lambda weight: weight / weight.abs().max() * most


@pytest.mark.parametrize(
    ("network", "name", "where"),
    [
        ("vae", "decoder.time_conv_out.weight", "in decoding"),
        ("unet", "conv_out.weight", "in step 1"),
    ],
)
def test_infinite_values_in_float32_are_an_error_of_the_weights(
    cli, clip, tiny_folder, tmp_path, network, name, where
):
    model, out = changed(tiny_folder, tmp_path, network, name, large(3e38)), tmp_path / "depth.npz"
    done = cli("run", clip, "--out", out, "--weights", model, "--steps", 3)
    assert done.code == 4 and where in done.err and "weights verify" in done.err
    assert not out.exists()
    if network == "unet":
        assert not (tmp_path / "depth.npz.work").exists()


@pytest.mark.parametrize("network", ["unet", "vae"])
def test_where_half_precision_overflows_the_other_precision_is_advised_and_works(
    cli, clip, tiny_folder, tmp_path, network
):
    name = {"unet": "conv_out.weight", "vae": "decoder.time_conv_out.weight"}[network]
    model = changed(tiny_folder, tmp_path, network, name, large(6e4))
    command = ["run", clip, "--out", tmp_path / "depth.npz", "--weights", model, "--steps", 1]
    command += ["--max-frames", 2]
    done = cli(*command, "--dtype", "fp16")
    assert done.code == 2 and "--dtype fp32 and --overwrite, or --dtype bf16" in done.err
    assert not (tmp_path / "depth.npz").exists()
    assert cli(*command, "--dtype", "fp32", "--overwrite").code == 0
