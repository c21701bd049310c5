"""The published size is real: tensors, parameters, bytes, memory, and one window of it."""

import importlib.util
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "full_size.py"


@pytest.fixture(scope="module")
def full_size():
    """The benchmark, which knows how to build, load and run the model."""
    spec = importlib.util.spec_from_file_location("full_size", BENCHMARK)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_streamed_file_has_the_header_of_the_library(full_size, tmp_path):
    shapes = {"b.weight": (3, 5), "a.mix_factor": (1,), "b.bias": (5,), "a.b10": (2, 2, 2)}
    full_size.write_random_fp16(tmp_path / "streamed.safetensors", shapes)
    tensors = load_file(tmp_path / "streamed.safetensors")
    assert {name: tuple(tensor.shape) for name, tensor in tensors.items()} == shapes
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
    save_file(tensors, tmp_path / "library.safetensors", metadata={"format": "pt"})
    library = (tmp_path / "library.safetensors").read_bytes()
    assert (tmp_path / "streamed.safetensors").read_bytes() == library


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_full_size_is_as_published_and_runs_within_6_gb(full_size, gigabytes):
    assert full_size.check(full_size.measure()) == []
