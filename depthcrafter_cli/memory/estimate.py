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
class Job:
    """What is computed: pictures of ``size``, ``window`` frames at a time, e bytes a value.

    ``in_pieces``: the device's attention forms the products of queries and keys, and is split.
    """

    size: Size
    window: int
    decode_chunk: int
    itemsize: int
    in_pieces: bool = False

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
    clip: int
    encode: int
    denoise: int
    decode: int
    host: int
    bus_bytes: int

    @property
    def device(self) -> int:
        """The run's peak on the device."""
        return max(self.clip, self.encode, self.denoise, self.decode)

    def of(self, place: Scarce) -> int:
        """The peak where memory can run out: a stage's on the device, or the host's."""
        return max(self.clip, self.encode) if place == "condition" else int(getattr(self, place))

    def within(self, other: "Peaks") -> bool:
        """Whether no stage takes more of the device than under ``other``."""
        return all(self.of(stage) <= other.of(stage) for stage in get_args(Stage))


def estimate(model: Architecture, job: Job, plan: MemoryPlan) -> Peaks:
    """Predict a run under ``plan``."""
    weights = Weights.of(model, job)
    height, width = job.latent_size(model)
    # The float32 latents of a window, once.
    window = 4 * model.latent_channels * job.window * height * width
    skips = _skip_bytes(model, job) if plan.park_skips else [0]
    hosted = plan.hosted

    def at_home(own: int) -> int:
        return own if hosted else weights.total

    return Peaks(
        load=at_home(0),
        clip=window + _clip(model, job, plan, weights),
        encode=window + at_home(weights.encoder) + _encode(model, job, plan),
        denoise=7 * window
        + at_home(0 if plan.stream_weights else weights.unet)
        + _denoise(model, job, plan),
        decode=window + at_home(weights.decoder) + _decode(model, job, plan),
        host=(weights.total if hosted else 0)
        + sum(skips)
        + (max(0, _largest_enlarged(model, job) - max(skips)) if plan.frugal_decode else 0),
        bus_bytes=(weights.unet if plan.stream_weights else 0) + 2 * sum(skips),
    )


@dataclass(frozen=True)
class Weights:
    """Bytes of each network's weights as loaded."""

    unet: int
    clip: int
    encoder: int
    decoder: int

    @property
    def total(self) -> int:
        """All networks together."""
        return self.unet + self.clip + self.encoder + self.decoder

    @staticmethod
    def of(model: Architecture, job: Job) -> "Weights":
        """The VAE's encoder may be kept in float32 whatever the rest is in."""
        wide = 4 if model.upcast_encoder else job.itemsize
        return Weights(
            unet=model.unet_parameters * job.itemsize,
            clip=model.clip_parameters * job.itemsize,
            encoder=model.encoder_parameters * wide,
            decoder=model.decoder_parameters * job.itemsize,
        )


def _clip(model: Architecture, job: Job, plan: MemoryPlan, weights: Weights) -> int:
    """Blurring and resizing in float32, then the transformer, whose activations are small."""
    pixels = 3 * job.size.height * job.size.width
    blur = 4 * plan.encode_batch * 4 * max(pixels, 3 * _CLIP_SIDE**2)
    thinking = 4 * plan.encode_batch * pixels + plan.encode_batch * model.clip_values * job.itemsize
    return (weights.clip if plan.hosted else weights.total) + max(blur, thinking)


def _encode(model: Architecture, job: Job, plan: MemoryPlan) -> int:
    wide = 4 if model.upcast_encoder else job.itemsize
    pixels, batch = job.size.height * job.size.width, plan.encode_batch
    pictures = 2 * 3 * wide * batch * pixels
    whole = all(layer.space for layer in model.encoder)
    if whole and not (plan.frugal_encode or job.in_pieces):
        # The residual block's input, norm, activation and convolution; its caller keeps one more.
        kept = 4 if model.encoder[2].kind == "halve" else 5
        return pictures + kept * model.encoder[0].outputs * wide * batch * pixels
    walk = Walk(
        batch, job.size.height, job.size.width, wide, plan.values,
        temporal=False, in_pieces=job.in_pieces,
    )  # fmt: skip
    return pictures + walk.peak(model.encoder)


def _denoise(model: Architecture, job: Job, plan: MemoryPlan) -> int:
    walk = Walk(
        job.window, *job.latent_size(model), job.itemsize, plan.values,
        parked=plan.park_skips, in_pieces=job.in_pieces,
    )  # fmt: skip
    if not plan.stream_weights:
        return walk.peak(model.unet)
    return walk.peak(model.unet, lambda layer: model.parameters(layer) * job.itemsize)


def _decode(model: Architecture, job: Job, plan: MemoryPlan) -> int:
    height, width = job.latent_size(model)
    frames, frugal = job.decode_chunk, plan.frugal_decode
    walk = Walk(
        frames, height, width, job.itemsize, plan.values, frugal=frugal, in_pieces=job.in_pieces
    )  # fmt: skip
    pictures = 3 * (4 + 3 * job.itemsize) * frames * job.size.height * job.size.width
    # A chunk's latents as they are, scaled, and in the decoder's own type.
    latents = (8 + job.itemsize) * model.latent_channels * frames * height * width
    return latents + max(walk.peak(model.decoder), pictures)


def _skip_bytes(model: Architecture, job: Job) -> list[int]:
    """Bytes of each layer that the UNet keeps for its way up."""
    height, width = job.latent_size(model)
    kept = []
    for layer in model.unet:
        if layer.kind == "halve":
            height, width = -(-height // 2), -(-width // 2)
        if layer.keep:
            kept.append(job.window * height * width * layer.outputs * job.itemsize)
    return kept


def _largest_enlarged(model: Architecture, job: Job) -> int:
    """Bytes of the largest layer that the decoder enlarges: waiting ones share host memory."""
    height, width = job.latent_size(model)
    area, largest = height * width, 0
    for layer in model.decoder:
        if layer.kind == "enlarge":
            largest = max(largest, job.decode_chunk * area * layer.inputs * job.itemsize)
            area *= 4
    return largest
