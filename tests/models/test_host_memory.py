"""Host memory that CUDA pins as far as it lets us, and what a machine tells of its own memory."""

import errno
import gc
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import safetensors.torch
import torch
from safetensors.torch import load_file, save_file

from depthcrafter_cli import disk
from depthcrafter_cli.errors import MemoryLimitError, WeightsError
from depthcrafter_cli.memory.budget import GIB, Budget, free_budget
from depthcrafter_cli.models import device_memory, host
from depthcrafter_cli.models.copies import SideStream
from depthcrafter_cli.models.host import HostMemory, host_memory, in_pieces
from depthcrafter_cli.models.loading import _require_numbers, load_components
from depthcrafter_cli.types import MemoryPlan
from depthcrafter_cli.workflows import resources
from depthcrafter_cli.workflows.memory import budget, cap_device
from depthcrafter_cli.workflows.resources import (
    available_ram,
    free_device_memory,
    peak_memory,
    peak_resident_bytes,
)

CPU, CUDA = torch.device("cpu"), torch.device("cuda")

ELSEWHERE = pytest.mark.skipif(disk.WINDOWS, reason="begins with what is found on other systems")


class Cudart:
    """CUDA's part that pins: refuses above ``most`` bytes, and what is not pinned."""

    def __init__(self, most: int) -> None:
        self.most, self.pieces = most, {}

    def cudaHostRegister(self, address: int, size: int, _flags: int) -> int:  # noqa: N802
        if sum(self.pieces.values()) + size > self.most:
            return 2
        self.pieces[address] = size
        return 0

    def cudaHostUnregister(self, address: int) -> int:  # noqa: N802
        del self.pieces[address]
        return 0


@pytest.fixture
def cudart(monkeypatch):
    stub = Cudart(3 << 20)
    monkeypatch.setattr("torch.cuda.cudart", lambda: stub)
    monkeypatch.setattr(host, "_PIECE_BYTES", 1 << 20)
    return stub


def test_host_memory_is_pinned_in_pieces_and_let_go(cudart):
    memory = host_memory((5 << 19) + 7, CUDA)
    start = memory.data_ptr()
    assert sum(cudart.pieces.values()) == len(memory) == (5 << 19) + 7
    assert max(cudart.pieces.values()) <= 1 << 20 and min(cudart.pieces) == start
    ends = [address + size for address, size in cudart.pieces.items()]
    assert all(end % (1 << 20) == 0 or end == start + len(memory) for end in ends)
    del memory
    gc.collect()
    assert not cudart.pieces


def test_pieces_are_of_512_mb_at_most():
    assert host._PIECE_BYTES <= 512e6


def test_what_cuda_does_not_pin_is_used_unpinned_and_said_once(cudart, monkeypatch):
    told, launched = [], []
    real = torch.ones
    monkeypatch.setattr(torch, "ones", lambda *a, device: (launched.append(device), real(*a))[1])
    monkeypatch.setattr("torch.cuda.synchronize", lambda _device: None)
    host_memory = HostMemory(told.append)
    buffers = [host_memory.take(2 << 20, CUDA) for _ in range(4)]
    for buffer in buffers:
        buffer.fill_(7)
    assert sum(cudart.pieces.values()) <= cudart.most
    assert len(told) == 1 and "pins no more" in told[0]
    assert launched == [CUDA] * 3  # each refusal is cleared from CUDA's last error
    buffers.clear()
    gc.collect()
    assert not cudart.pieces


def test_no_copy_lies_in_two_pieces(cudart, monkeypatch):
    memory = host_memory(3 << 20, CUDA)
    source = memory[: 5 << 18].view(torch.float16).view(5, -1)
    source.copy_(torch.arange(source.numel()).view_as(source) % 99)
    target, end = torch.zeros_like(source), memory.data_ptr() + (5 << 18)
    parts = list(in_pieces(target.to("meta"), source))
    starts = [part.data_ptr() for _, part in parts]
    assert starts[0] == source.data_ptr() and len(parts) >= 2
    assert all(start % (1 << 20) == 0 for start in starts[1:])
    assert sum(part.nbytes for _, part in parts) == end - source.data_ptr()
    queue = SimpleNamespace(
        wait_stream=lambda _: None, record_event=lambda: "mark", synchronize=lambda: None
    )
    monkeypatch.setattr("torch.cuda.current_stream", lambda _: queue)
    monkeypatch.setattr("torch.cuda.Stream", lambda _: queue)
    monkeypatch.setattr("torch.cuda.stream", lambda _: nullcontext())
    stream = SideStream(CUDA)
    assert stream.begin([target], [source]) == "mark" and torch.equal(target, source)


def test_host_memory_that_the_system_does_not_have_is_a_sentence(monkeypatch):
    with pytest.raises(MemoryLimitError, match="close other programs"):
        host_memory(1 << 60, CPU)

    def refused(*_arguments, **_settings):
        error = OSError(errno.EINVAL, "The paging file is too small")
        error.winerror = 1455
        raise error

    monkeypatch.setattr(host, "_Pages", refused)
    with pytest.raises(MemoryLimitError, match="paging file is too small"):
        host_memory(10, CPU)


def mapped(folder: Path) -> list[str]:
    return [
        line for line in Path("/proc/self/maps").read_text().splitlines() if str(folder) in line
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux what is mapped")
@pytest.mark.parametrize("plan", [MemoryPlan(1 << 20), MemoryPlan(1 << 20, offload_networks=True)])
def test_once_it_is_loaded_no_file_of_a_model_is_mapped(tiny_folder, plan):
    loaded = load_components(tiny_folder, device=CPU, dtype=torch.float32, plan=plan)
    assert loaded.unet.conv_in.weight.isfinite().all() and not mapped(tiny_folder)


def test_hosted_weights_are_read_into_one_pinned_block_for_each_network(tiny_folder, cudart):
    cudart.most = 1 << 40
    plan = MemoryPlan(1 << 20, offload_networks=True)
    loaded = load_components(tiny_folder, device=CUDA, dtype=torch.float32, plan=plan)
    written = load_file(next((tiny_folder / "unet").glob("*.safetensors")))
    for key, tensor in loaded.unet.state_dict().items():
        assert torch.equal(tensor, written[key])
    blocks = {
        parameter.untyped_storage().data_ptr()
        for network in (loaded.unet, loaded.vae, loaded.image_encoder)
        for parameter in network.parameters()
    }
    assert len(blocks) == 3
    assert sum(cudart.pieces.values()) >= sum(tensor.nbytes for tensor in written.values())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda tensor: tensor.to(torch.int8), "I8"),
        (lambda tensor: tensor.to(torch.bool), "BOOL"),
        pytest.param(
            lambda tensor: tensor.to(torch.complex64),
            "C64",
            marks=pytest.mark.skipif(
                torch.complex64 not in safetensors.torch._SIZE, reason="safetensors 0.6 lacks them"
            ),
        ),
        (lambda tensor: tensor.to(torch.float8_e4m3fn), "F8_E4M3"),
        (lambda tensor: tensor.fill_(float("nan")), "no finite numbers"),
        (lambda tensor: tensor.fill_(float("-inf")), "no finite numbers"),
        (lambda tensor: tensor.index_fill_(0, torch.tensor([3]), float("inf")), "no finite"),
    ],
)
def test_weights_that_are_no_floating_numbers_are_refused(
    cli, clip, options, tiny_folder, tmp_path, change, words
):
    for file in (file for file in tiny_folder.rglob("*") if file.is_file()):
        place = tmp_path / "model" / file.relative_to(tiny_folder)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(file.read_bytes())
    path = next((tmp_path / "model" / "unet").glob("*.safetensors"))
    tensors = {key: tensor.clone() for key, tensor in load_file(path).items()}
    tensors["conv_norm_out.bias"] = change(tensors["conv_norm_out.bias"])
    save_file(tensors, path)
    with pytest.raises(WeightsError, match=words):
        load_components(tmp_path / "model", device=CPU, dtype=torch.float32)
    if words == "I8":
        found = [*options[2:], "--weights", tmp_path / "model", "--out", tmp_path / "a.npz"]
        done = cli("run", clip, *found)
        assert done.code == 4 and "resume" not in done.err and "conv_norm_out.bias" in done.err


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_one_value_that_is_no_number_is_found_among_many(dtype, bad):
    for size in (1, 31, 5000):
        weights = torch.full((size,), torch.finfo(dtype).max, dtype=dtype)
        _require_numbers(weights, "weights")
        weights[size // 2] = bad
        with pytest.raises(WeightsError, match="no finite numbers in weights"):
            _require_numbers(weights, "weights")
    _require_numbers(torch.empty(0, dtype=dtype), "weights")


@pytest.fixture
def asked_anew(monkeypatch):
    available_ram.cache_clear()
    device_memory._others.clear()
    yield monkeypatch
    available_ram.cache_clear()
    device_memory._others.clear()


def plan_on(device: str, max_vram: float | None = None) -> Budget:
    return budget(device, (max_vram, None))


@ELSEWHERE
def test_a_machine_that_tells_nothing_gets_a_finite_plan_and_is_told_of(
    asked_anew, cli, clip, options, tmp_path
):
    asked_anew.setattr(psutil, "PROCFS_PATH", str(tmp_path / "proc"))  # not mounted
    for device in ("cpu", "mps"):
        found = plan_on(device)
        assert 1e9 < found.device < 16e9 and 1e9 < found.host < 16e9
    assert plan_on("cuda").host is not None
    assert peak_resident_bytes() > 10_000_000
    planned = cli("plan", clip, *options)
    assert planned.code == 0 and "GB of RAM are assumed" in planned.err


def test_a_process_is_not_told_of_the_memory_of_the_one_that_started_it():
    program = "from depthcrafter_cli.workflows.resources import *; print(peak_resident_bytes())"
    start_it_large = (
        "import subprocess, sys; held = bytearray(1) * (1 << 29); held[::4096] = held[::4096]; "
        f"subprocess.run([sys.executable, '-c', {program!r}], check=True)"
    )
    told = subprocess.run([sys.executable, "-c", start_it_large], capture_output=True, check=True)
    assert 10_000_000 < int(told.stdout) < 400_000_000


@ELSEWHERE
def test_apples_gpu_is_asked_for_its_own_memory(asked_anew):
    own = {"recommended_max_memory": 6 * GIB, "driver_allocated_memory": 2 * GIB}
    for name, answer in own.items():
        # PyTorch 2.4, which is not allowed on macOS, lacks one of them.
        asked_anew.setattr(torch.mps, name, lambda answer=answer: answer, raising=False)
    asked_anew.setattr(resources.psutil, "virtual_memory", lambda: ram_of(64 * GIB))
    assert free_device_memory("mps") == 4 * GIB
    assert plan_on("mps").device == free_budget(4 * GIB)
    asked_anew.setattr("torch.mps.driver_allocated_memory", lambda: 5 * GIB)
    assert free_device_memory("mps") == 4 * GIB  # what a run took the next one may take again
    assert peak_memory("mps").bytes == 5 * GIB and peak_memory("mps").kind == "GPU"
    emptied = []
    asked_anew.setattr("torch.mps.synchronize", lambda: None)
    asked_anew.setattr("torch.mps.empty_cache", lambda: emptied.append(1))
    device_memory.release_memory(torch.device("mps"))
    asked_anew.setattr("torch.mps.driver_allocated_memory", lambda: GIB)
    assert emptied and peak_memory("mps").bytes == 5 * GIB
    asked_anew.setattr(resources.psutil, "virtual_memory", lambda: ram_of(3 * GIB))
    available_ram.cache_clear()
    assert plan_on("mps").device < 3 * GIB  # its memory is the machine's


def ram_of(available: int) -> SimpleNamespace:
    return SimpleNamespace(available=available, total=2 * available)


@ELSEWHERE
@pytest.mark.parametrize("system", ["win32", "wsl"])
def test_windows_pins_little_and_is_always_capped(asked_anew, system):
    card, held = SimpleNamespace(total_memory=8 * GIB), {}
    for name, answer in (
        ("torch.cuda._lazy_init", None),
        ("torch.cuda.memory._lazy_init", None),
        ("torch.cuda.is_available", True),
        ("torch.cuda.current_device", 0),
        ("torch.cuda.get_device_properties", card),
        ("torch.cuda.mem_get_info", (7 * GIB, 8 * GIB)),
        ("torch.cuda.memory_reserved", 0),
    ):
        asked_anew.setattr(name, lambda *_, answer=answer: answer)
    set_fraction = lambda share, index: held.update({index: share})  # noqa: E731
    asked_anew.setattr("torch._C._cuda_setMemoryFraction", set_fraction, raising=False)
    asked_anew.setattr(resources.psutil, "virtual_memory", lambda: ram_of(15 * GIB))
    cap_device("cuda:0", None)
    assert held == {0: 1.0} and plan_on("cuda").host == int(0.6 * 15 * GIB)
    if system == "win32":
        asked_anew.setattr(sys, "platform", "win32")
    else:
        asked_anew.setattr("platform.release", lambda: "5.15.90.1-microsoft-standard-WSL2")
    cap_device("cuda:0", None)
    assert held[0] == pytest.approx(0.95 * 6 / 8, rel=1e-3)  # 1 GB is left to the desktop
    budget = plan_on("cuda")
    assert budget.device == free_budget(7 * GIB, windows=True) and budget.device < 6 * GIB
    assert plan_on("cuda", max_vram=4).device < 4 * GIB
    assert budget.host == int(0.6 * 15 * GIB)
    asked_anew.setattr(
        resources.psutil, "virtual_memory", lambda: SimpleNamespace(available=15, total=16)
    )
    available_ram.cache_clear()
    assert plan_on("cuda").host == int(0.4 * 16)
    cap_device("cuda:0", 4)
    assert held[0] < 0.5


@pytest.mark.skipif(sys.platform == "win32", reason="ulimit is of POSIX")
@pytest.mark.parametrize("limit", ["RLIMIT_AS", "RLIMIT_DATA"])
def test_the_limits_of_a_process_count(limit):
    code = (
        "import resource, psutil\n"
        "from depthcrafter_cli.workflows.resources import available_ram\n"
        "now = psutil.Process().memory_info()\n"
        f"most = (now.vms if {limit!r} == 'RLIMIT_AS' else now.data) + (300 << 20)\n"
        f"resource.setrlimit(resource.{limit}, (most, most))\n"
        "print(available_ram())"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 200 << 20 < int(found.stdout) <= 300 << 20
