"""The weights of an autoencoder whose latents are the pixels themselves: set, and not trained.

It has one level, and every branch ends in zeros. What is left on each way is a convolution, a
GroupNorm, SiLU and a convolution. Each value x travels as the pair x and -x, for
silu(x) - silu(-x) = x. In each of the norm's groups it has company from two large constants, M and
-M, which fix the group's mean at 0 and its deviation at M / sqrt(2) whatever x is; the norm's
weight undoes the division. The error is below 1e-5 in float32; in float16 and bfloat16 it is what
rounding the pixels costs, and up to twice as much again. Inference computes none of it.
"""

import numpy as np
from numpy.typing import NDArray

VALUES = 3  # of a pixel, and of its latent
CHANNELS = 128  # four in each of the 32 groups that the norms have
_LARGE, _DEVIATION = 478.0, 338.0  # in the ratio of sqrt(2) to 1e-5, and exact in every precision

Ends = dict[str, NDArray[np.float32]]


def identity_ends(half: str) -> Ends:
    """All that matters of the ``encoder`` or the ``decoder``, by name in the autoencoder.

    The other tensors are those of branches, whose last layers are zero.
    """
    outputs = 2 * VALUES if half == "encoder" else VALUES
    first = np.zeros((CHANNELS, VALUES, 3, 3), np.float32)
    last = np.zeros((outputs, CHANNELS, 3, 3), np.float32)
    for value in range(VALUES):
        pair = slice(4 * value, 4 * value + 2)  # in a group of its own, of four channels
        first[pair, value, 1, 1] = last[value, pair, 1, 1] = 1, -1
    constants = np.zeros(CHANNELS, np.float32)
    constants[2::4], constants[3::4] = _LARGE, -_LARGE
    own = {
        "conv_in.weight": first,
        "conv_in.bias": constants,
        "conv_norm_out.weight": np.full(CHANNELS, _DEVIATION, np.float32),
        "conv_norm_out.bias": np.zeros(CHANNELS, np.float32),
        "conv_out.weight": last,
        "conv_out.bias": np.zeros(outputs, np.float32),
    }
    ends = {f"{half}.{name}": tensor for name, tensor in own.items()}
    if half == "encoder":
        ends["quant_conv.weight"] = np.eye(outputs, dtype=np.float32)[:, :, None, None]
        ends["quant_conv.bias"] = np.zeros(outputs, np.float32)
    else:
        same = np.zeros((VALUES, VALUES, 3, 1, 1), np.float32)
        same[range(VALUES), range(VALUES), 1] = 1
        ends["decoder.time_conv_out.weight"] = same
        ends["decoder.time_conv_out.bias"] = np.zeros(VALUES, np.float32)
    return ends
