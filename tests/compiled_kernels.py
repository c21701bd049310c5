"""Compile the fused kernels for cards that are not here, as a GPU's run would; a program."""

from itertools import product
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from depthcrafter_cli.models.reordered import kernels

TARGETS = (
    GPUTarget("cuda", 75, 32), GPUTarget("cuda", 80, 32), GPUTarget("cuda", 90, 32),
    GPUTarget("cuda", 120, 32), GPUTarget("hip", "gfx1100", 32),
)  # fmt: skip
_ADDED = ("hidden", "part", "context", "total", "normed")
# Triton takes an integer that is 1 for a constant; so may all of these be.
ONES: tuple[dict[str, int], ...] = (
    {},
    {"each": 1, "rows": 1, "blocks": 1, "per_group": 1},
)


def build(kernel: Any, target: GPUTarget, dtype: str, constants: dict[str, Any]) -> None:
    """Compile a kernel for tokens of a ``dtype``."""
    pointers = {"by_channel": "*fp32", "mean": "*fp32", "m2": "*fp32"}
    pointers |= dict.fromkeys(
        ("tokens", "result", "weight", "bias", "lifted", *_ADDED), f"*{dtype}"
    )
    pointers |= {"group_mean": "*fp32", "group_m2": "*fp32", "share": "fp32", "eps": "fp32"}
    names = kernel.arg_names
    constants = {name: value for name, value in constants.items() if name in names}
    types = {
        name: "constexpr" if name in constants else pointers.get(name, "i32") for name in names
    }
    given = {(names.index(name),): value for name, value in constants.items()}
    triton.compile(ASTSource(kernel, types, given), target=target)


for target, dtype, ones in product(TARGETS, ("fp16", "bf16", "fp32"), ONES):
    if dtype == "bf16" and target.arch == 75:
        continue
    sizes = {"ROWS": 32, "CHANNELS": 128, "VALUES": 256, "TILES": 2, "channel_stride": 1, **ones}
    for flag in (False, True):
        flags = dict.fromkeys(("TOGETHER", "SILU", "PART", "CONTEXT"), flag)
        for kernel in (kernels._by_channel, kernels._normalize, kernels._add_normalize):
            build(kernel, target, dtype, {**sizes, **flags})
    for kernel in (kernels._by_group, kernels._gated, kernels._mix):
        build(kernel, target, dtype, sizes)
