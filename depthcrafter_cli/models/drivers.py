"""What can be told of devices and precisions without PyTorch, so that a run is planned at once."""

import ctypes
import os
import sys
from importlib.util import find_spec
from pathlib import Path

from depthcrafter_cli.errors import UsageError
from depthcrafter_cli.progress import Warn, ignore

TRITON_SWITCH = "DEPTHCRAFTER_TRITON"  # an environment variable; 0 turns the kernels off
_DTYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}


def dtype_name(name: str, kind: str, warn: Warn = ignore) -> str:
    """PyTorch's name of a precision; ``auto`` is fp16 on a GPU, as published, and fp32 on a CPU.

    Raises UsageError for one that does not exist. ``warn`` is told of one that does not suit.
    """
    if name == "auto":
        return "float32" if kind == "cpu" else "float16"
    if name not in _DTYPES:
        raise UsageError(
            f"got the dtype '{name}', expected auto, {', '.join(_DTYPES)}: choose one."
        )
    if name == "fp16" and kind == "cpu":
        warn("fp16 is far slower than fp32 on a CPU: leave `dtype` out.")
    return _DTYPES[name]


def gpu_driver() -> bool:
    """Whether a GPU may be here that CUDA or ROCm can use."""
    return nvidia_driver() or Path("/dev/kfd").exists()


def nvidia_driver() -> bool:
    """Whether NVIDIA's driver is here and has a GPU, whatever PyTorch can do with it."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        count = ctypes.c_int()
        return not driver.cuInit(0) and not driver.cuDeviceGetCount(ctypes.byref(count)) and (
            count.value > 0
        )  # fmt: skip
    except (OSError, AttributeError):
        return False


def triton_is_off() -> bool:
    """Whether the user turned Triton's kernels off."""
    return os.environ.get(TRITON_SWITCH) == "0"


def triton_elsewhere() -> bool:
    """Whether a GPU that is not here is taken to have Triton's kernels.

    PyTorch for Linux brings Triton along; under Windows it must be installed here.
    """
    is_there = sys.platform != "win32" or find_spec("triton") is not None
    return is_there and not triton_is_off()
