"""Norms and gates as fused kernels: by Triton's interpreter they give what PyTorch gives."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from depthcrafter_cli.models import fused
from depthcrafter_cli.models.published.layers import FeedForward
from depthcrafter_cli.models.reordered import layers
from depthcrafter_cli.models.reordered.decoder import decode_latents
from depthcrafter_cli.models.reordered.unet import WindowForward
from depthcrafter_cli.models.residency import Residency
from depthcrafter_cli.types import MemoryPlan
from tests.models.test_reordered import inputs, plain_unet, random_unet, random_vae

pytest.importorskip("triton")
CPU = torch.device("cpu")
COMPILES = Path(__file__).parents[1] / "compiled_kernels.py"


@pytest.fixture
def by_kernels(monkeypatch):
    """A function that turns them on, though this is a CPU."""
    from depthcrafter_cli.models.reordered import kernels

    fusion = fused.Fusion(kernels, "Triton")
    return lambda: monkeypatch.setattr(layers, "fusion", lambda _: fusion)


@pytest.mark.parametrize(
    ("dtype", "limit", "together"),
    [
        (torch.float32, 1e-6, True),
        (torch.float16, 4e-3, False),
        pytest.param(torch.bfloat16, 3e-2, True, marks=pytest.mark.slow),
    ],
)
def test_the_kernels_give_what_pytorch_gives(by_kernels, dtype, limit, together):
    """Of large means, of rows and channels that fill no tile, of tokens in any order in memory.

    PyTorch rounds every sum on the way to a norm, a kernel only the last one.
    """
    torch.manual_seed(0)
    whole = torch.randn(2, 45, 160, generator=torch.Generator().manual_seed(0)) * 2 + 9
    norm = nn.GroupNorm(4, 160, dtype=dtype).requires_grad_(False)
    row_norm = nn.LayerNorm(160, dtype=dtype).requires_grad_(False)
    for each in (norm, row_norm):
        nn.init.normal_(each.weight), nn.init.normal_(each.bias)
    layer = FeedForward(160).to(dtype).requires_grad_(False)

    def results() -> list[torch.Tensor]:
        made = []
        for tokens in (whole[:, 7:].to(dtype), whole.to(dtype).mT.contiguous().mT[:, :64]):
            pieces = 20 * 160 * len(tokens)
            moments = layers.Moments.gathered(tokens, 4, pieces, together=together)
            made.append(layers.normalize(tokens, norm, moments, silu=True))
            made.append(layers.feed_forward(tokens, layer))
            for context in (None, tokens[:, :1], tokens[:1, 1:2]):
                part = (tokens - 9).mul(2).contiguous()
                made += layers.add_normalize(part.clone(), tokens, context, row_norm)
                made += layers.add_normalize(None, tokens, context, row_norm)
            made.append(tokens.clone())
            layers.mix(made[-1], part.flip(0), part, 0.3)
        return made

    expected = results()
    by_kernels()
    for ours, theirs in zip(results(), expected, strict=True):
        assert ours.dtype == dtype and ours.shape == theirs.shape
        assert (ours - theirs).abs().max() <= limit * theirs.abs().max()


@pytest.mark.slow
def test_the_networks_give_by_kernels_what_diffusers_gives(by_kernels):
    shape, dtype = (2, 6, 8), torch.float32
    unet, vae = random_unet(2, dtype), random_vae(1, dtype)
    sample, timestep, embeds, ids = inputs(*shape, dtype)
    latents, plan = sample[:, :4, :3, :4], MemoryPlan(3000)
    by_kernels()
    with torch.inference_mode():
        window = WindowForward(unet, embeds, plan, Residency(CPU, offloaded=False))
        pictures = vae.decoder(latents, torch.zeros(1, 2), num_frames=2)
        for ours, plain in (
            (window(sample, timestep, ids), plain_unet(2, shape, dtype)),
            (decode_latents(vae.decoder, latents, plan), pictures),
        ):
            assert (ours - plain).abs().max() <= 1e-5 * plain.abs().max()


def test_kernels_that_fail_or_are_wrong_are_left_out_and_that_is_said(monkeypatch):
    from depthcrafter_cli.models.reordered import kernels

    fused._try(kernels, CPU)
    with monkeypatch.context() as patch, pytest.raises(ValueError, match="results are wrong"):
        patch.setattr(kernels, "gated", lambda tokens: tokens[..., ::2])
        fused._try(kernels, CPU)
    asked = fused.fusion.__wrapped__
    monkeypatch.setattr(fused, "_try", lambda *_: 1 / 0)
    assert asked("cuda") == (None, "PyTorch, as Triton cannot be used (division by zero)")
    monkeypatch.setenv(fused.TRITON_SWITCH, "0")
    assert asked("cuda") == (None, f"PyTorch, as {fused.TRITON_SWITCH} is 0")
    assert asked("cpu") == asked("mps") == (None, "PyTorch")


@pytest.mark.slow
def test_the_kernels_compile_for_every_kind_of_card(tmp_path):
    """What the interpreter accepts, the compiler may refuse; it needs no GPU."""
    environment = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    subprocess.run([sys.executable, COMPILES], env=environment, check=True, timeout=500)
