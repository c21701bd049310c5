"""The networks of Stable Video Diffusion: their layers, under the names of published models.

Those names are diffusers' and transformers'. A run needs little more than the layers' weights, with
which ``reordered`` computes, whoever built them; so they are built here, and what a run calls has a
forward pass here. To import those libraries takes longer than all else before the first frame: only
what trains networks does.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any, NamedTuple, TypeVar

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from depthcrafter_cli.models.published.image_encoder import ImageEncoder, ImageEncoderConfig
from depthcrafter_cli.models.published.unet import UNet, UNetConfig
from depthcrafter_cli.models.published.vae import Vae, VaeConfig

Configs = Mapping[str, Mapping[str, Any]]
Kind = TypeVar("Kind")


class Networks(NamedTuple):
    """The networks of a model, of this package or of the libraries that name the layers."""

    unet: Any
    vae: Any
    image_encoder: Any


def empty_networks(configs: Configs) -> Networks:
    """The networks of a model folder with such configs; their tensors have no memory yet.

    Raises ValueError or TypeError for what is no network of Stable Video Diffusion.
    """
    with torch.device("meta"), _Uninitialised():
        return Networks(
            UNet(_read(UNetConfig, configs["unet"])),
            Vae(_read(VaeConfig, configs["vae"])),
            ImageEncoder(_read(ImageEncoderConfig, configs["image_encoder"])),
        )


class _Uninitialised(TorchFunctionMode):
    """Inside, new layers draw no first weights.

    On the meta device there is nothing to draw, and PyTorch would import its decompositions, SymPy
    among them, to find that out: a second of every start.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if getattr(func, "__module__", "") == nn.init.__name__:
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))


def _read(kind: type[Kind], config: Mapping[str, Any]) -> Kind:
    """What a config says; it may carry the keys of other versions."""
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    return kind(
        **{
            key: tuple(value) if isinstance(value, list) else value
            for key, value in config.items()
            if key in known
        }
    )
