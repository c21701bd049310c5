"""The one owner of randomness. Noise is drawn on the CPU in float32, whatever the device.

Two sources. ``FrameNoise``: a frame's noise is a pure function of (seed, frame index), so a
result depends neither on chunking nor on the shot's length, nor on where a run was resumed.
``ReferenceNoise``: the tensors that the reference program draws on a CPU, for a whole shot at
once. On a GPU it draws others, which depend on the card and take 3.5 GB for 1000 frames of
1024x576.
"""

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from depthcrafter_cli.errors import UsageError
from depthcrafter_cli.pipeline.config import PipelineConfig
from depthcrafter_cli.pipeline.windows import Window

_THREADS = 8
Shape = tuple[int, int, int]  # channels, height, width


class NoiseSource(Protocol):
    """Standard-normal float32 tensors on the CPU, for frames of one fixed size.

    Image noise that is drawn ``in_order`` is asked for in that order, and of no frame twice.
    """

    in_order: bool

    def images(self, start: int, stop: int) -> Tensor:
        """Image noise [stop - start, 3, H, W]."""

    def latents(self, window: Window) -> Tensor:
        """Starting noise [len(window), c, h, w], before scaling."""


class FrameNoise:
    """Noise from Philox counters keyed by (seed, stream, frame index)."""

    in_order = False
    _IMAGES, _LATENTS = 0, 1

    def __init__(self, seed: int, images: Shape, latents: Shape) -> None:
        self._seed, self._image_shape, self._latent_shape = seed, images, latents

    def images(self, start: int, stop: int) -> Tensor:
        return self._draw(map, self._IMAGES, range(start, stop), self._image_shape)

    def latents(self, window: Window) -> Tensor:
        frames = range(window.start, window.stop)
        # A GPU waits for them.
        with ThreadPoolExecutor(_THREADS) as pool:
            return self._draw(pool.map, self._LATENTS, frames, self._latent_shape)

    def _draw(
        self, each: Callable[..., Iterable[None]], stream: int, frames: range, shape: Shape
    ) -> Tensor:
        """Noise float32 [len(frames), *shape]; ``each`` is ``map``, or that of a pool."""
        drawn = np.empty((len(frames), *shape), np.float32)

        def draw(index: int, place: npt.NDArray[np.float32]) -> None:
            key = np.array([self._seed, stream << 56 | index], dtype=np.uint64)
            drawing = np.random.Generator(np.random.Philox(key=key))
            drawing.standard_normal(dtype=np.float32, out=place)

        deque(each(draw, frames, drawn), maxlen=0)
        return torch.from_numpy(drawn)


class ReferenceNoise:
    """The reference program's draws on a CPU: all image noise, then one tensor of ``window`` slots.

    Slot j of window k uses the tensor's entry (j - k * overlap) mod slots: the tensor is rolled
    right by the overlap before each further window, so an overlapped frame keeps its noise.
    """

    in_order = True

    def __init__(self, config: PipelineConfig, images: Shape, latents: Shape, total: int) -> None:
        self._total, self._drawn, self._image_shape = total, 0, images
        self._images = torch.Generator().manual_seed(config.seed)
        ahead = torch.Generator().manual_seed(config.seed)
        # Frame by frame equals one draw for the shot: a frame's values fill whole SIMD blocks.
        for _ in range(total):
            torch.randn(self._image_shape, generator=ahead, dtype=torch.float32)
        slots = min(config.window, total)
        self.slots = torch.randn((slots, *latents), generator=ahead, dtype=torch.float32)

    def images(self, start: int, stop: int) -> Tensor:
        if stop > self._total:
            raise UsageError(
                f"got more than the {self._total} frames announced, expected exactly that many: "
                "reference noise depends on the shot's length, so give the right total."
            )
        drawn = [
            torch.randn(self._image_shape, generator=self._images, dtype=torch.float32)
            for _ in range(self._drawn, stop)
        ]
        skipped, self._drawn = start - self._drawn, stop
        return torch.stack(drawn[skipped:])

    def latents(self, window: Window) -> Tensor:
        slots = (torch.arange(len(window)) - window.index * window.overlap) % len(self.slots)
        return self.slots[slots]


def noise_source(
    config: PipelineConfig, images: Shape, latents: Shape, total: int | None
) -> NoiseSource:
    """The source that ``config.noise`` names; ``reference`` needs the shot's frame count."""
    if config.noise == "frame":
        return FrameNoise(config.seed, images, latents)
    if total is None:
        raise UsageError(
            "got reference noise for a stream of unknown length, expected the total number of "
            "frames: pass total=, or use frame-indexed noise."
        )
    return ReferenceNoise(config, images, latents, total)
