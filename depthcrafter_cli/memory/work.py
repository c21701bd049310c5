"""How much arithmetic a network's forward pass is: floating-point operations, from shapes alone.

Two operations per multiply-add; norms, activations and the noise level's embedding are left out
(below 1%). With P positions (frames x pixels) of C' channels at the layer's own size, T frames of
N pixels:

    convolution              18 C C' P
    residual block           18 (C C' + C'^2) P + 2 C C' P where widths differ
      its temporal half      12 C'^2 P
    transformer, two blocks  (92 C^2 + 4 N C + 4 T C) P: in and out 4, attention 8 and 8,
                             feed-forward 24 and 48 in time; one-key cross-attention is free
    attention                (8 C^2 + 4 N C) P

A half of a layer that adds nothing is not computed.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from depthcrafter_cli.memory.architecture import Architecture, Layer
from depthcrafter_cli.memory.estimate import Workload


@dataclass(frozen=True)
class Work:
    """Floating-point operations per frame, of a denoising step in the denoiser's case."""

    image_encoder: float
    encode: float
    denoise: float
    decode: float

    @staticmethod
    def of(model: Architecture, workload: Workload) -> "Work":
        """Return the operations that follow from the networks' and the pictures' shapes."""
        height, width = workload.size.height, workload.size.width
        inside = workload.latent_size(model)
        return Work(
            image_encoder=model.image_encoder_operations,
            encode=operations(model.encoder, 1, height, width, temporal=False),
            denoise=operations(model.unet, workload.window, *inside) / workload.window,
            decode=operations(model.decoder, workload.decode_chunk, *inside)
            / workload.decode_chunk,
        )


def operations(
    layers: Iterable[Layer], frames: int, height: int, width: int, *, temporal: bool = True
) -> int:
    """Of one forward pass over ``frames`` of ``height`` x ``width`` positions."""
    total, sizes = 0, list[tuple[int, int]]()
    for layer in layers:
        if layer.kind == "halve":
            sizes.append((height, width))
            height, width = -(-height // 2), -(-width // 2)
        if layer.kind == "enlarge":
            height, width = sizes.pop() if sizes else (2 * height, 2 * width)
        area = height * width
        total += frames * area * _per_position(layer, area, frames, temporal)
    return total


def _per_position(layer: Layer, area: int, frames: int, temporal: bool) -> int:
    wide, out = layer.inputs, layer.outputs
    if layer.kind == "residual":
        shortcut = 2 * wide * out if wide != out else 0
        in_space = 18 * (wide * out + out * out) * layer.space
        return in_space + shortcut + 12 * out * out * (temporal and layer.time)
    if layer.kind == "transform":
        in_time = 56 * out * out + 4 * frames * out
        return (36 * out * out + 4 * area * out) * layer.space + in_time * layer.time
    if layer.kind == "attend":
        return (8 * out * out + 4 * area * out) * layer.space
    return 18 * wide * out
