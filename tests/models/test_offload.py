"""Tensors and weights that wait on the host: in the right order, in few places, made once."""

import weakref

import pytest
import torch

from depthcrafter_cli.models.copies import Copies
from depthcrafter_cli.models.host import HostMemory, host_memory
from depthcrafter_cli.models.offload import Offload
from depthcrafter_cli.models.reordered.unet import WindowForward
from depthcrafter_cli.models.residency import Residency, settle
from depthcrafter_cli.types import MemoryPlan
from tests.models.test_reordered import inputs, plain_unet, random_unet

CPU = torch.device("cpu")


class LateCopies(Copies):
    """A stream that is always behind: copies happen, in order, when somebody waits for them.

    What is read before it has arrived is NaN, and what is changed before it has left arrives
    changed. ``pieces`` is the most tensors that were on the device at once to come from the host,
    ``leaving`` the most that were on their way there.
    """

    def __init__(self) -> None:
        self.begun = self.done = self.pieces = self.leaving = 0
        self._queue, self._outward, self._host, self._arrivals = [], [], set(), []

    def begin(self, targets, sources):
        self.begun += 1
        outward = sources[0].untyped_storage().data_ptr() not in self._host
        for target, source in zip(targets, sources, strict=True):
            target.fill_(float("nan"))
            if outward:
                self._host.add(target.untyped_storage().data_ptr())
            else:
                self._arrivals.append(weakref.ref(target.untyped_storage()))
            self._queue.append((self.begun, target, source))
        self._outward += [self.begun] * outward
        self._arrivals = [ref for ref in self._arrivals if ref() is not None]
        self.pieces = max(self.pieces, len(self._arrivals))
        self.leaving = max(self.leaving, sum(mark > self.done for mark in self._outward))
        return self.begun

    def wait(self, mark):
        while self._queue and self._queue[0][0] <= mark:
            _, target, source = self._queue.pop(0)
            target.copy_(source)
        self.done = max(self.done, mark)


@pytest.mark.parametrize(("levels", "shape"), [(4, (5, 16, 24)), (4, (3, 9, 14))])
@pytest.mark.parametrize("values", [3000, 30_000, 10**8])
@pytest.mark.parametrize("by_blocks", [False, True])
def test_copies_that_are_always_late_change_nothing(levels, shape, values, by_blocks):
    unet, (sample, timestep, embeds, ids) = (
        random_unet(levels, torch.float32),
        inputs(*shape, torch.float32),
    )
    plain, skips = plain_unet(levels, shape, torch.float32), LateCopies()
    plan = MemoryPlan(values, offload_blocks=by_blocks, offload_skips=True)
    with torch.inference_mode():
        blocks = Residency(CPU, by_blocks, LateCopies())
        window = WindowForward(unet, embeds, plan, blocks, Offload(CPU, copies=skips))
        for _ in range(2):  # from the second step on, by_blocks blocks are sent for ahead
            found = window(sample, timestep, ids)
            assert (found - plain).abs().max() <= 1e-5 * plain.abs().max()
    assert skips.leaving == 1 and 1 <= skips.pieces <= 2
    assert skips.begun >= 2 * 2 * 12  # 12 skips, there and back, in each of two steps


class CountedStash(HostMemory):
    """Remembers every buffer it ever made."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[weakref.ref] = []

    def take(self, size, device):
        buffer = super().take(size, device)
        storage = buffer.untyped_storage()
        if all(ref() is not storage for ref in self.made):
            self.made.append(weakref.ref(storage))
        return buffer

    @property
    def present(self) -> int:
        return sum(ref() is not None for ref in self.made)


def forward(
    host_memory: HostMemory, frames: int, height: int, width: int, unet=None
) -> torch.Tensor:
    sample, timestep, embeds, ids = inputs(frames, height, width, torch.float32)
    plan = MemoryPlan(30_000, offload_skips=True)
    unet = unet or random_unet(4, torch.float32)
    with torch.inference_mode():
        offload = Offload(CPU, host_memory)
        window = WindowForward(unet, embeds, plan, Residency(CPU, offloaded=False), offload)
        return window(sample, timestep, ids)


def test_host_memory_is_made_once_and_survives_a_change_of_size():
    host_memory = CountedStash()
    first = forward(host_memory, 5, 16, 24)
    assert len(host_memory.made) == host_memory.present == 12
    assert torch.equal(forward(host_memory, 5, 16, 24), first)
    assert len(host_memory.made) == 12  # the next step, window or clip makes nothing new
    forward(host_memory, 3, 8, 16)
    assert len(host_memory.made) == 12  # a smaller one neither
    larger = forward(host_memory, 6, 24, 24)
    assert host_memory.present == 12  # a larger one replaces what has become too small
    made = len(host_memory.made)
    assert torch.equal(forward(host_memory, 6, 24, 24), larger) and len(host_memory.made) == made
    assert torch.equal(forward(host_memory, 5, 16, 24), first) and len(host_memory.made) == made
    host_memory.clear()
    assert host_memory.present == 0


def test_a_failed_pass_gives_its_host_memory_back():
    host_memory, unet = CountedStash(), random_unet(4, torch.float32)

    def fail(*_):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    block = unet.up_blocks[3].resnets[1].spatial_res_block
    handle = block.time_emb_proj.register_forward_pre_hook(fail)
    try:
        forward(host_memory, 5, 16, 24)
        pytest.fail("it did not fail")
    except torch.OutOfMemoryError:
        handle.remove()
    expected = forward(host_memory, 5, 16, 24)
    assert len(host_memory.made) == 12
    assert torch.equal(forward(HostMemory(), 5, 16, 24), expected)


def test_host_memory_is_as_large_as_asked_for():
    assert host_memory(1000, CPU).shape == (1000,)
    assert host_memory(0, CPU).shape == (0,)


def test_weights_are_home_again_where_the_next_ones_find_no_room():
    first, second = torch.nn.Linear(3, 3), torch.nn.Linear(4, 4)
    homes = [parameter.data_ptr() for parameter in (*first.parameters(), *second.parameters())]

    class Full(Copies):
        def begin(self, targets, sources):
            if self.full and targets[0].shape == (4, 4):
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return super().begin(targets, sources)

    copies = Full()
    copies.full, blocks = False, Residency(CPU, True, copies)
    for module in (first, second):
        with blocks.on_device(module):
            pass
    copies.full = True
    with pytest.raises(torch.OutOfMemoryError), blocks.on_device(first):
        pass
    found = [parameter.data_ptr() for parameter in (*first.parameters(), *second.parameters())]
    assert found == homes


def test_weights_that_are_home_stay_what_they_are():
    network = torch.nn.Linear(2, 2)
    places = [tensor.data_ptr() for tensor in network.parameters()]
    with torch.inference_mode():  # the device of the first of several processes on a CPU
        settle(network, torch.device("cpu", 0), False, HostMemory(print))
    assert [tensor.data_ptr() for tensor in network.parameters()] == places
    network.requires_grad_(True)  # as it does not for what inference makes
