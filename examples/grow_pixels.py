"""Grow a nano of pixels around one of latents, so that what its denoiser has learnt is kept.

    python examples/grow_pixels.py latents-nano grown --stacks stacks/train
    depthcrafter train examples/nano-pixels.toml --out my-nano --work-dir pixels-training

A nano of latents, as ``examples/nano.toml`` makes it, spends nine tenths of its time in a VAE that
keeps four numbers of 8 x 8 pixels. Here three finer levels are put around its denoiser, whose own
levels are copied. The new way down learns to give what the denoiser's first convolution made of the
encoder's latents, the new way up to show what the decoder showed; its skips count for nothing until
a recipe trains them. In half an hour of one core, pictures differ from the old model's by about as
much as two samples of its noise do.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
import typer
from torch import Tensor, nn

from depthcrafter_cli.datasets.stacks import StackedFrames
from depthcrafter_cli.models.components import Components
from depthcrafter_cli.models.loading import load_components
from depthcrafter_cli.models.manifest import write_manifest
from depthcrafter_cli.models.published.unet import embed_time
from depthcrafter_cli.pipeline.conditioning import clip_pixels
from depthcrafter_cli.pipeline.denoise import FPS_ID, MOTION_BUCKET_ID
from depthcrafter_cli.pipeline.schedule import SIGMA_MAX
from depthcrafter_cli.training.config import Optimisation, UnetConfig, ViewsConfig, ViewSize
from depthcrafter_cli.training.data.latents import NOISE_AUG, Latents
from depthcrafter_cli.training.data.views import drawn_size, view
from depthcrafter_cli.training.loss import noise_label
from depthcrafter_cli.training.networks import (
    PIXELS_SCALE,
    build_unet,
    identity_vae,
    save_foundation,
    trainable_networks,
)
from depthcrafter_cli.training.optimizers import optimizer_of
from depthcrafter_cli.training.precision import Precision
from depthcrafter_cli.training.shortcuts import (
    collapse_cross_attention,
    flatten_temporal_convolutions,
    recompute_blocks,
)
from depthcrafter_cli.training.stages.estimates import velocity_of
from depthcrafter_cli.training.trainer import learning_rate

FINER = 3  # levels, from pixels to latents
NARROW = 32  # channels of the finest; the last has those that the old denoiser begins with
SIGMA = torch.tensor([SIGMA_MAX])  # the one noise level that nano is asked at
BATCH = 4
VIEWS = ViewsConfig([ViewSize(128, 256), ViewSize(128, 128)])
CPU = torch.device("cpu")
PRECISION = Precision("bf16", CPU)
SLEEPS = re.compile("temporal|time_mixer|time_pos_embed|time_emb_proj.weight")
Answers = tuple[Tensor, Tensor]
"""Of the new model and of the old one."""


@dataclass
class Views:
    """Random pictures of stacks, mirrored or not."""

    source: StackedFrames
    rng: np.random.Generator

    def batch(self) -> Tensor:
        """[BATCH, 3, h, w] from -1 to 1, with the noise that conditioning pictures get."""
        size = drawn_size(VIEWS, self.rng)
        clips = [
            view(self.source.read(int(number), range(1)), size, VIEWS, self.rng)
            for number in self.rng.integers(len(self.source), size=BATCH)
        ]
        pictures = torch.cat([clip.rgb for clip in clips]).permute(0, 3, 1, 2).float() / 127.5 - 1
        pictures = pictures.flip(3) if self.rng.random() < 0.5 else pictures
        return pictures + NOISE_AUG * torch.randn_like(pictures)


def main(
    old: Annotated[Path, typer.Argument(help="Folder of a nano of latents.")],
    out: Annotated[Path, typer.Argument(help="Folder for the model to train on.")],
    stacks: Annotated[Path, typer.Option(help="Stacks whose pictures are shown.")] = Path(
        "stacks/train"
    ),
    down: Annotated[int, typer.Option(min=1, help="Steps of the way down.")] = 420,
    up: Annotated[int, typer.Option(min=1, help="Steps of the way up.")] = 300,
) -> None:
    """Grow a nano of pixels around a nano of latents."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    old_model = load_components(old, device=CPU, dtype=torch.float32, build=trainable_networks)
    unet = grown(old_model)
    views = Views(StackedFrames(stacks), np.random.default_rng(0))
    for network in (old_model.unet, old_model.vae, unet):
        collapse_cross_attention(network)
        flatten_temporal_convolutions(network)
        network.requires_grad_(False)
    recompute_blocks(unet, False)  # leaves out the temporal halves, which sleep
    reached = len(old_model.unet.up_blocks)
    way_down = nn.ModuleList([unet.conv_in, *unet.down_blocks[:FINER]])
    way_up = nn.ModuleList(
        [*unet.up_blocks[reached - 1].upsamplers, *unet.up_blocks[reached:],
         unet.conv_norm_out, unet.conv_out]
    )  # fmt: skip
    teach("down", way_down, down, views, lambda seen: entered(unet, old_model, seen))
    teach("up", way_up, up, views, lambda seen: shown(unet, old_model, seen))
    save_foundation(out, unet, identity_vae(), old_model.image_encoder)
    write_manifest(out, "foundation")


@torch.no_grad()
def grown(old: Components) -> nn.Module:
    """An untrained denoiser of pixels with the deep levels of ``old``, for one step."""
    config = old.unet.config
    attends = ["CrossAttn" in kind for kind in config.down_block_types]
    unet = build_unet(
        UnetConfig(
            channels=[
                *[NARROW] * (FINER - 1), config.block_out_channels[0], *config.block_out_channels
            ],
            heads=[1] * FINER + [*config.num_attention_heads],
            attention=[False] * FINER + attends,
            asleep=True,
            deterministic=True,
        ),
        config.cross_attention_dim, latents=3,
    )  # fmt: skip
    ids = torch.tensor([[FPS_ID, MOTION_BUCKET_ID, NOISE_AUG]])
    level = embed_time(old.unet, noise_label(SIGMA), ids, torch.float32)
    known = old.unet.state_dict()
    for name in [name for name in known if name.endswith("time_emb_proj.weight")]:
        # The embedding of the only level is a constant; here it has another width.
        known[name.replace("weight", "bias")] += known.pop(name) @ F.silu(level)[0]
    wanted = unet.state_dict()
    for name in wanted:
        if name.endswith("time_emb_proj.weight") and _source(name):
            wanted[name].zero_()
        elif _source(name) in known:
            wanted[name].copy_(known[_source(name)])
    hidden = unet.up_blocks[len(old.unet.up_blocks) - 1].upsamplers[0].out_channels
    for block in unet.up_blocks[len(old.unet.up_blocks) :]:
        for resnet in block.resnets:
            hidden = _close_skip(resnet.spatial_res_block, hidden)
    return unet


def _source(name: str) -> str:
    """What a parameter of the new denoiser is called in the old one; empty for one it lacks."""
    part, _, rest = name.partition(".")
    if part == "down_blocks":
        number, _, rest = rest.partition(".")
        return f"down_blocks.{int(number) - FINER}.{rest}" if int(number) >= FINER else ""
    return name if part in ("mid_block", "up_blocks") else ""


def _close_skip(resnet: nn.Module, hidden: int) -> int:
    """Give weight 0 to what comes after its first ``hidden`` channels; how many it returns."""
    for layer in (resnet.conv1, resnet.conv_shortcut):
        layer.weight[:, hidden:] = 0
        layer.weight.register_hook(partial(_cut, hidden))
    return int(resnet.conv1.out_channels)


def _cut(hidden: int, gradient: Tensor) -> Tensor:
    return torch.cat([gradient[:, :hidden], torch.zeros_like(gradient[:, hidden:])], 1)


def entered(unet: nn.Module, old: Components, seen: Tensor) -> Answers:
    """What the new way down makes of pictures [B, 3, h, w], and what the old model did."""
    with torch.no_grad():
        latents = old.vae.encode(seen).latent_dist.mode()
        wanted = old.unet.conv_in(torch.cat([torch.zeros_like(latents), latents], 1))
    hidden = unet.conv_in(torch.cat([torch.zeros_like(seen), seen], 1))
    level = hidden.new_zeros(len(seen), unet.time_embedding.linear_2.out_features)
    alone = hidden.new_zeros(len(seen), 1)
    for block in unet.down_blocks[:FINER]:
        hidden, _ = block(hidden, temb=level, image_only_indicator=alone)
    return hidden, wanted


def shown(unet: nn.Module, old: Components, seen: Tensor) -> Answers:
    """Disparity from -1 to 1 of pictures [B, 3, h, w], by the new model and by the old one."""
    embeds = old.image_encoder(clip_pixels(seen)).image_embeds[:, None]  # [B, 1, e]

    def clean(network: nn.Module, image: Tensor) -> Tensor:
        """From no noise at the first level, where what is estimated is the negative velocity."""
        image = image[:, None]
        nothing = torch.zeros_like(image)
        batch = Latents(image, nothing, embeds, nothing, nothing)
        sigma = SIGMA.expand(len(image)).view(-1, 1, 1, 1, 1)
        return -velocity_of(network, nothing, sigma, batch, PRECISION)[:, 0]

    with torch.no_grad():
        latents = old.vae.encode(seen).latent_dist.mode()
        estimate = clean(old.unet, latents) / old.vae.config.scaling_factor
        wanted = old.vae.decode(estimate, num_frames=1).sample.mean(1, keepdim=True)
    return clean(unet, seen) / PIXELS_SCALE, wanted.expand(-1, 3, -1, -1)


def teach(
    name: str, part: nn.Module, steps: int, views: Views, answers: Callable[[Tensor], Answers]
) -> None:
    """Train what is not temporal in a part of the new denoiser, to answer as the old model does."""
    plan = Optimisation(steps=steps, learning_rate=4e-3, optimizer="muon", warmup=20)
    learns = [
        parameter.requires_grad_(True)
        for parameter_name, parameter in part.named_parameters()
        if not SLEEPS.search(parameter_name)
    ]
    optimizer = optimizer_of(plan, learns)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(plan, step)
        seen = views.batch()
        with PRECISION():
            answer, wanted = answers(seen)
        error = F.mse_loss(answer.float(), wanted.float()) / wanted.float().var()
        optimizer.zero_grad()
        error.backward()
        nn.utils.clip_grad_norm_(learns, 1.0)
        optimizer.step()
        if step % 20 == 0 or step == steps - 1:
            typer.echo(f"{name} {step + 1}/{steps}: {float(error.detach()):.3f} of the variance")
    part.requires_grad_(False)


if __name__ == "__main__":
    typer.run(main)
