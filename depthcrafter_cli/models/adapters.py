"""Adapters: what fine-tuning adds to a denoiser's weights, as two small matrices for each layer.

The files are those of the library peft, which trains them. To run a model with an adapter needs no
such library: the product of the two is added to the weights as they are loaded, so that nothing
runs that the model alone would not.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import safe_open

from depthcrafter_cli.errors import WeightsError
from depthcrafter_cli.models.layout import read_json, reading_weights
from depthcrafter_cli.structured import content_errors

if TYPE_CHECKING:
    from torch import Tensor

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "unet/adapter_config.json", "unet/adapter_model.safetensors"
PREFIX = "base_model.model."
"""What peft puts before the names of the network that it adapts."""

BASE = "base_fingerprint"
"""What the metadata of an adapter's file call the :func:`fingerprint` of what it was trained on."""
_SAMPLED = 64  # values of a weight, about

_DOWN, _UP = ".lora_A.weight", ".lora_B.weight"
# Other kinds of adapter that peft writes; none of them is a sum of the weights and a product.
_OTHERS = ("use_dora", "rank_pattern", "alpha_pattern", "modules_to_save", "lora_bias",
           "use_rslora", "fan_in_fan_out")  # fmt: skip
_EXPECTED = "expected a LoRA of linear layers as `depthcrafter train` writes it: copy it again"


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter."""
    # Path.is_file raises an error where the folder may not be searched.
    return os.path.isfile(folder / ADAPTER_CONFIG)  # noqa: PTH113


def adapted_layers(folder: Path | None) -> frozenset[str]:
    """Names of the denoiser's layers that an adapter changes; none where there is no adapter.

    Raises WeightsError for one that cannot be read.
    """
    if folder is None:
        return frozenset()
    with reading_weights(folder), safe_open(folder / ADAPTER_WEIGHTS, framework="np") as file:
        names = (key.removeprefix(PREFIX) for key in file.keys())  # noqa: SIM118
        return frozenset(name.removesuffix(_UP) for name in names if name.endswith(_UP))


def sampled(weight: Tensor) -> bytes:
    """Some values of a weight, the same of a file in float32 and of one in float16."""
    values = weight.detach().flatten()
    return bytes(values[:: max(1, len(values) // _SAMPLED)].half().cpu().numpy().tobytes())


def fingerprint(samples: Mapping[str, bytes]) -> str:
    """What tells adapted weights from others of the same shapes: SHA-256 of names and samples."""
    digest = hashlib.sha256()
    for name, sample in sorted(samples.items()):
        digest.update(name.encode() + sample)
    return digest.hexdigest()


@dataclass(frozen=True)
class Adapter:
    """``scale`` times the product of a layer's two matrices is what is added to its weights.

    ``base`` is the fingerprint of those that it was trained on; empty where it is not known.
    """

    folder: Path
    scale: float
    pairs: dict[str, tuple[Tensor, Tensor]]
    base: str = ""

    @classmethod
    def read(cls, folder: Path) -> Adapter:
        """Raises WeightsError for a file that is missing, damaged, or of another kind."""
        import torch
        from safetensors.torch import load_file

        config = read_json(folder / ADAPTER_CONFIG)
        with content_errors(folder / ADAPTER_CONFIG, WeightsError, _EXPECTED):
            others = [name for name in _OTHERS if config.get(name)]
            if config.get("peft_type") != "LORA" or config.get("bias", "none") != "none" or others:
                raise ValueError(f"it is of another kind ({', '.join(others) or 'no plain LoRA'})")
            scale = float(config["lora_alpha"]) / int(config["r"])
        with reading_weights(folder):
            tensors = {
                name.removeprefix(PREFIX): tensor
                for name, tensor in load_file(folder / ADAPTER_WEIGHTS).items()
            }
            with safe_open(folder / ADAPTER_WEIGHTS, framework="np") as file:
                base = (file.metadata() or {}).get(BASE, "")
        with content_errors(folder / ADAPTER_WEIGHTS, WeightsError, _EXPECTED):
            layers = {name.removesuffix(_UP) for name in tensors if name.endswith(_UP)}
            names = {layer + end for layer in layers for end in (_DOWN, _UP)}
            if not layers or names != tensors.keys():
                strange = sorted(names ^ tensors.keys())[:3]
                raise ValueError(f"it holds no pairs of matrices ({', '.join(strange)})")
            if not all(torch.isfinite(tensor).all() for tensor in tensors.values()):
                raise ValueError("it holds values that are no finite numbers")
        pairs = {
            f"{layer}.weight": (tensors[layer + _DOWN].float(), tensors[layer + _UP].float())
            for layer in layers
        }
        return cls(folder, scale, pairs, base)

    def require_fitting(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Raises WeightsError unless weights of these shapes, by name, are what it was made for."""
        for name, (down, up) in self.pairs.items():
            made_for = up.shape[0], down.shape[-1]
            if shapes.get(name) != made_for or up.shape[1:] != down.shape[:1]:
                raise WeightsError(
                    f"got the adapter {self.folder}, made for a {name} of {made_for}, with a model "
                    f"whose own is {shapes.get(name)}, expected the model it was trained on: name "
                    "that before the +."
                )

    def doubt(self, samples: Mapping[str, bytes]) -> str:
        """A sentence where weights with these samples, by name, are others than it was made for."""
        if not self.base or fingerprint(samples) == self.base:
            return ""
        return (
            f"The adapter {self.folder} was trained on other weights than those it is added to, "
            "which have the same shapes: depth may be worse than without it. Name the model it was "
            "trained on before the +."
        )

    def merged(self, name: str, weight: Tensor) -> Tensor:
        """A weight of an adapted layer with what is added to it, in float32."""
        down, up = self.pairs[name]
        return weight.float() + self.scale * (up @ down)
