"""Training a few small matrices beside the denoiser's frozen weights (LoRA, arXiv 2106.09685).

The library peft puts them there. What is trained, averaged and kept in checkpoints are they alone,
for they alone learn (see :func:`~depthcrafter_cli.training.layers.select_layers`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from depthcrafter_cli.errors import UsageError
from depthcrafter_cli.media.files import missing_package, write_whole
from depthcrafter_cli.models.adapters import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    BASE,
    PREFIX,
    fingerprint,
    sampled,
)
from depthcrafter_cli.training.config import AdapterConfig, TrainingConfig

_NAME = "default"  # peft's own for the first of a network's adapters
# Attention to a single token asks for neither (see shortcuts.py).
_UNUSED = (".attn2.to_q", ".attn2.to_k")


def require_adapters(recipe: TrainingConfig) -> None:
    """Raises UsageError where a recipe trains an adapter and the library for it is not there."""
    lacking = missing_package("[adapter]", "peft", "lora", "leave [adapter] out")
    if recipe.adapter is not None and lacking:
        raise UsageError(lacking)


def add_adapter(unet: nn.Module, config: AdapterConfig, seed: int) -> None:
    """Put matrices beside linear layers whose names contain one of the targets.

    They add nothing at first. Raises UsageError where there is no such layer.
    """
    from peft import inject_adapter_in_model

    layers = [
        name
        for name, module in unet.named_modules()
        if isinstance(module, nn.Linear)
        and any(part in name for part in config.targets)
        and not name.endswith(_UNUSED)
    ]
    if not layers:
        raise UsageError(
            f"got targets = {config.targets} in [adapter], expected parts of names of the "
            'denoiser\'s linear layers, such as "attn" or "ff": correct them.'
        )
    torch.manual_seed(seed)
    inject_adapter_in_model(_lora(config, layers), unet)


def _lora(config: AdapterConfig, layers: list[str]) -> Any:
    from peft import LoraConfig

    return LoraConfig(
        r=config.rank, lora_alpha=config.alpha or config.rank, target_modules=layers, bias="none"
    )


@contextmanager
def merged(unet: nn.Module) -> Iterator[None]:
    """Inside, a network is what one is that was loaded with its adapter: plain layers alone.

    After it the weights are what they were, to the bit.
    """
    adapted = _adapted(unet)
    before = [layer.base_layer.weight.data for _name, layer in adapted]
    try:
        for name, layer in adapted:
            plain = layer.base_layer
            plain.weight.data = plain.weight.data + layer.get_delta_weight(_NAME).detach()
            plain.silent = False
            _put(unet, name, plain)
        yield
    finally:
        for (name, layer), weight in zip(adapted, before, strict=True):
            layer.base_layer.weight.data = weight
            _put(unet, name, layer)


def _put(unet: nn.Module, name: str, layer: nn.Module) -> None:
    home, _, last = name.rpartition(".")
    setattr(unet.get_submodule(home), last, layer)


def save_adapter(folder: Path, unet: nn.Module, config: AdapterConfig, share: float) -> None:
    """Write a network's adapter as peft does, ``share`` of what it adds left out.

    Its metadata tell what the weights were that it goes with.
    """
    tensors: dict[str, Tensor] = {}
    for name, parameter in unet.named_parameters():
        layer, found, rest = name.partition(".lora_")
        if found:
            kept = (1 - share) if rest.startswith("B") else 1.0
            key = f"{PREFIX}{layer}.lora_{rest.replace(f'.{_NAME}', '')}"
            tensors[key] = (kept * parameter.detach()).contiguous().cpu()
    layers = sorted({key.removeprefix(PREFIX).partition(".lora_")[0] for key in tensors})
    settings = _lora(config, layers).to_dict()
    settings["target_modules"] = layers
    (folder / ADAPTER_CONFIG).parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(settings, indent=2, sort_keys=True, default=str) + "\n"
    (folder / ADAPTER_CONFIG).write_text(text, encoding="utf-8")
    samples = {f"{name}.weight": sampled(layer.base_layer.weight) for name, layer in _adapted(unet)}
    metadata = {"format": "pt", BASE: fingerprint(samples)}
    write_whole(folder / ADAPTER_WEIGHTS, save(tensors, metadata=metadata))


def _adapted(unet: nn.Module) -> list[tuple[str, Any]]:
    """Its layers with matrices beside them, by name."""
    return [(name, layer) for name, layer in unet.named_modules() if hasattr(layer, "lora_A")]
