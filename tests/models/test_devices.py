"""Which device and precision a run gets, and what is said of those it does not get.

No GPU is needed: what PyTorch and the driver say of one is put in their place.
"""

import ctypes
from types import SimpleNamespace

import pytest
import torch
from clips import make_clip
from training_steps import three_stages, write_clip

from depthcrafter_cli.errors import UsageError
from depthcrafter_cli.memory.budget import Budget
from depthcrafter_cli.memory.cards import card, is_slice
from depthcrafter_cli.methods.base import Machine, MethodRequest
from depthcrafter_cli.methods.depthcrafter import DepthCrafterMethod
from depthcrafter_cli.models.devices import pick_device, pick_dtype
from depthcrafter_cli.progress import ignore
from depthcrafter_cli.training.precision import suited_precision
from depthcrafter_cli.types import MemoryPlan, Size

CUDA, CPU = torch.device("cuda"), torch.device("cpu")


@pytest.fixture
def cards(monkeypatch):
    """Two CUDA devices that are only spoken of; the list says what was asked of which."""
    asked, current = [], [0]

    def set_device(device):
        current[0] = torch.device(device).index
        asked.append(("current", current[0]))

    def register(*_):
        asked.append(("pin", current[0]))
        return 0

    cudart = SimpleNamespace(cudaHostRegister=register, cudaHostUnregister=lambda *_: 0)
    for name, answer in (
        ("is_available", lambda: True),
        ("device_count", lambda: 2),
        ("set_device", set_device),
        ("current_device", lambda: current[0]),
        ("cudart", lambda: cudart),
        ("get_device_name", lambda *_: "NVIDIA A100-SXM4-40GB"),
        ("get_device_capability", lambda *_: (8, 0)),
    ):
        monkeypatch.setattr(torch.cuda, name, answer)
    return asked


def named(monkeypatch, name: str, capability: tuple[int, int]) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: name)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: capability)


def driver(monkeypatch, gpus: int | None) -> None:
    """NVIDIA's driver, which has so many GPUs; None takes it away."""

    def load(_name):
        if gpus is None:
            raise OSError("cannot open shared object file")
        return SimpleNamespace(cuInit=lambda _: 0, cuDeviceGetCount=counted)

    def counted(pointer):
        ctypes.cast(pointer, ctypes.POINTER(ctypes.c_int))[0] = gpus
        return 0

    monkeypatch.setattr(ctypes, "CDLL", load)


def planned(folder):
    """What a run would do on the second card."""
    request = MethodRequest(weights=str(folder))
    machine = Machine("cuda:1", "float32", Budget())
    return DepthCrafterMethod().plan(request, Size(64, 64)).on(machine, 1)


def test_host_memory_is_pinned_for_the_card_that_was_chosen(cards, tiny_folder):
    plan = MemoryPlan(10_000, offload_networks=True)  # all weights are pinned, none leaves the host
    planned(tiny_folder).with_memory(plan).load(None, ignore, ignore)
    assert cards[0] == ("current", 1)
    assert ("pin", 1) in cards and ("pin", 0) not in cards


def test_training_and_runs_make_their_card_the_current_one_before_anything_else(
    cards, monkeypatch, tmp_path, tiny_folder
):
    from depthcrafter_cli.workflows.train import _session
    from depthcrafter_cli.workflows.training_request import TrainingRequest

    request = TrainingRequest(tmp_path / "a.toml", tmp_path / "model", device="cuda:1")

    class ReachedError(Exception):
        """Nothing was done before."""

    def stop(device):
        raise ReachedError(str(device))

    monkeypatch.setattr(torch.cuda, "set_device", stop)
    for begin in (
        lambda: _session(None, request, print, print),
        lambda: planned(tiny_folder).load(None, ignore, ignore),
    ):
        with pytest.raises(ReachedError, match="cuda:1"):
            begin()


def test_a_driver_without_a_cuda_build_is_told_with_the_command_that_mends_it(
    cli, clip, monkeypatch, tmp_path, options
):
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(torch.version, "hip", None)
    driver(monkeypatch, 1)
    with pytest.raises(UsageError, match=r"whl/cu126") as refusal:
        pick_device("cuda")
    assert f"torch=={torch.__version__.split('+')[0]}" in str(refusal.value)
    done = cli("run", clip, "--out", tmp_path / "depth.npz", *options)
    assert done.code == 0 and "warning: The CPU is used" in done.err and "whl/cu126" in done.err
    done = cli("batch", clip, "--out", tmp_path / "many", "--format", "npz", *options)
    assert done.code == 0 and done.err.count("The CPU is used") == 1, done.err
    told = []
    assert pick_device("cpu", told.append) == CPU and not told
    recipe = tmp_path / "recipe.toml"
    write_clip(tmp_path / "clips" / "a", 0)
    recipe.write_text(three_stages("no-such-weights", tmp_path / "clips", steps=1))
    done = cli("train", recipe, "--out", tmp_path / "model", "--work-dir", tmp_path / "work")
    assert done.code == 4 and done.err.count("The CPU is used") == 1, done.err


@pytest.mark.parametrize("gpus", [None, 0])
def test_without_an_nvidia_gpu_nothing_is_said_of_it(monkeypatch, gpus):
    driver(monkeypatch, gpus)
    told = []
    assert pick_device("auto", told.append).type in ("cpu", "mps") and not told
    with pytest.raises(UsageError, match=r'use `device="auto"`'):
        pick_device("cuda")
    monkeypatch.setattr(torch.version, "cuda", "12.6")  # as PyPI's for Linux are built
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match=r'use `device="auto"`, or install NVIDIA\'s driver'):
        pick_device("cuda")


def test_what_the_driver_says_is_passed_on(monkeypatch):
    """A driver that is too old is counted by NVML, and cannot be used."""
    words = "The NVIDIA driver on your system is too old (found version 11040). Please update it"

    def init():
        raise RuntimeError(words)

    monkeypatch.setattr(torch.version, "cuda", "12.6")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "init", init)
    driver(monkeypatch, 1)
    with pytest.raises(UsageError, match=r"too old \(found version 11040\)"):
        pick_device("cuda")
    told = []
    assert pick_device("auto", told.append) == CPU
    assert len(told) == 1 and "too old" in told[0]


def test_a_number_beyond_the_cards_is_refused_with_how_many_there_are(cards):
    assert pick_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(UsageError, match="there are 2, counted from cuda:0"):
        pick_device("cuda:2")


def test_intels_gpu_is_used_where_it_is_named_and_told_of_where_it_is_not(monkeypatch):
    driver(monkeypatch, None)
    with pytest.raises(UsageError, match="no Intel GPU"):
        pick_device("xpu")
    monkeypatch.setattr(torch.xpu, "is_available", lambda: True)
    monkeypatch.setattr(torch.xpu, "device_count", lambda: 1)
    told = []
    assert pick_device("xpu", told.append) == torch.device("xpu") and not told
    assert pick_dtype("auto", torch.device("xpu")) == torch.float16
    assert pick_device("auto", told.append) == CPU and '`device="xpu"`' in told[0]
    with pytest.raises(UsageError, match="there are 1"):
        pick_device("xpu:1")


@pytest.mark.parametrize(
    ("name", "capability", "expected"),
    [
        ("NVIDIA GeForce GTX 1660 Ti", (7, 5), torch.float32),
        ("NVIDIA GeForce GTX 1650", (7, 5), torch.float32),
        ("NVIDIA T1000 8GB", (7, 5), torch.float32),
        ("NVIDIA T400 4GB", (7, 5), torch.float32),
        ("NVIDIA GeForce MX450", (7, 5), torch.float32),
        ("NVIDIA GeForce RTX 2060", (7, 5), torch.float16),
        ("Quadro RTX 4000", (7, 5), torch.float16),
        ("Tesla T4", (7, 5), torch.float16),
        ("GRID T4-16Q", (7, 5), torch.float16),
        ("NVIDIA GeForce GTX 1080", (6, 1), torch.float16),
        ("NVIDIA GeForce RTX 4060", (8, 9), torch.float16),
    ],
)
def test_cards_whose_half_precision_fails_compute_in_single(
    cards, monkeypatch, name, capability, expected
):
    named(monkeypatch, name, capability)
    told = []
    assert pick_dtype("auto", CUDA, told.append) == expected
    assert [name in sentence for sentence in told] == [True] * (expected == torch.float32)
    assert pick_dtype("fp16", CUDA, told.append) == torch.float16
    assert len(told) == 2 * (expected == torch.float32)


def test_bfloat16_is_refused_where_the_card_has_none(cards, monkeypatch):
    assert pick_dtype("bf16", CUDA) == torch.bfloat16
    named(monkeypatch, "Tesla T4", (7, 5))
    with pytest.raises(UsageError, match=r"bf16 on Tesla T4 of compute capability 7\.5"):
        pick_dtype("bf16", CUDA)
    monkeypatch.setattr(torch.version, "hip", "6.4")  # AMD counts otherwise
    assert pick_dtype("bf16", CUDA) == torch.bfloat16


@pytest.mark.parametrize(
    ("capability", "is_slow"),
    [("AVX2", True), ("NO AVX", True), ("AVX512", False), ("DEFAULT", False), ("SVE256", False)],
)
def test_a_processor_that_emulates_bfloat16_is_told_of(monkeypatch, capability, is_slow):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    cpu, told = torch.device("cpu"), []
    assert pick_dtype("bf16", cpu, told.append) == torch.bfloat16
    assert ["no instructions for bfloat16" in sentence for sentence in told] == [True] * is_slow
    trained = suited_precision("bf16", cpu, told.append)
    assert trained.dtype == (torch.float32 if is_slow else torch.bfloat16)
    assert len(told) == 2 * is_slow
    assert suited_precision("fp32", cpu, told.append).dtype == torch.float32
    assert pick_dtype("bf16", CUDA, told.append) == torch.bfloat16
    assert len(told) == 2 * is_slow


@pytest.mark.parametrize(("frames", "told"), [(1, "1 frame in 1 window,"), (20, "20 frames in ")])
def test_a_plan_counts_as_people_do(cli, tmp_path, options, frames, told):
    clip = make_clip(tmp_path / "clip.mp4", frames=frames)
    assert told in cli("plan", clip, *options).out


def test_planning_for_a_card_that_is_elsewhere_asks_nothing_of_it(cli, clip):
    for device in ("cuda", "mps"):
        options = ["--device", device, "--max-vram", 8, "--weights", "depthcrafter", "--json"]
        done = cli("plan", clip, *options)
        assert done.code == 0, done.out
        assert f'"device": "{device}"' in done.out


def test_fp16_on_a_cpu_is_warned_of():
    told = []
    assert pick_dtype("fp16", CPU, told.append) == torch.float16
    assert len(told) == 1 and "slower" in told[0]


@pytest.mark.parametrize(
    ("name", "whole"),
    [
        ("NVIDIA A100-SXM4-40GB", True),
        ("NVIDIA A100-PCIE-80GB", True),
        ("NVIDIA H100 80GB HBM3", True),
        ("Tesla T4", True),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", False),
        ("NVIDIA H100 80GB HBM3 MIG 3g.40gb", False),
        ("GRID A100-20C", False),
        ("GRID A100D-1-10C", False),
        ("NVIDIA L40S-24Q", False),
        ("GRID T4-16Q", False),
        ("NVIDIA A10-1B4", False),
    ],
)
def test_a_part_of_a_card_is_not_taken_for_the_card(name, whole):
    assert is_slice(name) is not whole
    assert (card(name) is not None) is whole


def test_a_part_of_a_card_cannot_be_planned_for(cli, clip):
    slice_ = "NVIDIA A100-SXM4-40GB MIG 1g.5gb"
    done = cli("plan", clip, "--max-vram", 8, "--weights", "depthcrafter", "--card", slice_)
    assert done.code == 2 and "expected a whole one" in done.err
