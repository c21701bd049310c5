"""How long a run takes on a card that is known: an estimate, see memory/speed.py.

Copies of a denoising step run beside it, so the longer of both counts; offloaded networks are
waited for.
"""

from dataclasses import dataclass
from functools import partial

from depthcrafter_cli.memory.cards import Card
from depthcrafter_cli.memory.estimate import Weights
from depthcrafter_cli.memory.planner import MemoryChoice
from depthcrafter_cli.memory.speed import pass_seconds, peak_seconds
from depthcrafter_cli.memory.work import forward

_HALF_PRECISION = 2  # bytes


@dataclass(frozen=True)
class Duration:
    """Estimated seconds of a run, by stage; ``bus`` is what of ``total`` waits for copies."""

    image_encoder: float
    encode: float
    denoise: float
    decode: float
    bus: float

    @property
    def stages(self) -> dict[str, float]:
        """Seconds by stage."""
        return dict(vars(self))

    @property
    def total(self) -> float:
        """The whole run, without reading and writing."""
        return self.image_encoder + self.encode + self.denoise + self.decode + self.bus


def duration(
    choice: MemoryChoice,
    on: Card,
    *,
    frames: int,
    windows: int,
    passes: int,
    batch: int,
) -> Duration | None:
    """Estimate a run of so many ``frames``; None in 32-bit, of whose speed nothing is known.

    ``passes`` are the forward passes of a window: steps, twice with guidance. ``batch`` frames are
    read at a time, and for each of those reads offloaded networks come anew.
    """
    workload, plan = choice.workload, choice.plan
    if workload.itemsize != _HALF_PRECISION:
        return None
    model, size, values = choice.model, workload.size, plan.chunk_values
    inside, wide = workload.latent_size(model), 4 if model.upcast_encoder else _HALF_PRECISION
    encoded = forward(model.encoder, 1, size.height, size.width, temporal=False)
    step = forward(model.unet, workload.window, *inside)
    chunk = forward(model.decoder, workload.decode_chunk, *inside)
    speed = partial(pass_seconds, on=on, chunk_values=values, fused=workload.fused)
    denoise = windows * passes * speed(step, itemsize=_HALF_PRECISION)
    decode = speed(chunk, itemsize=_HALF_PRECISION) / workload.decode_chunk
    copied = choice.peaks.bus_bytes * passes * windows / on.bus
    copied_in = 0.0
    if plan.offloaded:
        weights = Weights.of(model, workload)
        reads, chunks = -(-frames // batch), -(-frames // workload.decode_chunk)
        copied_in = reads * (weights.image_encoder + weights.encoder) + chunks * weights.decoder
        copied_in += 0 if plan.offload_blocks else windows * weights.unet
    return Duration(
        image_encoder=frames * peak_seconds(model.image_encoder_operations, on),
        encode=frames * speed(encoded, itemsize=wide),
        denoise=denoise,
        decode=frames * decode,
        bus=max(0.0, copied - denoise) + copied_in / on.bus,
    )
