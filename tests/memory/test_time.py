"""The estimate of time: its arithmetic against PyTorch's, and for whom it speaks."""

import json
from pathlib import Path

import pytest
import torch
from simulation import CONFIGS, Simulation
from torch.utils.flop_counter import FlopCounterMode
from tracker import DEVICE

from depthcrafter_cli.memory.architecture import Architecture
from depthcrafter_cli.memory.budget import Budget, card_budget
from depthcrafter_cli.memory.duration import Card, duration
from depthcrafter_cli.memory.estimate import Workload
from depthcrafter_cli.memory.planner import choose
from depthcrafter_cli.memory.work import Work
from depthcrafter_cli.models.layout import network_configs
from depthcrafter_cli.models.reordered.decoder import decode_latents
from depthcrafter_cli.models.reordered.unet import WindowForward
from depthcrafter_cli.models.residency import Residency
from depthcrafter_cli.types import MemoryPlan, Size

NANO = Path(__file__).parents[2] / "weights" / "nano"
CLIP = Path(__file__).parents[1] / "data" / "parity" / "video" / "clip_a.mp4"
BLOCKS = "depthcrafter_cli.models.reordered.blocks"
FULL = Architecture.of(**network_configs(CONFIGS))
WORKLOAD = Workload(Size(576, 1024), 110, 8, 2)


def test_operations_are_those_pytorch_counts():
    simulation, workload = Simulation(NANO), Workload(Size(192, 256), 6, 4, 2)
    unet, vae, image_encoder = simulation.networks
    plan, like = MemoryPlan(10**12), {"device": DEVICE, "dtype": simulation.dtype}
    window, ids = torch.empty(6, 8, 24, 32, **like), torch.empty(1, 3, **like)
    embeds = torch.empty(6, 1, simulation.architecture.cross_width, **like)
    works = {
        "denoise": lambda: WindowForward(unet, embeds, plan, Residency(DEVICE, offloaded=False))(
            window, torch.empty(1, device=DEVICE), ids
        ),
        "decode": lambda: decode_latents(vae.decoder, torch.empty(4, 4, 24, 32, **like), plan),
        "encode": lambda: vae.encoder(torch.empty(1, 3, 192, 256, device=DEVICE)),
        "image_encoder": lambda: image_encoder(torch.empty(1, 3, 224, 224, **like)),
    }
    counted = Work.of(simulation.architecture, workload)
    for stage, work in works.items():
        # PyTorch 2.4 counts nothing in inference mode.
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            work()
        frames = {"denoise": 6, "decode": 4}.get(stage, 1)
        found = counter.get_total_flops() / frames
        assert getattr(counted, stage) == pytest.approx(found, rel=0.01), stage


def test_work_of_the_published_size_is_the_known_one():
    work = Work.of(FULL, WORKLOAD)
    stages = (work.image_encoder, work.encode, work.denoise, work.decode)
    assert [round(n / 1e9) for n in stages] == [335, 2609, 3087, 6943]


def test_time_is_told_for_a_known_card_and_only_for_one(cli):
    # Room for everything on the card, whatever host memory this machine has.
    options = ["plan", CLIP, "--max-vram", "24", "--weights", "depthcrafter", "--card"]
    told = json.loads(cli(*options, "NVIDIA GeForce RTX 4060", "--json").out)["estimated_seconds"]
    parts = sum(seconds for stage, seconds in told.items() if stage != "total")
    assert told["total"] == pytest.approx(parts, abs=0.5) and told["denoise"] > told["encode"] > 0
    faster = json.loads(cli(*options, "NVIDIA GeForce RTX 4090", "--json").out)
    assert told["denoise"] / faster["estimated_seconds"]["denoise"] == pytest.approx(165 / 30, 0.01)
    twice = json.loads(cli(*options, "NVIDIA GeForce RTX 4060", "--steps", 10, "--json").out)
    assert twice["estimated_seconds"]["denoise"] == pytest.approx(2 * told["denoise"], rel=0.01)
    assert "an estimate" in cli(*options, "NVIDIA A100-SXM4-80GB").out
    for unknown in ("NVIDIA GeForce RTX 4060 Laptop GPU", "Radeon", "NVIDIA RTX A1000"):
        assert f"not known for {unknown}" in cli(*options, unknown).out
    full = cli(*options, "RTX 4060", "--dtype", "fp32", "--json")
    assert json.loads(full.out)["estimated_seconds"] is None


def test_streaming_counts_the_bus_where_it_is_slower_than_the_card():
    budget = Budget(card_budget(4, "cuda"))
    choice = choose(FULL, WORKLOAD, budget, "cuda", batch=8, overlap=25)
    numbers = {"windows": 1, "passes": 5, "batch": 8}
    slow = duration(choice, Card(25e12, 24e9), frames=110, **numbers)
    fast = duration(choice, Card(1e20, 24e9), frames=110, **numbers)
    steps = 5 * choice.peaks.bus_bytes / 24e9
    assert slow.bus < 1.0 < steps <= fast.bus <= steps + 1.0
