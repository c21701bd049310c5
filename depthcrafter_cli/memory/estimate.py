"""The peak of each stage of a run, in bytes, from shapes alone.

What a network's layers take is worked out by :mod:`depthcrafter_cli.memory.walk`; this module adds
weights, pictures and the latents of the window. ``benchmarks/vram.py`` compares these figures with
the real code's allocations.
"""

from dataclasses import dataclass
from typing import get_args

from depthcrafter_cli.memory.architecture import Architecture
from depthcrafter_cli.memory.walk import Walk
from depthcrafter_cli.types import MemoryPlan, Scarce, Size, Stage

_CLIP_SIDE = 224


@dataclass(frozen=True)
class Workload:
    """What is computed: pictures of ``size``, ``window`` frames at a time, e bytes a value.

    ``in_pieces``: the device's attention forms the products of queries and keys, and is split.
    ``fused``: its norms and the like are computed by Triton's kernels.
    """

    size: Size
    window: int
    decode_chunk: int
    itemsize: int
    in_pieces: bool = False
    fused: bool = True

    def latent_size(self, model: Architecture) -> tuple[int, int]:
        """Height and width of a frame's latents."""
        return self.size.height // model.factor, self.size.width // model.factor


@dataclass(frozen=True)
class Peaks:
    """Predicted peaks in bytes, on the device per stage and on the host at most.

    ``load`` is what the weights take of the device before the first stage; ``bus_bytes`` go to or
    from the device per denoising step.
    """

    load: int
    image_encoder: int
    encode: int
    denoise: int
    decode: int
    host: int
    bus_bytes: int

    @property
    def device(self) -> int:
        """The run's peak on the device."""
        return max(self.image_encoder, self.encode, self.denoise, self.decode)

    def of(self, place: Scarce) -> int:
        """The peak where memory can run out: a stage's on the device, or the host's."""
        return (
            max(self.image_encoder, self.encode)
            if place == "condition"
            else int(getattr(self, place))
        )

    def within(self, other: "Peaks") -> bool:
        """Whether no stage takes more of the device than under ``other``."""
        return all(self.of(stage) <= other.of(stage) for stage in get_args(Stage))


def estimate(model: Architecture, workload: Workload, plan: MemoryPlan) -> Peaks:
    """Return the peaks in bytes that a run under ``plan`` is predicted to have."""
    weights = Weights.of(model, workload)
    height, width = workload.latent_size(model)
    # The float32 latents of a window, once.
    window = 4 * model.latent_channels * workload.window * height * width
    skips = _skip_bytes(model, workload) if plan.offload_skips else [0]
    offloaded = plan.offloaded

    def on_device(own: int) -> int:
        return own if offloaded else weights.total

    return Peaks(
        load=on_device(0),
        image_encoder=window + _clip(model, workload, plan, weights),
        encode=window + on_device(weights.encoder) + _encode(model, workload, plan),
        denoise=7 * window
        + on_device(0 if plan.offload_blocks else weights.unet)
        + _denoise(model, workload, plan),
        decode=window + on_device(weights.decoder) + _decode(model, workload, plan),
        host=(weights.total if offloaded else 0)
        + sum(skips)
        + (max(0, _largest_enlarged(model, workload) - max(skips)) if plan.recompute_decode else 0),
        bus_bytes=(weights.unet if plan.offload_blocks else 0) + 2 * sum(skips),
    )


@dataclass(frozen=True)
class Weights:
    """Bytes of each network's weights as loaded."""

    unet: int
    image_encoder: int
    encoder: int
    decoder: int

    @property
    def total(self) -> int:
        """Bytes of all networks together."""
        return self.unet + self.image_encoder + self.encoder + self.decoder

    @staticmethod
    def of(model: Architecture, workload: Workload) -> "Weights":
        """The VAE's encoder may be kept in float32 whatever the rest is in."""
        wide = 4 if model.upcast_encoder else workload.itemsize
        return Weights(
            unet=model.unet_parameters * workload.itemsize,
            image_encoder=model.image_encoder_parameters * workload.itemsize,
            encoder=model.encoder_parameters * wide,
            decoder=model.decoder_parameters * workload.itemsize,
        )


def _clip(model: Architecture, workload: Workload, plan: MemoryPlan, weights: Weights) -> int:
    """Blurring and resizing in float32, then the transformer, whose activations are small."""
    pixels = 3 * workload.size.height * workload.size.width
    blur = 4 * plan.encode_batch * 4 * max(pixels, 3 * _CLIP_SIDE**2)
    activations = (
        4 * plan.encode_batch * pixels
        + plan.encode_batch * model.image_encoder_values * workload.itemsize
    )
    return (weights.image_encoder if plan.offloaded else weights.total) + max(blur, activations)


def _encode(model: Architecture, workload: Workload, plan: MemoryPlan) -> int:
    wide = 4 if model.upcast_encoder else workload.itemsize
    pixels, batch = workload.size.height * workload.size.width, plan.encode_batch
    pictures = 2 * 3 * wide * batch * pixels
    if not model.encoder:
        return pictures
    whole = all(layer.space for layer in model.encoder)
    if whole and not (plan.encode_by_rows or workload.in_pieces):
        # The residual block's input, norm, activation and convolution; its caller keeps one more.
        kept = 4 if model.encoder[2].kind == "halve" else 5
        return pictures + kept * model.encoder[0].outputs * wide * batch * pixels
    walk = Walk(
        batch, workload.size.height, workload.size.width, wide, plan.chunk_values,
        temporal=False, in_pieces=workload.in_pieces,
    )  # fmt: skip
    return pictures + walk.peak(model.encoder)


def _denoise(model: Architecture, workload: Workload, plan: MemoryPlan) -> int:
    walk = Walk(
        workload.window, *workload.latent_size(model), workload.itemsize, plan.chunk_values,
        offloaded=plan.offload_skips, in_pieces=workload.in_pieces,
    )  # fmt: skip
    if not plan.offload_blocks:
        return walk.peak(model.unet)
    return walk.peak(model.unet, lambda layer: model.parameters(layer) * workload.itemsize)


def _decode(model: Architecture, workload: Workload, plan: MemoryPlan) -> int:
    height, width = workload.latent_size(model)
    frames = workload.decode_chunk
    if not model.decoder:  # a chunk's latents as they are, and scaled
        return 8 * model.latent_channels * frames * height * width
    walk = Walk(
        frames, height, width, workload.itemsize, plan.chunk_values,
        recompute=plan.recompute_decode, in_pieces=workload.in_pieces,
    )  # fmt: skip
    pictures = 3 * (4 + 3 * workload.itemsize) * frames * workload.size.height * workload.size.width
    # A chunk's latents as they are, scaled, and in the decoder's own type.
    latents = (8 + workload.itemsize) * model.latent_channels * frames * height * width
    return latents + max(walk.peak(model.decoder), pictures)


def _skip_bytes(model: Architecture, workload: Workload) -> list[int]:
    """Bytes of each layer that the UNet keeps for its way up."""
    height, width = workload.latent_size(model)
    kept = []
    for layer in model.unet:
        if layer.kind == "halve":
            height, width = -(-height // 2), -(-width // 2)
        if layer.keep:
            kept.append(workload.window * height * width * layer.outputs * workload.itemsize)
    return kept


def _largest_enlarged(model: Architecture, workload: Workload) -> int:
    """Bytes of the largest layer that the decoder enlarges: waiting ones share host memory."""
    height, width = workload.latent_size(model)
    area, largest = height * width, 0
    for layer in model.decoder:
        if layer.kind == "enlarge":
            largest = max(largest, workload.decode_chunk * area * layer.inputs * workload.itemsize)
            area *= 4
    return largest
