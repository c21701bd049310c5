"""Where and how precisely to compute. Imports no network library, so a run can plan quickly."""

import torch

from depthcrafter_cli.errors import UsageError

_DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def pick_device(name: str) -> torch.device:
    """``auto`` takes CUDA, then Apple's GPU, then the CPU. Raises UsageError for an absent one."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(
            f"got the device '{name}', expected auto, cuda, cuda:N, mps or cpu: choose one."
        ) from error
    present = {
        "cuda": (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if not present.get(device.type, False):
        raise UsageError(
            f"got the device '{name}', expected one that this machine and this PyTorch "
            f"({torch.__version__}) have: use --device auto."
        )
    return device


def cuda_index(device: str) -> int:
    """The number of a CUDA device, of the current one for a plain ``cuda``.

    Some functions of PyTorch want it, and refuse the name that the others take.
    """
    index = torch.device(device).index
    return torch.cuda.current_device() if index is None else index


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """``auto`` is fp16 on a GPU, as published, and fp32 on the CPU. Raises UsageError."""
    if name == "auto":
        return torch.float32 if device.type == "cpu" else torch.float16
    if name not in _DTYPES:
        raise UsageError(
            f"got the dtype '{name}', expected auto, {', '.join(_DTYPES)}: choose one."
        )
    return _DTYPES[name]
