"""No copy between the host and the device races with the computation, whatever the plan."""

import gc
from collections import Counter
from contextlib import suppress
from itertools import pairwise

import numpy as np
import pytest
import torch
from races import Side, World, learn, watched

from depthcrafter_cli.errors import MemoryLimitError
from depthcrafter_cli.models.loading import load_components
from depthcrafter_cli.pipeline.config import PipelineConfig
from depthcrafter_cli.pipeline.pipeline import estimate_disparity
from depthcrafter_cli.pipeline.retries import no_fallback
from depthcrafter_cli.types import MemoryPlan

VALUES = 200_000
EVERYTHING = MemoryPlan(40_000, 2, True, True, True, True, True)
PLANS = {
    "resident": MemoryPlan(VALUES),
    "skips offloaded": MemoryPlan(VALUES, offload_skips=True),
    "decoder's layers offloaded": MemoryPlan(VALUES, recompute_decode=True),
    "networks offloaded": MemoryPlan(VALUES, offload_networks=True),
    "blocks offloaded": MemoryPlan(VALUES, offload_networks=True, offload_blocks=True),
    "everything": EVERYTHING,
}


def depths(
    folder, plan: MemoryPlan, *, sides=(64,), guidance=1.0, fail_at=(), fallback=no_fallback
) -> World:
    """Clips of two windows of two steps under a plan, all the way to unloading the model.

    ``fail_at`` numbers the layers, of those that are computed, at which memory runs out.
    """
    components = load_components(
        folder, device=torch.device("cpu"), dtype=torch.float32, plan=plan
    )  # fmt: skip
    networks = (components.unet, components.vae, components.image_encoder)
    config = PipelineConfig(
        steps=2, window=3, overlap=1, decode_chunk=2, encode_batch=4, guidance=guidance
    )
    computed = [0]

    def run_out(*_):
        computed[0] += 1
        if computed[0] in fail_at:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    for network in networks[:2]:
        for module in network.modules():
            if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
                module.register_forward_pre_hook(run_out)
    with watched() as world:
        if plan.offloaded:
            for network in networks:
                for tensor in network.parameters():
                    world.pin(tensor)
        del networks, network, module
        for side in sides:
            frames = np.zeros((4, 64, side, 3), dtype=np.uint8)
            with suppress(MemoryLimitError):
                for _ in estimate_disparity(components, config, frames, fallback=fallback):
                    pass
        del components
        gc.collect()
    assert computed[0] >= max(fail_at, default=0)
    return world


@pytest.mark.parametrize("name", PLANS)
def test_no_plan_has_a_race(tiny_folder, name):
    world = depths(tiny_folder, PLANS[name], sides=(64, 128) if name == "everything" else (64,))
    assert not world.races
    assert (world.copies > 0) is (name != "resident")


@pytest.mark.slow
def test_two_networks_that_share_their_host_memory_have_no_race(tiny_folder):
    assert not depths(tiny_folder, EVERYTHING, guidance=2.0).races


@pytest.mark.parametrize(
    ("fail_at", "stages"),
    [
        ((150,), ["denoise"]), ((270,), ["decode"]), ((270, 280), ["decode", "decode"]),
        ((60, 120, 180), ["denoise"] * 3),
    ],
    ids=str,
)  # fmt: skip
def test_where_memory_runs_out_there_is_no_race(tiny_folder, fail_at, stages):
    """In a step, in decoding, there under a smaller plan too, and where there is none any more."""
    plans = iter([EVERYTHING, MemoryPlan(30_000, 1, True, True, True, True, True)])
    start, asked = MemoryPlan(VALUES, offload_networks=True, offload_skips=True), []

    def smaller(_plan, stage):
        asked.append(stage)
        return next(plans, None)

    world = depths(tiny_folder, start, fail_at=fail_at, fallback=smaller)
    assert not world.races and world.copies
    assert asked == stages


def test_the_gpu_is_waited_for_between_two_steps_and_not_in_them(tiny):
    """To see that a step gave numbers; in a step it would be waited for once a layer."""
    config = PipelineConfig(steps=3, window=3, overlap=1, encode_batch=4)
    with watched() as world:
        synced = []
        for _ in estimate_disparity(
            tiny,
            config,
            np.zeros((5, 64, 64, 3), dtype=np.uint8),
            observer=lambda event: synced.append((event.stage, world.syncs)),
        ):
            pass
    steps = [count for stage, count in synced if stage == "denoise"]
    waits = [after - before for before, after in pairwise(steps)]
    assert waits[:3] == [1, 1, 1]


def nothing(*_):
    """A wait that was forgotten."""


def too_early(self, targets, sources):
    """A copy that does not wait for what was asked of the device before it."""
    known, self.world.compute = self.world.compute, Counter()
    try:
        return Side.begun(self, targets, sources)
    finally:
        learn(known, self.world.compute)
        self.world.compute = known


@pytest.mark.parametrize(
    ("method", "broken", "found"),
    [
        ("wait", nothing, "by comp not after copy to by side"),
        ("begin", too_early, "copy from by side not after"),
        ("finish", staticmethod(nothing), "pinned memory freed before copy"),
    ],
)
def test_the_detector_finds_a_wait_that_was_forgotten(
    tiny_folder, monkeypatch, method, broken, found
):
    monkeypatch.setattr(Side, "begun", Side.begin, raising=False)
    monkeypatch.setattr(Side, method, broken)
    races = depths(tiny_folder, MemoryPlan(VALUES, offload_skips=True, recompute_decode=True)).races
    assert any(found in race for race in races), races
