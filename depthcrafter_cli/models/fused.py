"""Whether a device's norms and gates are computed by fused kernels, and if not, why."""

from functools import cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from depthcrafter_cli.errors import first_line
from depthcrafter_cli.models.drivers import TRITON_SWITCH, triton_is_off

_TOLERANCE = 2e-3  # of half precision, in units of the largest value


class Fusion(NamedTuple):
    """The module of kernels, None where PyTorch's own operations are used, and both in words."""

    kernels: Any
    words: str


@cache
def fusion(kind: str) -> Fusion:
    """What norms and gates are computed by on a ``kind`` of device, such as ``cuda``.

    Asked once: the kernels are compiled and tried then, and left out where they fail.
    """
    if kind not in ("cuda", "xpu"):
        return Fusion(None, "PyTorch")
    if triton_is_off():
        return Fusion(None, f"PyTorch, as {TRITON_SWITCH} is 0")
    try:
        import triton

        from depthcrafter_cli.models.reordered import kernels

        _try(kernels, torch.device(kind))
    except Exception as error:  # of a compiler, a driver or a library, in any words
        return Fusion(None, f"PyTorch, as Triton cannot be used ({first_line(error)})")
    return Fusion(kernels, f"Triton {triton.__version__}")


def _try(kernels: Any, device: torch.device) -> None:
    """Raises ValueError if the kernels give anything else than PyTorch does."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(2, 50, 192, generator=generator).to(device, torch.float16)[:, 3:]
    norm = nn.GroupNorm(4, 192, device=device, dtype=tokens.dtype)
    mean, m2 = kernels.moments(tokens, norm.num_groups, together=False)
    count = tokens[0].numel() // norm.num_groups
    given = kernels.normalize(tokens, norm, count, mean, m2, silu=True)
    expected = F.silu(norm(tokens.transpose(1, 2))).transpose(1, 2)
    value, gate = tokens.chunk(2, dim=-1)
    layer = nn.LayerNorm(192, device=device, dtype=tokens.dtype)
    total, normed = kernels.add_normalize(tokens, tokens, tokens[:, :1], layer)
    added, mixed = tokens + tokens + tokens[:, :1], tokens.clone()
    kernels.mix(mixed, tokens, tokens, 0.5)
    for ours, theirs in (
        (given, expected), (kernels.gated(tokens), value * F.gelu(gate)),
        (total, added), (normed, layer(added)), (mixed, 1.5 * tokens),
    ):  # fmt: skip
        if not (ours - theirs).abs().max() <= _TOLERANCE * theirs.abs().max():
            raise ValueError("its results are wrong")
