"""Apple's and Intel's GPUs: attention that forms all products, and operations that are not there.

Such a device is played on the CPU by what PyTorch would do there.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import tracker
from simulation import CONFIGS, Simulation

from depthcrafter_cli.memory.architecture import Architecture
from depthcrafter_cli.memory.budget import Budget
from depthcrafter_cli.memory.estimate import Workload, estimate
from depthcrafter_cli.memory.planner import choose
from depthcrafter_cli.models.devices import attends_in_pieces, lacks_operations
from depthcrafter_cli.models.layout import network_configs
from depthcrafter_cli.models.reordered import encoder, layers
from depthcrafter_cli.pipeline import conditioning
from depthcrafter_cli.pipeline.config import PipelineConfig
from depthcrafter_cli.pipeline.pipeline import estimate_disparity
from depthcrafter_cli.types import MemoryPlan, Size

NANO = Path(__file__).parents[2] / "weights" / "nano"
FUSED = F.scaled_dot_product_attention


@pytest.fixture
def elsewhere(monkeypatch):
    """Everything is computed as on such a device."""
    for module in (layers, encoder):
        monkeypatch.setattr(module, "attends_in_pieces", lambda _: True)
    monkeypatch.setattr(layers, "lacks_operations", lambda _: True)


def test_which_devices_those_are(monkeypatch):
    for name, expected in (("cpu", False), ("cuda", False), ("mps", True), ("xpu", True)):
        assert attends_in_pieces(torch.device(name)) is expected
        assert lacks_operations(torch.device(name)) is expected
    monkeypatch.setattr(torch.version, "hip", "6.4")
    flash = "torch.backends.cuda.is_flash_attention_available"
    for present in (True, False):
        monkeypatch.setattr(flash, lambda present=present: present, raising=False)
        assert attends_in_pieces(torch.device("cuda")) is not present


def test_no_attention_forms_more_products_than_the_plan_allows(tiny, monkeypatch, request):
    frames = np.random.default_rng(0).integers(0, 255, (5, 128, 64, 3), dtype=np.uint8)
    config = PipelineConfig(steps=2, window=4, overlap=1)
    expected = np.concatenate([*estimate_disparity(tiny, config, frames)])
    request.getfixturevalue("elsewhere")
    allowed, largest = 4096, [0]

    def attention(query, key, value, **options):
        products = query[..., 0].numel() * key.shape[-2]
        largest[0] = max(largest[0], products)
        assert products <= allowed, f"Invalid buffer size: {products}"
        return FUSED(query, key, value, **options)

    # CLIP's own attention is over 257 patches at most, whatever the picture.
    encode = conditioning.encode_embeds
    monkeypatch.setattr(
        conditioning, "encode_embeds", lambda *given: _with(FUSED, encode, *given)
    )  # fmt: skip
    monkeypatch.setattr(F, "scaled_dot_product_attention", attention)
    components = tiny.under(MemoryPlan(allowed))
    found = np.concatenate([*estimate_disparity(components, config, frames)])
    assert np.abs(found - expected).max() <= 1e-4
    assert allowed / 2 < largest[0]


def _with(attention, function, *given):
    played, F.scaled_dot_product_attention = F.scaled_dot_product_attention, attention
    try:
        return function(*given)
    finally:
        F.scaled_dot_product_attention = played


def test_pictures_are_resized_where_that_can_be_done(monkeypatch):
    video = torch.rand(2, 3, 80, 112, generator=torch.Generator().manual_seed(0)) * 2 - 1
    expected, answers = conditioning.clip_pixels(video), iter([True, False])
    monkeypatch.setattr(conditioning, "lacks_operations", lambda _: next(answers))
    assert torch.equal(conditioning.clip_pixels(video), expected)
    assert not list(answers)


@pytest.mark.parametrize(
    "plan", [MemoryPlan(1 << 20, 8), MemoryPlan(1 << 18, 1, recompute_decode=True)], ids=str
)
def test_what_attention_forms_is_predicted(elsewhere, monkeypatch, plan):
    def attention(query, key, value, **_):
        products = torch.empty(*query.shape[:-1], key.shape[-2], dtype=query.dtype, device="meta")
        weights = torch.empty_like(products)
        del products, weights
        return torch.empty_like(query)

    simulation, workload = Simulation(NANO), Workload(Size(256, 320), 12, 8, 2, in_pieces=True)
    monkeypatch.setattr(tracker, "_flash_attention", attention)
    real = simulation.peaks(workload, plan, steps=1)
    predicted = estimate(simulation.architecture, workload, plan)
    for stage in ("encode", "denoise", "decode"):
        assert real[stage] <= 1.1 * getattr(predicted, stage), stage
        assert getattr(predicted, stage) <= 1.35 * real[stage], stage


def test_the_published_size_needs_no_more_products_than_a_chunk_has_values():
    """Unsplit, one layer's products alone would take 3.4 GB at 1024x576, 10.7 GB at 1920x1088."""
    model = Architecture.of(**network_configs(CONFIGS))
    for size in (Size(576, 1024), Size(1088, 1920)):
        fused, pieces = (
            choose(
                model, Workload(size, 110, 8, 2, in_pieces), Budget(), "mps", batch=8, overlap=25
            ).peaks
            for in_pieces in (False, True)
        )
        assert fused.denoise <= pieces.denoise <= fused.denoise + 0.1e9
        assert fused.decode <= pieces.decode <= fused.decode + 0.1e9
