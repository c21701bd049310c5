"""How long GPUs would take, by a model of kernels and bytes: ours against diffusers' own modules.

    python benchmarks/gpu_model.py                          every size; 10 minutes of one core
    python benchmarks/gpu_model.py --pixels 1024x576 --frames 16 --pytorch

The real code runs on tensors without values (tracker.py), and every operation is noted with what it
computes, reads and writes. A card takes, for each of them, the longest of

    2 us, as the shortest kernel does
    operations / (peak x 0.75 for products, 0.60 for convolutions, 0.58 for attention)
    bytes from memory / (0.85 x its speed), all bytes / (2.4 times that, as from the L2 cache)

where a list of the tensors used last, as large as 0.7 of the L2 cache, stands for that cache. One
thread launches a kernel every 8 us and takes 1.5 us for a view; the card waits where it is faster.
Convolutions of diffusers' modules are turned from NCHW and back, ours re-lay their weights.
diffusers' GroupNorm is one block of the card for each group, which reads 2.2 GB/s, from the one
published figure (an H200); ``--fast-norms`` takes it to be as fast as memory. Nothing was timed.
"""

import argparse
import math
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple
from unittest import mock

import torch
import torch.nn.functional as F
import tracker
from simulation import Simulation
from torch import Tensor
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry
from tracker import DEVICE, Tracker

from depthcrafter_cli.memory.cards import Card, card_named
from depthcrafter_cli.models.fused import Fusion
from depthcrafter_cli.models.reordered import layers
from depthcrafter_cli.models.reordered.decoder import decode_latents
from depthcrafter_cli.models.reordered.encoder import encode_images
from depthcrafter_cli.models.reordered.unet import WindowForward
from depthcrafter_cli.models.residency import Residency
from depthcrafter_cli.types import MemoryPlan

CARDS = ("H100", "A100 80GB", "RTX 4090", "RTX 3060")
FRAME = 72 * 128 * 320  # values of a frame on the first level at 1024x576
LAUNCH, VIEW, SHORTEST = 8e-6, 1.5e-6, 2e-6  # seconds
EFFICIENCY = {"product": 0.75, "convolution": 0.60, "attention": 0.58, "other": 0.5}
FROM_MEMORY, CACHE_SHARE, CACHE_SPEED = 0.85, 0.7, 2.4
NORM_BLOCK = 2.2e9  # bytes a second that one block of a card takes in
STEPS, WINDOW, OVERLAP, CHUNK = 5, 110, 25, 8

KINDS = {
    **dict.fromkeys(("convolution", "conv2d", "conv3d"), "convolution"),
    **dict.fromkeys(("linear", "mm", "addmm", "bmm", "baddbmm"), "product"),
    **dict.fromkeys(("native_group_norm", "group_norm"), "norm"),
}
FREE = ("empty", "empty_strided", "empty_like", "new_empty", "detach", "alias", "_unsafe_view",
        "chunk", "unflatten", "flatten", "dropout", "_reshape_alias")  # fmt: skip
Place = tuple[int, int]  # a storage, and where in it


class Event(NamedTuple):
    """An operation: what it computes and moves, in bytes; ``norms`` are GroupNorm's blocks."""

    kind: str
    operations: float
    reads: list[tuple[Place, int]]
    writes: list[tuple[Place, int]]
    kernels: int = 1
    norms: int = 0
    extra: int = 0  # bytes of another layout

    @property
    def moved(self) -> int:
        """Bytes read and written."""
        return sum(size for _, size in (*self.reads, *self.writes)) + self.extra


class Recorder(Tracker):
    """Notes what runs on the simulated device."""

    def __init__(self, *, plain: bool) -> None:
        super().__init__()
        self.events, self.views, self._plain = list[Event](), 0, plain

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = self._result(operation, args, kwargs or {})
        name = operation._schema.name.split("::")[-1]
        made, given = _tensors(result), _tensors((args, kwargs))
        if not any(tensor.device.type == DEVICE.type for tensor in (*made, *given)):
            return result
        storages = {tensor.untyped_storage()._cdata for tensor in given}
        looks = made and not name.endswith("_") and all(
            tensor.untyped_storage()._cdata in storages for tensor in made
        )  # fmt: skip
        if name in FREE or (looks and "out" not in (kwargs or {})):
            self.views += 1
        elif made:
            self._note(operation, name, args, kwargs or {}, given, made)
        return result

    def _note(
        self, operation: Any, name: str, args: Any, kwargs: Any, given: Any, made: Any
    ) -> None:
        kind, count, norms, extra, kernels = KINDS.get(name, "other"), 0.0, 0, 0, 1
        if kind == "convolution":
            count = 2.0 * made[0].numel() * args[1][0].numel()
            count *= 2 if made[0].dtype == torch.float32 else 1  # TF32 is half as fast
            sides = _bytes(args[0]) + _bytes(made[0])
            extra, kernels = 2 * (sides if self._plain else _bytes(args[1])), 2 + self._plain
        elif name == "linear":
            count = 2.0 * made[0].numel() * args[0].shape[-1]
        elif operation.overloadpacket in flop_registry:
            counted = flop_registry[operation.overloadpacket]
            count = counted(*args, **kwargs, out_val=made[0] if len(made) == 1 else tuple(made))
        elif kind == "norm":
            norms, extra = len(args[0]) * args[1 if name == "group_norm" else 6], _bytes(args[0])
            kernels = 3
        kept = _tensors((kwargs or {}).get("out"))
        read = [tensor for tensor in given if all(tensor is not out for out in kept)]
        reads = read[1:] if name == "copy_" else read
        self.note(kind, reads, made, count, norms, extra, kernels)

    def note(
        self, kind: str, reads: Any, writes: Any, operations: float = 0.0, norms: int = 0,
        extra: int = 0, kernels: int = 1,
    ) -> None:  # fmt: skip
        """Add an operation."""
        read, written = ([_place(tensor) for tensor in side] for side in (reads, writes))
        self.events.append(Event(kind, operations, read, written, kernels, norms, extra))


class Kernels:
    """Stands for the fused kernels: what each of them reads and writes."""

    def __init__(self, recorder: Recorder) -> None:
        self._note = recorder.note

    def moments(self, tokens: Tensor, groups: int, *, together: bool) -> tuple[Tensor, Tensor]:
        items = 1 if together else len(tokens)
        mean, m2 = (torch.empty(items, groups, device=DEVICE) for _ in range(2))
        self._note("other", [tokens], [mean, m2], kernels=2)
        return mean, m2

    def normalize(self, tokens: Tensor, norm: Any, *known: Any, silu: bool) -> Tensor:
        result = torch.empty_like(tokens)
        self._note("other", [tokens], [result])
        return result

    def add_normalize(
        self, part: Tensor | None, tokens: Tensor, context: Tensor | None, norm: Any
    ) -> tuple[Tensor, Tensor]:
        total, normed = (tokens.new_empty(tokens.shape) for _ in range(2))
        self._note("other", [tokens] if part is None else [part, tokens], [total, normed])
        return total, normed

    def mix(self, hidden: Tensor, part: Tensor, tokens: Tensor, share: float) -> None:
        self._note("other", [hidden, part, tokens], [hidden])

    def gated(self, lifted: Tensor) -> Tensor:
        result = torch.empty_like(lifted[..., : lifted.shape[-1] // 2].contiguous())
        self._note("other", [lifted], [result])
        return result


@contextmanager
def recording(*, plain: bool, fused: bool) -> Iterator[Recorder]:
    """Inside, the recorder follows what runs."""
    recorder = Recorder(plain=plain)

    def attention(query: Tensor, key: Tensor, value: Tensor, **_: Any) -> Tensor:
        mixed = torch.empty_like(query.transpose(1, 2)).transpose(1, 2)
        products = 4.0 * query.numel() * key.shape[-2]
        recorder.note("attention", [query, key, value], [mixed], products)
        return mixed

    kernels = Kernels(recorder) if fused else None
    with (
        torch.inference_mode(),
        mock.patch.object(layers, "fusion", lambda _: Fusion(kernels, "")),
        mock.patch.object(tracker, "_flash_attention", attention),
        mock.patch.object(F, "scaled_dot_product_attention", attention),
        recorder,
    ):
        yield recorder


def seconds(recorder: Recorder, card: Card, *, slow_norms: bool) -> float:
    """What a card takes for what was noted."""
    memory, cache = card.bandwidth * FROM_MEMORY, card.cache * CACHE_SHARE
    each = LAUNCH + VIEW * recorder.views / max(1, len(recorder.events))
    held: OrderedDict[Place, tuple[int, bool]] = OrderedDict()
    kept, launched, done = 0, 0.0, 0.0
    for event in recorder.events:
        moved = float(event.extra)
        for place, size in event.reads:
            if place in held:
                held.move_to_end(place)
                continue
            moved += size
            if size <= cache:
                held[place], kept = (size, False), kept + size
        for place, size in event.writes:
            if size > cache:
                moved += size
                continue
            kept += size - held.get(place, (0, False))[0]
            held[place] = (size, True)
            held.move_to_end(place)
        while kept > cache:
            _, (size, written) = held.popitem(last=False)
            kept, moved = kept - size, moved + size * written
        took = max(
            SHORTEST * event.kernels,
            moved / memory,
            event.moved / (memory * CACHE_SPEED),
            event.operations / (card.peak * EFFICIENCY.get(event.kind, 0.5)),
        )
        if event.norms and slow_norms:
            read = event.reads[0][1]
            took = max(took, read / min(event.norms * NORM_BLOCK, memory) + 2 * read / memory)
        launched += each * math.sqrt(event.kernels)
        done = max(done, launched) + took
    return done


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _bytes(tensor: Tensor) -> int:
    sizes = [size for size, stride in zip(tensor.shape, tensor.stride(), strict=True) if stride]
    return math.prod(sizes) * tensor.element_size()


def _place(tensor: Tensor) -> tuple[Place, int]:
    """Where a tensor lies: small storages are taken whole, of large ones the part."""
    storage = tensor.untyped_storage()
    if storage.nbytes() <= 100e6:
        return (storage._cdata, -1), _bytes(tensor)
    return (storage._cdata, tensor.storage_offset() * tensor.element_size()), _bytes(tensor)


@dataclass(frozen=True)
class Job:
    """A window of ``frames`` of pictures ``height`` x ``width``, by chunks of so many values."""

    height: int
    width: int
    frames: int
    overlap: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}, {self.frames} frames"


JOBS = (
    Job(576, 1024, WINDOW, OVERLAP), Job(256, 512, WINDOW, OVERLAP), Job(192, 320, 24, 8),
    Job(1088, 1920, WINDOW, OVERLAP),
)  # fmt: skip
Runs = dict[str, Callable[[], Any]]


def runs(simulation: Simulation, job: Job, plan: MemoryPlan | None) -> Runs:
    """A step, a decoded chunk and an encoded one: of diffusers' modules without a plan."""
    unet, vae, _ = simulation.networks
    like = {"device": DEVICE, "dtype": simulation.dtype}
    sides = (job.height // 8, job.width // 8)
    sample = torch.empty(job.frames, 8, *sides, **like)
    embeds = torch.empty(job.frames, 1, simulation.architecture.cross_width, **like)
    level, ids = torch.empty(1, device=DEVICE), torch.empty(1, 3, **like)
    latents = torch.empty(CHUNK, 4, *sides, **like)
    images = torch.empty(CHUNK, 3, job.height, job.width, device=DEVICE)
    if plan is None:
        seen = torch.zeros(1, CHUNK, **like)
        return {
            "step": lambda: unet(sample[None], level, embeds, ids),
            "decode": lambda: vae.decoder(latents, seen, num_frames=CHUNK),
            "encode": lambda: vae.quant_conv(vae.encoder(images)),
        }
    with torch.inference_mode(), tracker.simulated():
        window = WindowForward(unet, embeds, plan, Residency(DEVICE, offloaded=False))
    return {
        "step": lambda: window(sample, level, ids),
        "decode": lambda: decode_latents(vae.decoder, latents, plan),
        "encode": lambda: encode_images(vae, images, plan),
    }


def recorded(simulation: Simulation, job: Job, plan: MemoryPlan | None, *, fused: bool) -> Any:
    """What each stage does, by name."""
    noted = {}
    for name, run in runs(simulation, job, plan).items():
        with recording(plain=plan is None, fused=fused) as noted[name]:
            run()
    return noted


def frame_seconds(job: Job, noted: Any, card: Card, *, slow_norms: bool) -> float:
    """Of a frame of a long video, without the image encoder, reading and writing."""
    each = {
        name: seconds(recorder, card, slow_norms=slow_norms) for name, recorder in noted.items()
    }
    new = job.frames - job.overlap
    return STEPS * each["step"] / new + (each["decode"] + each["encode"]) / CHUNK


def main() -> None:
    parser = argparse.ArgumentParser(description="A model of GPUs' time, ours against diffusers'.")
    parser.add_argument("--pixels", nargs="+", help="only these sizes, such as 1024x576")
    parser.add_argument("--frames", nargs="+", type=float, default=[4, 8, 16],
                        help="frames of the first level of 1024x576 to a chunk")  # fmt: skip
    parser.add_argument("--pytorch", action="store_true", help="ours without Triton, too")
    parser.add_argument("--fast-norms", action="store_true")
    arguments = parser.parse_args()
    simulation = Simulation()
    for network in simulation.networks:
        network.to(DEVICE)
    cards = [card_named(name) for name in CARDS]
    print("| job | way | kernels a step | GB a step | kernels a chunk | GB a chunk | "
          + " | ".join(f"{card.name}, ms a frame" for card in cards) + " |")  # fmt: skip
    print(f"|{' --- |' * (6 + len(cards))}")
    for job in JOBS:
        if arguments.pixels and f"{job.width}x{job.height}" not in arguments.pixels:
            continue
        ways: list[tuple[str, MemoryPlan | None, bool]] = [("plain", None, False)]
        for frames in arguments.frames:
            plan = MemoryPlan(int(frames * FRAME), encode_by_rows=True)
            ways += [(f"ours, PyTorch, {frames:g}", plan, False)] * arguments.pytorch
            ways.append((f"ours, {frames:g}", plan, True))
        base: list[float] = []
        for way, plan, fused in ways:
            noted = recorded(simulation, job, plan, fused=fused)
            slow = not arguments.fast_norms
            times = [frame_seconds(job, noted, card, slow_norms=slow) for card in cards]
            base = base or times
            told = [
                f"{time * 1e3:.1f}" + f" ({time / plain:.2f})" * (plan is not None)
                for time, plain in zip(times, base, strict=True)
            ]
            counts = [
                f"{sum(event.kernels for event in noted[name].events):,} | "
                f"{sum(event.moved for event in noted[name].events) / 1e9:,.0f}"
                for name in ("step", "decode")
            ]
            print(f"| {job} | {way} | {' | '.join(counts)} | {' | '.join(told)} |", flush=True)


if __name__ == "__main__":
    main()
