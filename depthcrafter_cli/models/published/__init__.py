"""The networks of Stable Video Diffusion: their layers, under the names of published models.

Those names are diffusers' and transformers'. A run needs little more than the layers' weights, with
which ``reordered`` computes, whoever built them; so they are built here, and what a run calls has a
forward pass here. To import those libraries takes longer than all else before the first frame: only
what trains networks does.
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, NamedTuple, TypeVar

import torch

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
    with torch.device("meta"):
        return Networks(
            UNet(_read(UNetConfig, configs["unet"])),
            Vae(_read(VaeConfig, configs["vae"])),
            ImageEncoder(_read(ImageEncoderConfig, configs["image_encoder"])),
        )


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
