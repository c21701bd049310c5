"""Processes that share a network's weights, each keeping a part of every one (PyTorch's FSDP).

A block's weights are brought together while it computes. Gradients, the optimiser's state and the
averaged weights stay in parts. All processes must use the network equally often, and gather at the
same time.
"""

from __future__ import annotations

import gc
import warnings
from copy import deepcopy

import torch
import torch.distributed.fsdp as fsdp
from diffusers.models.resnet import SpatioTemporalResBlock
from diffusers.models.transformers.transformer_temporal import TransformerSpatioTemporalModel
from torch import Tensor, nn

from depthcrafter_cli.errors import UsageError
from depthcrafter_cli.training.config import TrainingConfig

BLOCKS = SpatioTemporalResBlock, TransformerSpatioTemporalModel
"""What is brought together at once; what is outside of them, once a step."""


def require_sharding(recipe: TrainingConfig, processes: int) -> None:
    """Raises UsageError where so many processes cannot share a recipe's network."""
    obstacle = sharding_obstacle(recipe)
    if processes == 1:
        obstacle = "one process, expected several: start them with accelerate launch or torchrun"
    elif not hasattr(fsdp, "FSDPModule"):
        obstacle = f"PyTorch {torch.__version__}, expected 2.6 or newer: upgrade it"
    if obstacle:
        raise UsageError(f"got `share_model` with {obstacle}.")


def sharding_obstacle(recipe: TrainingConfig) -> str:
    """What in a recipe keeps processes from sharing its network, and what to do; "" if nothing."""
    other = [stage.optimizer for stage in recipe.stages if stage.optimizer != "adamw"]
    if recipe.adapter is not None:
        return "[adapter], expected all weights to be trained: an adapter needs no sharing"
    if any(stage.trains == "decoder" for stage in recipe.stages):
        return 'trains = "decoder", expected the denoiser alone: train the decoder without'
    if any(stage.optimizer_on == "host" for stage in recipe.stages):
        return 'optimizer_on = "host", expected it on the device, where each has a part of it'
    if other:
        return f'optimizer = "{other[0]}", expected "adamw", which takes weights in parts'
    return ""


def shard(network: nn.Module, device: torch.device, processes: int) -> nn.Module:
    """The same network with its weights in parts; those of ``network`` itself are let go."""
    from torch.distributed.device_mesh import init_device_mesh

    gc.collect()  # of what the stage before shared
    # Its own modules and hooks, around the same weights.
    parts = deepcopy(network, {id(p): p for p in network.parameters()})
    mesh = init_device_mesh(device.type, (processes,))
    for module in parts.modules():
        if isinstance(module, BLOCKS):
            fsdp.fully_shard(module, mesh=mesh)
    fsdp.fully_shard(parts, mesh=mesh)
    release(network)
    # Blocks return views, and nothing here changes these in place.
    warnings.filterwarnings("ignore", "FSDP2-wrapped module", UserWarning)
    return parts


def gather(parts: nn.Module, network: nn.Module, *, keep: bool = True) -> None:
    """Bring the weights into ``network`` again; to be called in all processes, who may not keep."""
    with torch.no_grad():
        for part, parameter in zip(parts.parameters(), network.parameters(), strict=True):
            full = in_full(part.detach())
            if keep:
                parameter.data = full


def release(network: nn.Module) -> None:
    """Let a network's weights go, and its memory with them, until they are gathered again."""
    for parameter in network.parameters():
        parameter.data = parameter.data.new_empty(0)


def is_sharded(network: nn.Module) -> bool:
    """Whether its weights are in parts."""
    return any(hasattr(parameter, "full_tensor") for parameter in network.parameters())


def in_full(tensor: Tensor) -> Tensor:
    """All of a tensor, which all processes must ask for if it is in parts."""
    full: Tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return full


def own(tensor: Tensor) -> Tensor:
    """What this process has of a tensor, in the same memory."""
    part: Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return part


def joined(part: Tensor, like: Tensor, *, keep: bool = True) -> Tensor:
    """All of what this process has a ``part`` of, as of the parameter ``like``, on the host.

    All processes must ask for it; those that do not ``keep`` it get their part. A whole one is
    returned as it is.
    """
    if not hasattr(like, "full_tensor"):
        return part
    from torch.distributed.tensor import DTensor

    full = DTensor.from_local(
        own(part).to(like.device), like.device_mesh, like.placements, shape=like.shape,
        stride=like.stride(),
    ).full_tensor()  # fmt: skip
    return full.cpu() if keep else part


def split(tensor: Tensor, like: Tensor) -> Tensor:
    """A whole tensor in parts as the parameter ``like`` is, if it is."""
    if not hasattr(like, "full_tensor"):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    parts: Tensor = distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements)
    return parts
