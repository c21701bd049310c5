"""Branches that add nothing, because the weights of their last layer are all zero.

Temporal halves that nothing has trained yet have them. To leave one out changes no result: what it
would add is exactly zero. An autoencoder whose latents are the pixels themselves is left out as a
whole, which changes results by what it rounds. What is silent is read from the weight files, once,
so that no GPU is asked during a run; and without PyTorch, so that a run is planned at once.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from depthcrafter_cli.models.adapters import adapted_layers
from depthcrafter_cli.models.identity import identity_ends
from depthcrafter_cli.models.layout import reading_weights, weight_files

if TYPE_CHECKING:
    from torch import Tensor, nn

# The layers that end a branch: of residual blocks, of attention, of feed-forward layers, of whole
# transformers, and of the embedding of frame numbers.
_LAST = re.compile(r"(?:^|\.)(?:conv2|to_out\.0|net\.2|proj_out|time_pos_embed\.linear_2)$")
HALVES = ("encoder", "decoder")  # of an autoencoder
_IN_BRANCH = re.compile(r"\.(?:resnets|attentions)\.(?!.*conv_shortcut)")


def silent_layers(folder: Path, network: str, adapter: Path | None = None) -> frozenset[str]:
    """Names of the layers of one network of a model folder that end a branch and are all zero.

    Those that the folder ``adapter`` adds to are not. Of an autoencoder, ``encoder`` and
    ``decoder`` are among them where they give what they are given. Raises WeightsError for a
    weight file that cannot be read.
    """
    found, held = dict[str, bool](), dict[str, _Values]()
    with reading_weights(folder / network):
        for path in weight_files(folder, network):
            with safe_open(path, framework="np") as file:
                # Biases come first: few bytes, and hardly ever zero where anything was trained.
                keys = sorted(file.offset_keys())
            values = _Values(path)
            held |= dict.fromkeys(keys, values)
            for key in keys:
                layer = key.rpartition(".")[0]
                if _LAST.search(layer) and found.get(layer, True):
                    found[layer] = values.all_zero(key)
        if network == "vae":
            found |= {half: _is_identity(half, held, found) for half in HALVES}
    changed = adapted_layers(adapter) if network == "unet" else frozenset()
    return frozenset(layer for layer, silent in found.items() if silent) - changed


def _is_identity(half: str, held: Mapping[str, _Values], found: Mapping[str, bool]) -> bool:
    """Whether a half of an autoencoder gives what it is given, by weights that are exactly so.

    ``found`` says which of the layers that end branches are silent: all of them, then.
    """
    if not all(silent for layer, silent in found.items() if layer.startswith(half)):
        return False
    expected = identity_ends(half)
    own = {key for key in held if key.startswith(half) and not _IN_BRANCH.search(key)}
    return own == {key for key in expected if key.startswith(half)} and all(
        key in held and held[key].equals(key, tensor) for key, tensor in expected.items()
    )


_FLOATS = ("F64", "F32", "F16", "BF16")


class _Values:
    """The values in a sound safetensors file as they lie there, whatever their type."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            self._entries = json.loads(file.read(length))
        self._path, self._start = path, 8 + length

    def all_zero(self, key: str) -> bool:
        """Whether all values of a tensor are 0; of most that are not, the first is read alone."""
        width, place, size = self._lies(key)
        with self._path.open("rb") as file:
            file.seek(place)
            for count in (min(size, 1), max(size - 1, 0)):
                values = np.fromfile(file, f"<u{width}", count)
                # Without the sign, as -0 is 0 too.
                if (values << values.dtype.type(1)).any():
                    return False
        return True

    def equals(self, key: str, expected: NDArray[np.float32]) -> bool:
        """Whether a tensor is of numbers that are exactly the expected ones."""
        (width, place, size), kind = self._lies(key), self._entries[key]["dtype"]
        if kind not in _FLOATS or self._entries[key]["shape"] != [*expected.shape]:
            return False
        values = np.fromfile(self._path, f"<u{width}", size, offset=place)
        if kind == "BF16":  # the upper half of a float32
            values, width = values.astype("<u4") << np.uint32(16), 4
        return np.array_equal(values.view(f"<f{width}"), expected.ravel())

    def _lies(self, key: str) -> tuple[int, int, int]:
        """The width of a tensor's values in bytes, where they begin in the file, and how many."""
        begin, end = self._entries[key]["data_offsets"]
        bits = re.search(r"\d+", self._entries[key]["dtype"])  # BOOL has none
        width = int(bits[0]) // 8 if bits else 1
        return width, self._start + begin, (end - begin) // width


def _all_zero(tensor: Tensor) -> bool:
    """Whether all values are 0; of a mapped tensor that starts otherwise, one page is read."""
    values = tensor.flatten()
    return not (values.is_meta or values[:1].any() or values.any())


def mark_silent(network: nn.Module, layers: Collection[str]) -> None:
    """Let a network leave out the branches that end in ``layers``, and no others.

    So does an autoencoder the halves that are among them.
    """
    for name, module in network.named_modules():
        if name in HALVES or _LAST.search(name):
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
    """Whether all of ``layers`` were marked to add nothing, or to give what they are given."""
    return all(getattr(layer, "silent", False) for layer in layers)
