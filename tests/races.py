"""A detector of races between the computation and the copies beside it, on the CPU.

The host, the GPU's compute stream and each stream of copies are actors with vector clocks: what an
actor knows to be done is what it has waited for. Every operation of PyTorch is one of the compute
stream, and copies are those of :class:`Side`. It is a race when

* an actor touches memory that another one touched, one of them writing, and does not know the
  other to be done;
* a tensor of the device is freed, so that the compute stream may have its memory at once, while
  that stream does not know the copies from or to it to be done;
* host memory is freed, and so unpinned at once, while the host does not know that.
"""

import weakref
from collections import Counter
from contextlib import ExitStack, contextmanager
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from depthcrafter_cli.models import host, offload, residency
from depthcrafter_cli.models.copies import Copies

COMPUTE = "compute"


def learn(knower: Counter, known: Counter) -> None:
    for actor, time in known.items():
        knower[actor] = max(knower[actor], time)


class World:
    """All actors, every storage with who touched it last, and the ``races`` found so far."""

    def __init__(self) -> None:
        self.compute, self.host = Counter(), Counter()
        self.races: Counter[str] = Counter()
        self.copies = self.syncs = 0
        self.silent = False  # what happens now is the detector's own doing
        self._touched: dict[int, dict] = {}
        self._alive: dict[int, weakref.ref] = {}
        self._pinned: set[int] = set()

    def know(self, tensor: Tensor) -> int:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self._alive:
            self._touched[key] = {}
            self._alive[key] = weakref.ref(storage, lambda _: self._freed(key))
        return key

    def pin(self, tensor: Tensor) -> None:
        self._pinned.add(self.know(tensor))

    def touch(self, tensor: Tensor, actor: str, clock: Counter, what: str, *, write: bool) -> None:
        key = self.know(tensor)
        for (other, wrote), (time, by) in self._touched[key].items():
            if other != actor and (wrote or write) and clock[other] < time:
                self.races[f"{what} by {actor[:4]} not after {by} by {other[:4]}"] += 1
        self._touched[key][actor, write] = clock[actor], what

    def sync(self) -> None:
        """The host waits for the computation."""
        self.syncs += 1
        learn(self.host, self.compute)

    def _freed(self, key: int) -> None:
        kind, knower = ("pinned", self.host) if key in self._pinned else ("device", self.compute)
        for (actor, _), (time, by) in self._touched.pop(key).items():
            if actor != COMPUTE and knower[actor] < time:
                self.races[f"{kind} memory freed before {by} by {actor[:4]} is done"] += 1
        del self._alive[key]
        self._pinned.discard(key)


class Compute(TorchDispatchMode):
    """Lets every operation happen on the compute stream."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result, world = operation(*args, **(kwargs or {})), self._world
        if world.silent:
            return result
        world.compute[COMPUTE] += 1
        name, schema = operation.__name__, operation._schema
        if name.startswith(("_local_scalar_dense", "is_nonzero")):
            world.sync()
        aliases = [returned.alias_info for returned in schema.returns]
        if any(alias is not None and not alias.is_write for alias in aliases):
            return result  # a view touches nothing
        for argument, value in zip(schema.arguments, args, strict=False):
            write = argument.alias_info is not None and argument.alias_info.is_write
            self._touch(value, name, write)
        if "empty" in name:
            for tensor in tensors(result):
                world.know(tensor)
        else:
            self._touch(result, name, write=True)
        return result

    def _touch(self, value, name: str, write: bool) -> None:
        for tensor in tensors(value):
            self._world.touch(tensor, COMPUTE, self._world.compute, name, write=write)


def tensors(value) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]


class Side(Copies):
    """What a SideStream does to who knows what."""

    count = 0

    def __init__(self, world: World) -> None:
        Side.count += 1
        self.name, self.world, self.clock = f"side {Side.count}", world, Counter()

    def begin(self, targets, sources):
        learn(self.clock, self.world.compute)
        self.clock[self.name] += 1
        self.world.copies += 1
        self.world.silent = True
        for target, source in zip(targets, sources, strict=True):
            target.copy_(source)
            self.world.touch(source, self.name, self.clock, "copy from", write=False)
            self.world.touch(target, self.name, self.clock, "copy to", write=True)
        self.world.silent = False
        return self.world, Counter(self.clock)

    def wait(self, mark):
        learn(self.world.compute, mark[1])

    @staticmethod
    def finish(mark):
        learn(mark[0].host, mark[1])

    def __del__(self):
        learn(self.world.host, self.clock)
        # Waiting for a stream, the host knows what that waited for; and all that it asks of the
        # computation from now on comes after.
        learn(self.world.compute, self.clock)


@contextmanager
def watched():
    """Inside, every copy between the host and the device is one on a stream of its own."""
    world, cpu = World(), Tensor.cpu

    def host_memory(size, _device, _warn):
        world.silent = True
        memory = torch.empty(max(size, 1), dtype=torch.uint8)[:size]
        world.silent = False
        world.pin(memory)
        return memory

    def to_cpu(tensor, *args, **kwargs):
        world.sync()
        return cpu(tensor, *args, **kwargs)

    with ExitStack() as stack:
        for module in (residency, offload):
            stack.enter_context(mock.patch.object(module, "copies_for", lambda _: Side(world)))
        stack.enter_context(mock.patch.object(host, "host_memory", host_memory))
        stack.enter_context(mock.patch.object(Tensor, "cpu", to_cpu))
        stack.enter_context(Compute(world))
        yield world
