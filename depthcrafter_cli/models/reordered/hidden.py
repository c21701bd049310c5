"""The hidden layer of a forward pass, and how blocks turn it into the next one."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from depthcrafter_cli.models.reordered.blocks import (
    Context,
    Source,
    residual_in_space,
    residual_in_time,
    transformer,
)
from depthcrafter_cli.models.reordered.layers import (
    ImageSize,
    chunks,
    convolve,
    to_images,
    to_tokens,
)
from depthcrafter_cli.models.residency import Residency


class HiddenLayer:
    """Tokens [T, h * w, C] of all frames, or what they will be computed from.

    Nothing else holds them, so a layer is freed as soon as the next one is there. ``values`` bounds
    how much is worked on at a time (see MemoryPlan), ``blocks`` brings in the blocks' weights,
    ``level`` [1, d] is the noise level's embedding, the same for all frames.
    """

    def __init__(
        self,
        source: Source,
        frames: int,
        size: ImageSize,
        values: int,
        blocks: Residency,
        level: Tensor | None = None,
    ) -> None:
        self.size, self.frames, self.values = size, frames, values
        self._source, self._blocks, self._level = source, blocks, level
        self._needed: tuple[nn.Module, ...] = ()  # what the source computes with
        self._tokens: Tensor | None = None

    @property
    def tokens(self) -> Tensor:
        """The layer in memory."""
        assert self._tokens is not None, "the layer is not computed yet"
        return self._tokens

    def residual(self, block: Any) -> None:
        """Through a SpatioTemporalResBlock."""
        with self._blocks.present(block, *self._needed):
            tokens, moments = residual_in_space(
                block, self._source, self.frames, self.size, self._level, self.values
            )
            self._hold(tokens)
            residual_in_time(block, tokens, moments, self._level, self.values)

    def transform(self, model: Any, context: Context) -> None:
        """Through a TransformerSpatioTemporalModel."""
        with self._blocks.present(model):
            transformer(model, self.tokens, context, self.values)

    def join(self, skip: Tensor, size: ImageSize) -> None:
        """Append the channels of an earlier layer, wherever it waits."""
        source, self.size = self._source, size

        def joined(span: slice) -> Tensor:
            before = source(span)
            return torch.cat([before, skip[span].to(before.device, non_blocking=True)], dim=2)

        self._source = joined

    def halve(self, sampler: Any) -> None:
        """Through a Downsample2D."""
        before, size = self.tokens, self.size
        self.size = (-(-size[0] // 2), -(-size[1] // 2))
        self._source = lambda span: to_tokens(sampler(to_images(before[span], size)))
        with self._blocks.present(sampler):
            self.compute(before.shape[2])

    def enlarge(self, sampler: Any, wanted: ImageSize) -> None:
        """Through an Upsample2D, but only as frames are asked for: all at once they would be the
        largest tensor of the network.
        """
        before, size = self.tokens, self.size

        def enlarged(span: slice) -> Tensor:
            images = F.interpolate(to_images(before[span], size), size=wanted, mode="nearest")
            return convolve(to_tokens(images), sampler.conv, wanted)

        self.size, self._needed = wanted, (sampler,)
        self._source, self._tokens = enlarged, None

    def compute(self, width: int) -> None:
        """Bring the whole layer, of ``width`` channels, into memory."""
        area, buffer = self.size[0] * self.size[1], None
        for span in chunks(self.frames, area * width, self.values):
            part = self._source(span)
            if buffer is None:
                buffer = part.new_empty(self.frames, area, width)
            buffer[span] = part
        assert buffer is not None
        self._hold(buffer)

    def _hold(self, tokens: Tensor) -> None:
        self._tokens, self._source, self._needed = tokens, tokens.__getitem__, ()
