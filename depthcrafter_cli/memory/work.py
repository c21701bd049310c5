"""How much work a network's forward pass is, from shapes alone: floating-point operations, and of
norms and other operations on single values, how many values they move and how often one is begun.

Two operations per multiply-add; norms, activations and the noise level's embedding are left out
(below 1%). With P positions (frames x pixels) of C' channels at the layer's own size, T frames of
N pixels:

    convolution              18 C C' P
    residual block           18 (C C' + C'^2) P + 2 C C' P where widths differ
      its temporal half      12 C'^2 P
    transformer, two blocks  (92 C^2 + 4 N C + 4 T C) P: in and out 4, attention 8 and 8,
                             feed-forward 24 and 48 in time; one-key cross-attention is free
    attention                (8 C^2 + 4 N C) P

A half of a layer that adds nothing is not computed. Values that are read or written per position,
with fused norms, and launches of kernels per chunk, counted in ``benchmarks/gpu_model.py``:

    residual block           4 C + 8 C', with a skip 2 C more; 15 launches
      its temporal half      9 C'; 10 launches
    transformer, two blocks  38 C and 18 launches, in time 62 C and 24 launches
    attention                8 C; 12 launches
    others                   what is convolved, twice; 5 launches
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

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


class Step(NamedTuple):
    """A layer's work in one forward pass; ``widest`` values are cut into chunks."""

    operations: int
    moved: int
    launches: int  # for each chunk
    widest: int
    weights: int  # that multiply each position


def operations(
    layers: Iterable[Layer], frames: int, height: int, width: int, *, temporal: bool = True
) -> int:
    """Of one forward pass over ``frames`` of ``height`` x ``width`` positions."""
    steps = forward(layers, frames, height, width, temporal=temporal)
    return sum(step.operations for step in steps)


def forward(
    layers: Iterable[Layer], frames: int, height: int, width: int, *, temporal: bool = True
) -> Iterator[Step]:
    """The work of each layer over ``frames`` of ``height`` x ``width`` positions."""
    sizes = list[tuple[int, int]]()
    for layer in layers:
        if layer.kind == "halve":
            sizes.append((height, width))
            height, width = -(-height // 2), -(-width // 2)
        if layer.kind == "enlarge":
            height, width = sizes.pop() if sizes else (2 * height, 2 * width)
        area = height * width
        positions, (moved, launches) = frames * area, _overhead(layer, temporal)
        weights = _weights(layer, temporal)
        yield Step(
            positions * (2 * weights + _attended(layer, area, frames)),
            positions * moved,
            launches,
            positions * max(layer.inputs, layer.outputs),
            weights,
        )


def _overhead(layer: Layer, temporal: bool) -> tuple[int, int]:
    """Values moved per position, and launches per chunk."""
    wide, out, in_time = layer.inputs, layer.outputs, temporal and layer.time
    if layer.kind == "residual":
        joined = 2 * wide * (layer.skip > 0)
        moved = (4 * wide + 8 * out) * layer.space + joined + 9 * out * in_time
        return moved, 15 * layer.space + 10 * in_time
    if layer.kind == "transform":
        return out * (38 * layer.space + 62 * layer.time), 18 * layer.space + 24 * layer.time
    if layer.kind == "attend":
        return 8 * out * layer.space, 12 * layer.space
    return 2 * (wide + out), 5


def _weights(layer: Layer, temporal: bool) -> int:
    """Weights that each position is multiplied with: not those of one-key cross-attention."""
    wide, out = layer.inputs, layer.outputs
    if layer.kind == "residual":
        shortcut = wide * out if wide != out else 0
        in_space = 9 * (wide * out + out * out) * layer.space
        return in_space + shortcut + 6 * out * out * (temporal and layer.time)
    if layer.kind == "transform":
        return 18 * out * out * layer.space + 28 * out * out * layer.time
    if layer.kind == "attend":
        return 4 * out * out * layer.space
    return 9 * wide * out


def _attended(layer: Layer, area: int, frames: int) -> int:
    """Operations of attention alone, per position."""
    out = layer.outputs
    in_time = 4 * frames * out * layer.time if layer.kind == "transform" else 0
    in_space = 4 * area * out * layer.space if layer.kind in ("transform", "attend") else 0
    return in_space + in_time
