"""Where and how precisely to compute, and what a device can do.

Imports no network library, so a run can plan quickly.
"""

import re
from typing import NamedTuple

import torch

from depthcrafter_cli.errors import UsageError
from depthcrafter_cli.models.drivers import dtype_name, nvidia_driver
from depthcrafter_cli.progress import Warn, ignore

# Cards of compute capability 7.5 that have tensor cores. Those without (GTX 16, T1000, MX450)
# give values that are no numbers for fp16 convolutions.
_TENSOR_CORES = re.compile(r"RTX|\bT4(G|0)?\b", re.IGNORECASE)


class Fault(NamedTuple):
    """What is wrong with a device, and the remedy."""

    cause: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.cause}; {self.remedy}"


def pick_device(name: str, warn: Warn = ignore) -> torch.device:
    """``auto`` takes CUDA, then Apple's GPU, then the CPU.

    ``warn`` is told of a GPU that is there and not used.

    Raises:
        UsageError: a device that is not here, or that this PyTorch cannot use.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        if torch.backends.mps.is_available():
            return torch.device("mps")
        for sentence in idle_gpus():
            warn(sentence)
        return torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cuda", "mps", "xpu", "cpu"):
        raise UsageError(
            f"got the device '{name}', expected auto, cuda, cuda:N, mps, xpu or cpu: choose one."
        )
    if fault := _fault(device):
        raise UsageError(f"got the device '{name}', expected one that works here: {fault}.")
    return device


def make_current(device: torch.device) -> None:
    """Let CUDA work on this device where it is not told on which, as when it pins host memory.

    To be called before anything is loaded: CUDA would take room on its first device otherwise.
    """
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)


def _fault(device: torch.device) -> Fault | None:
    """What keeps a device from being used; None if it can be."""
    if device.type == "mps" and not torch.backends.mps.is_available():
        return Fault("this machine or this PyTorch has no Apple GPU", 'use `device="auto"`')
    if device.type == "xpu" and not torch.xpu.is_available():
        return Fault("this machine or this PyTorch has no Intel GPU", 'use `device="auto"`')
    if device.type == "cuda" and (fault := cuda_fault()):
        return fault
    if device.type in ("cuda", "xpu"):
        count = torch.cuda.device_count() if device.type == "cuda" else torch.xpu.device_count()
        if (device.index or 0) >= count:
            return Fault(f"there are {count}, counted from {device.type}:0", 'use `device="auto"`')
    return None


def cuda_fault() -> Fault | None:
    """Why no CUDA device can be used, in the driver's words where it has some; None if one can."""
    if torch.cuda.is_available():
        return None
    if not (torch.version.cuda or torch.version.hip):
        if nvidia_driver():
            return Fault(
                f"an NVIDIA GPU is here, but this PyTorch ({torch.__version__}) is built without "
                "CUDA",
                f"install one that has it: {cuda_install()}",
            )
        return Fault(
            f"this PyTorch ({torch.__version__}) is built without CUDA, and no NVIDIA driver was "
            "found",
            'use `device="auto"`',
        )
    try:
        torch.cuda.init()
        words = "it finds no GPU"
    except (RuntimeError, AssertionError) as error:
        words = str(error).split(". ")[0].strip(" .")
    if nvidia_driver():
        remedy = 'mend the driver, or use `device="cpu"`'
    else:
        remedy = 'use `device="auto"`, or install NVIDIA\'s driver where there is such a GPU'
    return Fault(f"CUDA cannot be used ({words})", remedy)


def idle_gpus() -> list[str]:
    """A sentence for each kind of GPU that is here and that ``auto`` does not use, as on a CPU."""
    found = []
    if nvidia_driver() and (fault := cuda_fault()):
        found.append(f"The CPU is used, many times slower than a GPU: {fault}.")
    if torch.xpu.is_available():
        found.append(
            "The CPU is used, though an Intel GPU is here, on which nothing was tried yet: "
            '`device="xpu"` uses it.'
        )
    return found


def cuda_install() -> str:
    """The command that replaces this PyTorch by the same with CUDA, on Windows and Linux."""
    version = torch.__version__.split("+")[0]
    return (
        f'pip install --force-reinstall "torch=={version}" --index-url '
        "https://download.pytorch.org/whl/cu126 (RTX 50: cu130 instead of cu126)"
    )


def cuda_index(device: str) -> int:
    """The number of a CUDA device, of the current one for a plain ``cuda``.

    Some functions of PyTorch want it, and refuse the name that the others take.
    """
    index = torch.device(device).index
    return int(torch.cuda.current_device()) if index is None else index


def pick_dtype(name: str, device: torch.device, warn: Warn = ignore) -> torch.dtype:
    """``auto`` is fp16 on a GPU, as published, and fp32 on the CPU and where fp16 is broken.

    ``warn`` is told of a precision that does not suit the device.

    Raises:
        UsageError: a precision that does not exist, or not on this device.
    """
    picked = getattr(torch, dtype_name(name, device.type, warn))
    card, capability = _nvidia_card(device)
    broken = capability == (7, 5) and not _TENSOR_CORES.search(card)
    if name == "auto" and broken:
        warn(f"{card} fails at half precision, so fp32 is used, which takes twice the memory.")
        return torch.float32
    if name == "fp16" and broken:
        warn(f"{card} fails at half precision: leave `dtype` out, or expect to stop for values "
             "that are no numbers.")  # fmt: skip
    if name == "bf16" and capability is not None and capability < (8, 0):
        raise UsageError(
            f"got the dtype bf16 on {card} of compute capability {capability[0]}.{capability[1]}, "
            "expected 8.0 or higher: leave `dtype` out."
        )
    if name == "bf16" and emulates_bfloat16(device):
        warn("This processor has no instructions for bfloat16, and takes several times as long: "
             "leave `dtype` out.")  # fmt: skip
    return picked


def emulates_bfloat16(device: torch.device) -> bool:
    """Whether PyTorch works products of bfloat16 out number by number, 15 to 50 times as slow.

    It does so on processors of x86 without AVX-512; with it, oneDNN computes them in float32.
    """
    capability = torch.backends.cpu.get_cpu_capability()
    return device.type == "cpu" and capability in ("NO AVX", "AVX2")


def _nvidia_card(device: torch.device) -> tuple[str, tuple[int, int] | None]:
    """The name and compute capability of an NVIDIA GPU that is here; none of anything else."""
    if device.type != "cuda" or torch.version.hip or not torch.cuda.is_available():
        return "", None
    return str(torch.cuda.get_device_name(device)), torch.cuda.get_device_capability(device)


def attends_in_pieces(device: torch.device) -> bool:
    """Whether PyTorch's attention forms all products of queries and keys on this device.

    Elsewhere a fused kernel keeps a few of them at a time, whatever the size of the heads.
    """
    if device.type == "cuda" and torch.version.hip:
        # PyTorch 2.4 cannot be asked.
        asked = getattr(torch.backends.cuda, "is_flash_attention_available", lambda: False)
        return not asked()
    return device.type in ("mps", "xpu")


def lacks_operations(device: torch.device) -> bool:
    """Whether this device's PyTorch is not known to have every operation the networks need.

    Those are bicubic resizing, and ``addcmul`` of different types.
    """
    return device.type in ("mps", "xpu")
