"""One step of every stage on the published architecture, with random weights in bfloat16.

In float32 where products of bfloat16 are emulated, and would take half an hour.
"""

import hashlib

import psutil
import pytest
import torch
from accelerate import init_empty_weights
from training_steps import session, stage_config

from depthcrafter_cli.datasets.clip import ClipSize as Size
from depthcrafter_cli.datasets.generated import GeneratedClips
from depthcrafter_cli.models.layout import read_json
from depthcrafter_cli.models.unet import DepthUNet
from depthcrafter_cli.models.weights import find_configs
from depthcrafter_cli.progress import ignore
from depthcrafter_cli.training.checkpoint import TrainingState
from depthcrafter_cli.training.config import (
    ImageEncoderConfig,
    ObjectiveConfig,
    Optimisation,
    VaeConfig,
)
from depthcrafter_cli.training.data.batches import Share, Steps, StreamedClips
from depthcrafter_cli.training.data.latents import Encoder
from depthcrafter_cli.training.ema import MovingAverage
from depthcrafter_cli.training.layers import select_layers, trained_names
from depthcrafter_cli.training.networks import build_image_encoder, build_vae
from depthcrafter_cli.training.precision import suited_precision
from depthcrafter_cli.training.shortcuts import (
    collapse_cross_attention,
    flatten_temporal_convolutions,
)
from depthcrafter_cli.training.stages.denoiser import DenoiserStage
from depthcrafter_cli.training.trainer import train_step

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

PLAN = Optimisation(steps=1, learning_rate=1.0)
PRECISION = suited_precision("bf16", torch.device("cpu"), ignore)
CLIPS = GeneratedClips(1, [Size(3, 64, 64)])


@pytest.fixture(scope="module")
def unet(gigabytes):
    """1.5 billion parameters, 3 or 6 GB, as if freshly initialised."""
    if PRECISION.dtype == torch.float32 and psutil.virtual_memory().available < 14 << 30:
        pytest.skip("takes 14 GB in float32, and half an hour in bfloat16 on this processor")
    config = read_json(find_configs("depthcrafter").path / "unet" / "config.json")
    with init_empty_weights():
        network = DepthUNet.from_config(config)
    network = network.to(PRECISION.dtype).to_empty(device="cpu")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            spread = 0.5 * parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.02
            is_scale = parameter.ndim == 1 and name.endswith("weight")
            parameter.normal_(mean=float(is_scale), std=spread, generator=generator)
    flatten_temporal_convolutions(network)
    collapse_cross_attention(network)
    return network


@pytest.fixture(scope="module")
def encoder():
    """Small networks that give latents and embeddings of the right sizes."""
    vae = build_vae(VaeConfig(PLAN, channels=[32, 32, 32, 32]))
    tower = build_image_encoder(ImageEncoderConfig(PLAN, 32, 1, 2, embedding=1024))
    return Encoder(vae.eval(), tower.eval(), torch.float32)


def digests(unet):
    return {
        name: hashlib.sha256(tensor.view(torch.int16).numpy().data).hexdigest()
        for name, tensor in unet.state_dict().items()
    }


@pytest.mark.parametrize(("trains", "frames"), [("all", 2), ("temporal", 3), ("spatial", 3)])
def test_a_step_of_each_stage(trains, frames, unet, encoder, tmp_path):
    config = stage_config(trains, frames=[frames, frames], batch=1, checkpointing=True)
    steps = Steps(config, {"drawn": StreamedClips(CLIPS)}, 0, Share())
    select_layers(unet, trains, [])
    stage = DenoiserStage(config, unet, encoder, ObjectiveConfig(), steps, PRECISION)
    trained = [parameter for parameter in unet.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=1e-2, foreach=False)  # keeps no state: fits in 16 GB
    state = TrainingState(unet, optimizer, MovingAverage(unet, 0.0), {})
    before = digests(unet)
    loss, _norm = train_step(stage, unet, state, config, steps[0], session(tmp_path).accelerator)
    assert 0 < loss < 1e4
    names = set(trained_names(before, trains, []))
    assert all(bool(torch.isfinite(parameter.grad).all()) for parameter in trained
               if parameter.grad is not None)  # fmt: skip
    reached = {name for name, p in unet.named_parameters() if p.grad is not None and p.grad.any()}
    # Attention to the single CLIP token gives its queries, its keys and their norm no gradient.
    idle = {name for name in names if "attn2.to_q" in name or "attn2.to_k" in name}
    idle |= {name for name in names if ".norm2." in name and "transformer_blocks" in name}
    # Each mixer's gradient is the difference of two sums, which bfloat16 may round to one number.
    mixers = {name for name in names if name.endswith("mix_factor")}
    assert reached <= names and names - reached <= idle | mixers
    assert len(mixers - reached) <= len(mixers) // 10
    after = digests(unet)
    changed = {name for name in before if before[name] != after[name]}
    assert changed and changed <= names
