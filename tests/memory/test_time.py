"""The estimate of time: its arithmetic against PyTorch's, and for whom it speaks."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from gpu_model import recording
from simulation import CONFIGS, Simulation
from torch.utils.flop_counter import FlopCounterMode
from tracker import DEVICE, simulated

from depthcrafter_cli.memory.architecture import Architecture
from depthcrafter_cli.memory.budget import Budget, card_budget
from depthcrafter_cli.memory.cards import CARDS, card, card_named
from depthcrafter_cli.memory.duration import duration
from depthcrafter_cli.memory.estimate import Workload
from depthcrafter_cli.memory.planner import choose
from depthcrafter_cli.memory.work import Work, forward
from depthcrafter_cli.models.drivers import TRITON_SWITCH
from depthcrafter_cli.models.layout import network_configs
from depthcrafter_cli.models.reordered.decoder import decode_latents
from depthcrafter_cli.models.reordered.encoder import encode_images
from depthcrafter_cli.models.reordered.unet import WindowForward
from depthcrafter_cli.models.residency import Residency
from depthcrafter_cli.types import MemoryPlan, Size

NANO = Path(__file__).parents[2] / "weights" / "nano"
PARITY = Path(__file__).parents[1] / "data" / "parity"
CLIP = PARITY / "video" / "clip_a.mp4"
BLOCKS = "depthcrafter_cli.models.reordered.blocks"
FULL = Architecture.of(**network_configs(CONFIGS))
WORKLOAD = Workload(Size(576, 1024), 110, 8, 2)


@pytest.mark.parametrize("model", [NANO, PARITY / "tiny_model"])
def test_operations_are_those_pytorch_counts(model):
    simulation, workload = Simulation(model), Workload(Size(192, 256), 6, 4, 2)
    unet, vae, image_encoder = simulation.networks
    plan, like = MemoryPlan(10**12), {"device": DEVICE, "dtype": simulation.dtype}
    inside = workload.latent_size(simulation.architecture)
    window, ids = (
        torch.empty(6, unet.config.in_channels, *inside, **like),
        torch.empty(1, 3, **like),
    )
    latents = torch.empty(4, unet.config.out_channels, *inside, **like)
    embeds = torch.empty(6, 1, simulation.architecture.cross_width, **like)
    works = {
        "denoise": lambda: WindowForward(unet, embeds, plan, Residency(DEVICE, offloaded=False))(
            window, torch.empty(1, device=DEVICE), ids
        ),
        "decode": lambda: decode_latents(vae.decoder, latents, plan),
        "encode": lambda: encode_images(vae, torch.empty(1, 3, 192, 256, device=DEVICE), plan),
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


def test_time_is_told_for_a_known_card_and_its_memory_is_planned_with(cli):
    options = ["plan", CLIP, "--weights", "depthcrafter", "--json", "--card"]
    told = json.loads(cli(*options, "NVIDIA GeForce RTX 4060").out)
    seconds = told["estimated_seconds"]
    parts = sum(each for stage, each in seconds.items() if stage != "total")
    assert seconds["total"] == pytest.approx(parts, abs=0.5)
    assert seconds["denoise"] > seconds["encode"] > 0
    assert (told["card"], told["device"]) == ("RTX 4060", "cuda")
    assert told["predicted_peak_bytes"] <= card_budget(8, "cuda")
    faster = json.loads(cli(*options, "RTX 4090").out)["estimated_seconds"]
    laptop = json.loads(cli(*options, "RTX 4090 Laptop GPU").out)["estimated_seconds"]
    assert faster["denoise"] < laptop["denoise"] < seconds["denoise"]
    twice = json.loads(cli(*options, "RTX 4060", "--steps", 10).out)["estimated_seconds"]
    assert twice["denoise"] == pytest.approx(2 * seconds["denoise"], abs=0.2)
    full = cli(*options, "RTX 4060", "--dtype", "fp32")
    assert json.loads(full.out)["estimated_seconds"] is None


def test_a_card_elsewhere_is_taken_to_have_triton_and_that_is_said(cli, monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    options = ["plan", CLIP, "--weights", "depthcrafter", "--max-res", 1024, "--card", "RTX 4090"]
    monkeypatch.delenv(TRITON_SWITCH, raising=False)
    usual, details = cli(*options), json.loads(cli(*options, "--json").out)
    monkeypatch.setenv(TRITON_SWITCH, "0")
    without = cli(*options)
    assert details["triton"] and not json.loads(cli(*options, "--json").out)["triton"]
    assert ", with Triton, " in usual.out and ", without Triton, " in without.out


def test_a_card_that_is_not_known_is_refused_with_those_that_are(cli):
    for unknown in ("Radeon", "NVIDIA RTX A1000", "RTX 3050 Laptop GPU"):
        done = cli("plan", CLIP, "--weights", "depthcrafter", "--card", unknown)
        assert done.code == 2 and "H100" in done.err and "RTX 4060 Laptop" in done.err


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("NVIDIA GeForce RTX 4060 Ti", "RTX 4060 Ti"),
        ("rtx 4060 ti 16 GB", "RTX 4060 Ti 16GB"),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "RTX 4090 Laptop"),
        ("NVIDIA GeForce RTX 4090 D", None),
        ("NVIDIA GeForce RTX 4070 Ti SUPER", "RTX 4070 Ti SUPER"),
        ("NVIDIA A100-SXM4-80GB", "A100 80GB"),
        ("NVIDIA A100-SXM4-40GB", "A100"),
        ("NVIDIA H100 PCIe", "H100 PCIe"),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("Tesla V100-SXM2-32GB", "V100 32GB"),
        ("NVIDIA A10G", "A10G"),
    ],
)
def test_cards_are_told_apart_as_drivers_name_them(name, expected):
    found = card(name)
    assert (found and found.name) == expected
    assert all(card(known.name) is known for known in CARDS)


def test_more_than_a_night_is_told_with_what_would_shorten_it(cli):
    options = ["plan", CLIP, "--weights", "depthcrafter", "--card", "RTX 3060", "--steps"]
    assert "--max-res" not in cli(*options, 5).out
    lines = cli(*options, 900_000).out.splitlines()
    for option in ("--fps", "--max-res", "--steps"):
        assert any(line.strip().startswith(option) and " h " in line for line in lines), option


def test_streaming_counts_the_bus_where_it_is_slower_than_the_card():
    budget = Budget(card_budget(4, "cuda"))
    choice = choose(FULL, WORKLOAD, budget, "cuda", batch=8, overlap=25)
    numbers = {"windows": 1, "passes": 5, "batch": 8}
    slow = duration(choice, card_named("RTX 3060"), frames=110, **numbers)
    endless = replace(card_named("RTX 3060"), peak=1e20, bandwidth=1e20)
    fast = duration(choice, endless, frames=110, **numbers)
    steps = 5 * choice.peaks.bus_bytes / 24e9
    assert slow.bus < 1.0 < fast.bus < steps + 1.0


def test_norms_and_launches_are_those_of_the_real_code():
    """As benchmarks/gpu_model.py notes them, of nano's denoiser."""
    simulation, plan = Simulation(NANO), MemoryPlan(100_000)
    workload = Workload(Size(192, 256), 6, 4, 2)
    unet, inside = simulation.networks[0], workload.latent_size(simulation.architecture)
    like = {"device": DEVICE, "dtype": simulation.dtype}
    window, ids = (
        torch.empty(6, unet.config.in_channels, *inside, **like),
        torch.empty(1, 3, **like),
    )
    embeds = torch.empty(6, 1, simulation.architecture.cross_width, **like)
    with torch.inference_mode(), simulated():
        step = WindowForward(unet, embeds, plan, Residency(DEVICE, offloaded=False))
    with recording(plain=False, fused=True) as noted:
        step(window, torch.empty(1, device=DEVICE), ids)
    steps = [*forward(simulation.architecture.unet, 6, *inside)]
    moved = sum(event.moved for event in noted.events if event.kind == "other")
    assert 2 * sum(step.moved for step in steps) == pytest.approx(moved, rel=0.3)
    launches = sum(step.launches * -(-step.widest // plan.chunk_values) for step in steps)
    assert launches == pytest.approx(len(noted.events), rel=0.3)
