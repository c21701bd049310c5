"""A run whose memory runs out goes on under a smaller plan."""

import gc
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from depthcrafter_cli.errors import MemoryLimitError
from depthcrafter_cli.memory.architecture import Architecture
from depthcrafter_cli.memory.budget import Budget
from depthcrafter_cli.memory.estimate import Workload, estimate
from depthcrafter_cli.memory.planner import choose
from depthcrafter_cli.models.layout import network_configs
from depthcrafter_cli.pipeline.config import PipelineConfig
from depthcrafter_cli.pipeline.pipeline import estimate_disparity
from depthcrafter_cli.types import MemoryPlan, Size


class Layers(TorchDispatchMode):
    """Follows the networks' layers: results of convolutions above ``values`` values."""

    def __init__(self, values: int) -> None:
        super().__init__()
        self.values, self.made = values, []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        if "conv" in str(operation) and result.numel() > self.values:
            self.made.append(weakref.ref(result.untyped_storage()))
        return result

    @property
    def alive(self) -> int:
        return sum(ref() is not None for ref in self.made)


TOO_MUCH = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate too much")


@contextmanager
def failing(module: torch.nn.Module, times: int, error: Exception = TOO_MUCH) -> Iterator[None]:
    """Let a network's part run out of memory for the first few times."""
    left = [times]

    def fail(*_):
        if left[0]:
            left[0] -= 1
            raise error

    hook = module.register_forward_pre_hook(fail)
    try:
        yield
    finally:
        hook.remove()


PARTS = {
    "condition": lambda model: model.vae.encoder.mid_block.resnets[0].conv2,
    "denoise": lambda model: model.unet.up_blocks[1].resnets[0].spatial_res_block.conv2,
    "decode": lambda model: model.vae.decoder.up_blocks[3].resnets[0].spatial_res_block.conv2,
}


@pytest.mark.parametrize("stage", PARTS)
def test_where_memory_runs_out_the_work_is_repeated_under_a_smaller_plan(tiny, tiny_folder, stage):
    frames = np.random.default_rng(0).integers(0, 255, (6, 64, 64, 3), dtype=np.uint8)
    config = PipelineConfig(window=4, overlap=1, steps=2)
    expected = np.concatenate([*estimate_disparity(tiny, config, frames)])
    model = Architecture.of(**network_configs(tiny_folder))
    workload = Workload(Size(64, 64), 4, 8, 4)
    choice = choose(model, workload, Budget(), "cuda", batch=8, overlap=1)
    retreats, left, taken = [], [], []

    def smaller(plan, where):
        TOO_MUCH.with_traceback(None)  # as it outlives its handling here, unlike PyTorch's own
        gc.collect()
        retreats.append(where)
        left.append(layers.alive)
        taken.append(choice.smaller(plan, where))
        return taken[-1]

    with failing(PARTS[stage](tiny), 1), Layers(4000) as layers:
        found = np.concatenate([*estimate_disparity(tiny, config, frames, fallback=smaller)])
    assert retreats == [stage] and layers.made
    assert left == [0]  # nothing of the failed attempt is in memory when the next one begins
    now = estimate(model, workload, taken[-1])
    assert now.of(stage) < estimate(model, workload, tiny.plan).of(stage)
    assert np.abs(found - expected).max() <= 1e-4


def test_where_there_is_no_smaller_plan_the_run_ends_with_a_sentence(tiny):
    frames = np.zeros((1, 64, 64, 3), np.uint8)
    with failing(PARTS["denoise"](tiny), 1), pytest.raises(MemoryLimitError, match="close other"):
        list(estimate_disparity(tiny, PipelineConfig(steps=1), frames))


def test_a_pass_leaves_the_networks_fit_for_the_next_one(tiny):
    frames = np.zeros((3, 64, 64, 3), np.uint8)
    config = PipelineConfig(steps=1, window=3, overlap=1)
    smaller, plan = MemoryPlan(1 << 16, offload_networks=True), tiny.plan
    runs = []
    for _ in range(2):
        with failing(tiny.unet.conv_in, 1):
            stream = estimate_disparity(tiny, config, frames, fallback=lambda *_: smaller)
            runs.append(np.concatenate([*stream]))
        assert tiny.plan == plan
    assert np.array_equal(*runs)
    # Where the smaller plan had left the weights, another pass finds them.
    other = [*estimate_disparity(tiny, replace(config, seed=1), frames)]
    assert np.isfinite(np.concatenate(other)).all()
