"""The peak of each stage, in bytes, from shapes alone.

A stage's peak is the largest sum, over the layers of its network, of

    weights + waiting + held + at work

where *waiting* are the tensors kept for the way up and the latents of the window, *held* is the
layer's input and result (T x pixels x channels), and *at work* is what a chunk needs on the way.
Chunks are as in :mod:`depthcrafter_cli.models.reordered`: at most ``MemoryPlan.values`` values of
the widest tensor that a layer names, a frame, row or pixel at least. With C channels and e bytes a
value, per value of a chunk (its 32-bit statistics included):

    convolution with norm    norm (4 + e) C, then e (C + C')
    temporal convolution     max(4 + e, 8, 3 e) C
    transformer              e (2 + 8 + 4 + 1 + 1) C, the feed-forward layer being the widest
    attention                e (1 + 3 + 1 + 1) C

``benchmarks/vram.py`` compares these figures with the real code's allocations.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from depthcrafter_cli.memory.architecture import Architecture, Layer
from depthcrafter_cli.types import MemoryPlan, Size

LATENT_FACTOR = 8  # pixels of a picture per latent, each way
_CLIP_SIDE = 224
_GATHERED = 8  # bytes per value while 32-bit statistics are gathered


@dataclass(frozen=True)
class Job:
    """What is computed: pictures of ``size``, ``window`` frames at a time, e bytes a value."""

    size: Size
    window: int
    decode_chunk: int
    itemsize: int

    @property
    def latent_area(self) -> int:
        """Latents of a frame."""
        return (self.size.height // LATENT_FACTOR) * (self.size.width // LATENT_FACTOR)


@dataclass(frozen=True)
class Peaks:
    """Predicted peaks in bytes, on the device per stage and on the host at most.

    ``bus_bytes`` go to or from the device per denoising step.
    """

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


def estimate(model: Architecture, job: Job, plan: MemoryPlan) -> Peaks:
    """Predict a run under ``plan``."""
    weights = Weights.of(model, job)
    window = 4 * 4 * job.window * job.latent_area  # the float32 latents of a window, once
    skips = _skip_bytes(model.unet, job)
    hosted = plan.hosted

    def at_home(own: int) -> int:
        return own if hosted else weights.total

    return Peaks(
        clip=window + _clip(model, job, plan, weights),
        encode=window + at_home(weights.encoder) + _encode(model, job, plan),
        denoise=7 * window
        + at_home(0 if plan.stream_weights else weights.unet)
        + _denoise(model, job, plan),
        decode=window + at_home(weights.decoder) + _decode(model, job, plan),
        host=(weights.total if hosted else 0) + (skips if plan.park_skips else 0),
        bus_bytes=(weights.unet if plan.stream_weights else 0)
        + (2 * skips if plan.park_skips else 0),
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
    if plan.hosted:
        return max(blur, weights.clip + thinking)
    return weights.total + max(blur, thinking)


def _encode(model: Architecture, job: Job, plan: MemoryPlan) -> int:
    wide = 4 if model.upcast_encoder else job.itemsize
    pixels, batch = job.size.height * job.size.width, plan.encode_batch
    pictures = 2 * 3 * wide * batch * pixels
    if not plan.frugal_encode:
        # The residual block's input, norm, activation and convolution; its caller keeps one more.
        kept = 4 if model.encoder[2].kind == "halve" else 5
        return pictures + kept * model.encoder[0].outputs * wide * batch * pixels
    walk = _Walk(batch, job.size.height, job.size.width, wide, plan.values, temporal=False)
    return pictures + walk.peak(model.encoder)


def _denoise(model: Architecture, job: Job, plan: MemoryPlan) -> int:
    height, width = job.size.height // LATENT_FACTOR, job.size.width // LATENT_FACTOR
    walk = _Walk(job.window, height, width, job.itemsize, plan.values, parked=plan.park_skips)
    if not plan.stream_weights:
        return walk.peak(model.unet)
    return walk.peak(model.unet, lambda layer: model.parameters(layer) * job.itemsize)


def _decode(model: Architecture, job: Job, plan: MemoryPlan) -> int:
    height, width = job.size.height // LATENT_FACTOR, job.size.width // LATENT_FACTOR
    frames, frugal = job.decode_chunk, plan.frugal_decode
    walk = _Walk(frames, height, width, job.itemsize, plan.values, frugal=frugal)
    pictures = 3 * (4 + 3 * job.itemsize) * frames * job.size.height * job.size.width
    return max(walk.peak(model.decoder), pictures)


def _skip_bytes(layers: Iterable[Layer], job: Job) -> int:
    """Everything the UNet keeps for its way up."""
    height, width = job.size.height // LATENT_FACTOR, job.size.width // LATENT_FACTOR
    total = 0
    for layer in layers:
        if layer.kind == "halve":
            height, width = -(-height // 2), -(-width // 2)
        total += layer.keep * job.window * height * width * layer.outputs * job.itemsize
    return total


class _Walk:
    """One forward pass, layer by layer, keeping account of what is in memory."""

    def __init__(
        self,
        frames: int,
        height: int,
        width: int,
        itemsize: int,
        values: int,
        *,
        temporal: bool = True,
        parked: bool = False,
        frugal: bool = False,
    ) -> None:
        self.frames, self.height, self.width, self.itemsize = frames, height, width, itemsize
        self.values, self.temporal, self.parked, self.frugal = values, temporal, parked, frugal
        self.waiting: list[tuple[int, int, int]] = []  # bytes, height, width
        self.own = 0  # bytes of the layer that nobody else keeps
        self.shared = False
        self.enlarged = 0  # channels, if the layer is yet to be enlarged

    def peak(self, layers: Iterable[Layer], weights: Callable[[Layer], int] = lambda _: 0) -> int:
        """The largest need of any layer, its ``weights`` and those sent for next included."""
        each = list(layers)
        coming = [weights(layer) for layer in each[1:]] + [0]
        return max(
            self._step(layer) + weights(layer) + following
            for layer, following in zip(each, coming, strict=True)
        )

    def _step(self, layer: Layer) -> int:
        need = {
            "convolve": self._convolve,
            "residual": self._residual,
            "transform": self._transform,
            "attend": self._attend,
            "halve": self._halve,
            "enlarge": self._enlarge,
        }[layer.kind](layer)
        if layer.keep:
            self.waiting.append((0 if self.parked else self.own, self.height, self.width))
            self.shared = not self.parked
        return need

    @property
    def area(self) -> int:
        return self.height * self.width

    def _bytes(self, channels: int) -> int:
        return self.frames * self.area * channels * self.itemsize

    def _waiting(self) -> int:
        """Kept tensors, the layer's own input among them or beside them."""
        return sum(size for size, _, _ in self.waiting) + (0 if self.shared else self.own)

    def _become(self, size: int) -> None:
        self.own, self.shared, self.enlarged = size, False, 0

    def _convolve(self, layer: Layer) -> int:
        result, before = self._bytes(layer.outputs), self._waiting()
        n = self._pieces(self.frames, self.area * max(layer.inputs, layer.outputs))
        at_work = n * self.area * layer.outputs * self.itemsize
        if self.own:
            at_work += self._filtered(n, layer.inputs, layer.outputs)
        self._become(result)
        return before + result + at_work

    def _residual(self, layer: Layer) -> int:
        result = self._bytes(layer.outputs)
        before = self._waiting()
        free = not (self.shared or self.enlarged or layer.skip)
        in_place = free and layer.inputs == layer.outputs
        n = self._pieces(self.frames, self.area * max(layer.inputs, layer.outputs))
        pixels = n * self.area
        part = pixels * self.itemsize
        fetched = 0
        if self.enlarged:
            fetched += part * self.enlarged
        if layer.skip:
            fetched += part * (layer.inputs + (layer.skip if self.parked else 0))
        at_work = max(
            fetched + self._filtered(n, layer.inputs, layer.outputs),
            fetched + part * layer.outputs + self._filtered(n, layer.outputs, layer.outputs),
        )
        space = before + (0 if in_place else result) + at_work
        if layer.skip:
            self.waiting.pop()
        self._become(result)
        if not self.temporal:
            return space
        m = self._pieces(self.area, self.frames * layer.outputs)
        step = self._wide(max(4 + self.itemsize, 3 * self.itemsize, _GATHERED + self.itemsize))
        chunk = self.frames * m * layer.outputs * step
        between = 0 if self.frugal else result
        return max(space, self._waiting() + between + chunk)

    def _transform(self, layer: Layer) -> int:
        inner = self._bytes(layer.outputs)
        n = self._pieces(self.frames, self.area * layer.outputs) * self.area
        m = self._pieces(self.area, self.frames * layer.outputs) * self.frames
        at_work = max(n, m) * layer.outputs * self.itemsize * 16
        return self._waiting() + inner + at_work

    def _attend(self, layer: Layer) -> int:
        n = self._pieces(self.frames, self.area * layer.outputs)
        return self._waiting() + n * self.area * layer.outputs * self.itemsize * 7

    def _halve(self, layer: Layer) -> int:
        before, area = self._waiting(), self.area
        self.height, self.width = -(-self.height // 2), -(-self.width // 2)
        result = self._bytes(layer.outputs)
        n = self._pieces(self.frames, self.area * layer.outputs)
        # The VAE pads before it halves, the UNet's convolution pads by itself.
        padded = 0 if self.temporal else n * area * layer.inputs
        self._become(result)
        return before + result + (padded + n * self.area * layer.outputs) * self.itemsize

    def _enlarge(self, layer: Layer) -> int:
        """Nothing yet: the next layer asks for enlarged frames when it needs them."""
        if self.waiting:
            _, self.height, self.width = self.waiting[-1]
        else:
            self.height, self.width = 2 * self.height, 2 * self.width
        if self.frugal:
            self.own = 0
        self.enlarged = layer.outputs
        return self._waiting()

    def _filtered(self, n: int, inputs: int, outputs: int) -> int:
        """Norm, activation and 3x3 convolution of ``n`` frames, by rows: result and work."""
        result = n * self.area * outputs * self.itemsize
        rows = self._pieces(self.height, n * self.width * max(inputs, outputs))
        pixels = n * min(self.height, rows + 2 * (rows < self.height)) * self.width
        gathered = self._pieces(self.area, n * inputs) * n * inputs * self._wide(_GATHERED)
        normalized = pixels * inputs * self._wide(4 + self.itemsize)
        convolved = pixels * (inputs + outputs) * self.itemsize
        return max(gathered, result + max(normalized, convolved))

    def _wide(self, bytes_per_value: int) -> int:
        """Where the network computes in 32 bits itself, statistics need no copy."""
        return bytes_per_value if self.itemsize < 4 else min(bytes_per_value, 3 * self.itemsize)

    def _pieces(self, length: int, values_each: int) -> int:
        return min(length, max(1, self.values // values_each))
