"""Which parameters of the published networks a stage trains: decided by their names alone.

Stable Video Diffusion is an image model with temporal layers put between its own. ``temporal`` is
what was put in, and mixes frames:

* ``temporal_res_block``: convolutions over 3 frames, with their norms and projections;
* ``temporal_transformer_blocks``: attention over the frames of a window, at every pixel;
* ``time_pos_embed``: the embedding of a frame's number;
* ``time_mixer``: the learnt share of the temporal result.

``spatial`` is what works on each frame alone inside the down, middle and up blocks:
``spatial_res_block``, ``transformer_blocks`` with the ``norm``, ``proj_in`` and ``proj_out`` of
their unit, ``downsamplers`` and ``upsamplers``.

``shared`` is the rest, outside the blocks: ``conv_in``, ``conv_norm_out``, ``conv_out`` (the
latents' way in and out) and ``time_embedding``, ``add_embedding`` (noise level and time ids, which
both kinds of layer are told). They belong to neither and learn only where all layers do.

Of the VAE's decoder, which is made likewise, a stage trains what works on each frame alone: all but
the temporal layers, of which it has one more, ``time_conv_out``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from torch import nn

from depthcrafter_cli.errors import UsageError
from depthcrafter_cli.models.silent import mark_asleep
from depthcrafter_cli.training.config import LayerGroup

Group = Literal["temporal", "spatial", "shared"]

_TEMPORAL = {"temporal_res_block", "temporal_transformer_blocks", "time_pos_embed", "time_mixer"}
_SPATIAL = {"spatial_res_block", "transformer_blocks", "norm", "proj_in", "proj_out",
            "downsamplers", "upsamplers"}  # fmt: skip
_SHARED = {"conv_in", "conv_norm_out", "conv_out", "time_embedding", "add_embedding"}
_BLOCKS = {"down_blocks", "mid_block", "up_blocks"}


def group_of(name: str) -> Group:
    """The group of the parameter ``name``. Raises ValueError for one the UNet has not."""
    parts = name.split(".")
    if parts[0] in _SHARED:
        return "shared"
    if parts[0] in _BLOCKS:
        if _TEMPORAL & set(parts):
            return "temporal"
        if _SPATIAL & set(parts):
            return "spatial"
    raise ValueError(f"got the parameter {name}, expected one of the published UNet")


def trained_names(names: Iterable[str], trains: LayerGroup, frozen: Sequence[str]) -> list[str]:
    """Those of ``names`` that learn in a stage; none that contains one of ``frozen``.

    Where there is an adapter, none but its own.
    """
    listed = list(names)
    listed = [name for name in listed if ".lora_" in name] or listed
    return [
        name
        for name in listed
        if _learns(name, trains) and not any(part in name for part in frozen)
    ]


def _learns(name: str, trains: LayerGroup) -> bool:
    if trains == "decoder":
        return not (_TEMPORAL | {"time_conv_out"}) & set(name.split("."))
    return trains in ("all", group_of(name))


def select_layers(network: nn.Module, trains: LayerGroup, frozen: Sequence[str]) -> None:
    """Let gradients reach the layers that a stage trains, and no others."""
    parameters = dict(network.named_parameters())
    chosen = set(trained_names(parameters, trains, frozen))
    if not chosen:
        raise UsageError(
            f"got a stage that trains {trains} with frozen = {list(frozen)}, expected at least one "
            "parameter left: shorten frozen."
        )
    for name, parameter in parameters.items():
        parameter.requires_grad_(name in chosen)
        parameter.grad = None
    mark_asleep(network)
