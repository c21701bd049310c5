"""Peaks of memory without a GPU: the real code on tensors that have shapes but no values.

PyTorch's "meta" device stands for the GPU: its operations only work out the shape and type of their
result. The tracker adds up the storages that live there, or on another device. What it cannot see:
workspaces of convolutions, the allocator's rounding and fragments, and the CUDA context.
"""

import weakref
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

DEVICE = torch.device("meta")


class Tracker(TorchDispatchMode):
    """Bytes of all storages on a device, by default the simulated one, now and at most."""

    def __init__(self, device: str = DEVICE.type) -> None:
        super().__init__()
        self._device = device
        self.now = self.peak = 0
        self._seen: dict[int, weakref.ref[Any]] = {}
        self._ignored: set[int] = set()
        self._known: dict[Any, list[tuple[Any, ...]]] = {}

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = self._result(operation, args, kwargs or {})
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self.add(leaf)
        return result

    def _result(self, operation: Any, args: Any, kwargs: Any) -> Any:
        """The operation's result; its shape is worked out, slowly, only the first time."""
        if self._device != DEVICE.type:
            return operation(*args, **kwargs)
        effect = _effect(operation)
        if effect == "in place" and args[0].device.type == DEVICE.type:
            return args[0]
        if effect != "new":
            return operation(*args, **kwargs)
        key = (operation, _signature(args), _signature(tuple(kwargs.items())))
        if key in self._known:
            made = [
                torch.empty_strided(size, stride, dtype=dtype, device=DEVICE)
                for size, stride, dtype in self._known[key]
            ]
            return made[0] if len(made) == 1 else tuple(made)
        result = operation(*args, **kwargs)
        leaves = [result] if isinstance(result, Tensor) else result
        if all(isinstance(leaf, Tensor) and leaf.device.type == DEVICE.type for leaf in leaves):
            self._known[key] = [(leaf.size(), leaf.stride(), leaf.dtype) for leaf in leaves]
        return result

    def add(self, tensor: Tensor) -> None:
        """Count a tensor's storage, once, for as long as it lives."""
        if tensor.device.type != self._device:
            return
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._seen or key in self._ignored:
            return

        def freed(_: Any) -> None:
            del self._seen[key]
            self.now -= size

        self._seen[key] = weakref.ref(storage, freed)
        self.now += size
        self.peak = max(self.peak, self.now)

    def ignore(self, tensor: Tensor) -> None:
        """Do not count a tensor's storage, nor views of it."""
        self._ignored.add(tensor.untyped_storage()._cdata)

    def restart(self) -> int:
        """The peak so far, which is then forgotten."""
        peak, self.peak = self.peak, self.now
        return peak


@cache
def _effect(operation: Any) -> str:
    """What an operation does to memory: ``new`` tensors, a change ``in place``, or ``other``."""
    schema = operation._schema
    written = [argument.alias_info for argument in schema.arguments]
    if any(returned.alias_info for returned in schema.returns) or any(written):
        only_first = written and written[0] and written[0].is_write and not any(written[1:])
        return "in place" if schema.name.endswith("_") and only_first else "other"
    tensors = all(str(returned.type) == "Tensor" for returned in schema.returns)
    return "new" if schema.returns and tensors else "other"


def _signature(value: Any) -> Any:
    """What a result's shape depends on."""
    if isinstance(value, Tensor):
        return value.size(), value.stride(), value.dtype, value.device.type
    if isinstance(value, (tuple, list)):
        return tuple(_signature(item) for item in value)
    return type(value), value
