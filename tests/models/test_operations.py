"""What the networks ask of a GPU at the published sizes, on tensors without values."""

from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import pytest
import simulation
import torch
import tracker
from simulation import Simulation
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from depthcrafter_cli.memory.estimate import Workload
from depthcrafter_cli.types import MemoryPlan, Size

INT32, GRID = 2**31 - 1, 2**16 - 1
HOSTED = MemoryPlan(MemoryPlan.default("cuda").chunk_values, 1, True, True, True, True, True)
COPIES = ("copy_", "_to_copy")


class Audit(TorchDispatchMode):
    """Operations that a GPU refuses, is slow at, or counts wrongly."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result, name = operation(*args, **(kwargs or {})), operation.__name__
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        # A host's number may be anywhere; a host's tensor only in copies.
        places = {tensor.device.type for tensor in given if tensor.dim()}
        if len(places) > 1 and not name.startswith(COPIES):
            self.found[f"{name} of tensors on {sorted(places)}"] += 1
        for tensor in (*given, *made):
            if tensor.dtype == torch.float64:
                self.found[f"{name} in float64"] += 1
            # Bytes are the room that weights take here, which no operation counts through.
            if tensor.numel() > INT32 and tensor.dtype != torch.uint8:
                self.found[f"{name} of {tuple(tensor.shape)}, beyond int32"] += 1
        return result


def audited(workload: Workload, plan: MemoryPlan, configs: Path = simulation.CONFIGS) -> Counter:
    audit, simulated = Audit(), simulation.simulated
    attention = tracker._flash_attention

    def attend(query, key, value, **options):
        if len(query) > GRID:
            audit.found[f"attention of {tuple(query.shape)}, more than a grid has"] += 1
        return attention(query, key, value, **options)

    @contextmanager
    def both():
        with simulated() as found, audit:
            yield found

    with (
        mock.patch.object(tracker, "_flash_attention", attend),
        mock.patch.object(simulation, "simulated", both),
    ):
        Simulation(configs).peaks(workload, plan, steps=1)
    return audit.found


@pytest.mark.slow
@pytest.mark.parametrize("plan", [MemoryPlan.default("cuda"), HOSTED], ids=["default", "offloaded"])
@pytest.mark.parametrize("size", [Size(576, 1024), Size(1088, 1920)], ids=str)
def test_a_gpu_can_do_all_that_is_asked_of_it(size, plan):
    assert not audited(Workload(size, 110, 8, 2), plan)


def test_a_gpu_can_do_all_that_nano_asks_of_it():
    nano = Path(__file__).parents[2] / "weights" / "nano"
    assert not audited(Workload(Size(192, 320), 24, 8, 2), MemoryPlan.default("cuda"), nano)


def test_the_audit_finds_what_it_looks_for():
    like = {"device": "meta"}
    with Audit() as audit:
        torch.ones(3, **like) + torch.ones(3, dtype=torch.float64, **like)
        torch.empty(2**16, 2**15, **like).add_(1)
        torch.ones(3, **like).copy_(torch.ones(3))
    kinds = " ".join(audit.found)
    assert "float64" in kinds and "beyond int32" in kinds and "tensors on" not in kinds
    with Audit() as audit, pytest.raises(RuntimeError):
        torch.ones(3, **like).add(torch.ones(3))
