"""Branches that add nothing, because the weights of their last layer are all zero.

An autoencoder that is the identity has them, and so do temporal halves that nothing has trained
yet. To leave one out changes no result: what it would add is exactly zero. Which layers these are
is read from the weight files, once, so that no GPU is asked during a run; and without PyTorch, so
that a run is planned at once.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from safetensors import safe_open

from depthcrafter_cli.models.adapters import adapted_layers
from depthcrafter_cli.models.layout import reading_weights, weight_files

if TYPE_CHECKING:
    from torch import Tensor, nn

# The layers that end a branch: of residual blocks, of attention, of feed-forward layers, of whole
# transformers, and of the embedding of frame numbers.
_LAST = re.compile(r"(?:^|\.)(?:conv2|to_out\.0|net\.2|proj_out|time_pos_embed\.linear_2)$")


def silent_layers(folder: Path, network: str, adapter: Path | None = None) -> frozenset[str]:
    """Names of the layers of one network of a model folder that end a branch and are all zero.

    Those that the folder ``adapter`` adds to are not. Raises WeightsError for a weight file that
    cannot be read.
    """
    found: dict[str, bool] = {}
    with reading_weights(folder / network):
        for path in weight_files(folder, network):
            with safe_open(path, framework="np") as file:
                # Biases come first: few bytes, and hardly ever zero where anything was trained.
                keys = sorted(file.offset_keys())
            values = _Values(path)
            for key in keys:
                layer = key.rpartition(".")[0]
                if _LAST.search(layer) and found.get(layer, True):
                    found[layer] = values.all_zero(key)
    changed = adapted_layers(adapter) if network == "unet" else frozenset()
    return frozenset(layer for layer, silent in found.items() if silent) - changed


class _Values:
    """The values in a sound safetensors file as they lie there, whatever their type."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            self._entries = json.loads(file.read(length))
        self._path, self._start = path, 8 + length

    def all_zero(self, key: str) -> bool:
        """Whether all values of a tensor are 0; of most that are not, the first is read alone."""
        begin, end = self._entries[key]["data_offsets"]
        bits = re.search(r"\d+", self._entries[key]["dtype"])  # BOOL has none
        width = int(bits[0]) // 8 if bits else 1
        size = (end - begin) // width
        with self._path.open("rb") as file:
            file.seek(self._start + begin)
            for count in (min(size, 1), max(size - 1, 0)):
                values = np.fromfile(file, f"<u{width}", count)
                # Without the sign, as -0 is 0 too.
                if (values << values.dtype.type(1)).any():
                    return False
        return True


def _all_zero(tensor: Tensor) -> bool:
    """Whether all values are 0; of a mapped tensor that starts otherwise, one page is read."""
    values = tensor.flatten()
    return not (values.is_meta or values[:1].any() or values.any())


def mark_silent(network: nn.Module, layers: Collection[str]) -> None:
    """Let a network leave out the branches that end in ``layers``, and no others."""
    for name, module in network.named_modules():
        if _LAST.search(name):
            module.silent = name in layers


def mark_asleep(network: nn.Module) -> None:
    """Let a network that learns leave out the branches that end in zeros which stay zeros.

    What is left out gets no gradient; so those that end in a layer that learns count.
    """
    ends = {name: layer for name, layer in network.named_modules() if _LAST.search(name)}
    mark_silent(
        network,
        [
            name for name, layer in ends.items()
            if not any(p.requires_grad or not _all_zero(p) for p in layer.parameters())
        ],
    )  # fmt: skip


def is_silent(*layers: nn.Module) -> bool:
    """Whether all of ``layers`` were marked to add nothing."""
    return all(getattr(layer, "silent", False) for layer in layers)
