"""The hidden layer of a forward pass, and how blocks turn it into the next one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from depthcrafter_cli.models.offload import Offload, Offloaded
from depthcrafter_cli.models.reordered.blocks import (
    Context,
    Source,
    residual_in_space,
    residual_in_time,
    transformer,
)
from depthcrafter_cli.models.reordered.layers import (
    ImageSize,
    Moments,
    attend,
    chunks,
    convolve,
    convolve_normalized,
    normalize,
    to_images,
    to_tokens,
)
from depthcrafter_cli.models.residency import Residency
from depthcrafter_cli.models.silent import is_silent


class HiddenLayer:
    """Tokens [T, h * w, C] of all frames, or what they will be computed from.

    Nothing else holds them, so a layer is freed as soon as the next one is there. ``chunk_values``
    bounds how much is worked on at a time (see MemoryPlan), ``blocks`` brings in the blocks'
    weights, ``offload`` takes layers that wait on the host, ``level`` [1, d] is the noise level's
    embedding, the same for all frames. ``recompute`` trades time for memory: layers wait on the
    host while they are enlarged, and some are computed twice.
    """

    def __init__(
        self,
        source: Source,
        frames: int,
        size: ImageSize,
        chunk_values: int,
        blocks: Residency,
        offload: Offload,
        level: Tensor | None = None,
        recompute: bool = False,
    ) -> None:
        self.size, self.frames, self.chunk_values = size, frames, chunk_values
        self._source, self._blocks, self._offload = source, blocks, offload
        self._level, self._recompute = level, recompute
        self._needed: tuple[nn.Module, ...] = ()  # what the source computes with
        self._tokens: Tensor | None = None
        self._ours = False  # the source is a layer in memory that may be overwritten

    @property
    def tokens(self) -> Tensor:
        """The layer's chunk_values [T, h * w, C], which are in memory."""
        assert self._tokens is not None, "the layer is not computed yet"
        return self._tokens

    def share(self) -> Tensor:
        """The layer in memory, to be kept: from now on it is not written to."""
        self._ours = False
        return self.tokens

    def offload(self) -> Offloaded:
        """The layer on the host. It stays in memory, not written to, until the next is there."""
        return self._offload.send(self.share())

    def residual(self, block: Any) -> None:
        """Put the layer through a SpatioTemporalResBlock."""
        temporal = block.temporal_res_block
        groups = None if is_silent(temporal.conv2) else temporal.norm1.num_groups
        with self._blocks.on_device(block, *self._needed):
            moments = self._in_space(block.spatial_res_block, groups)
            if moments is not None:
                residual_in_time(
                    block, self.tokens, moments, self._level, self.chunk_values, self._recompute
                )

    def residual_per_frame(self, block: Any) -> None:
        """Put the layer through a ResnetBlock2D, each frame on its own."""
        self._in_space(block, None)

    def _in_space(self, block: Any, groups: int | None) -> Moments | None:
        if self._adds_nothing(block) and groups is None:
            return None
        channels, area = block.conv2.out_channels, self.size[0] * self.size[1]
        if self._ours and self.tokens.shape[2] == channels:
            result = self.tokens
        else:
            result = block.conv2.weight.new_empty(self.frames, area, channels)
        moments = residual_in_space(
            block, self._source, result, self.size, self._level, self.chunk_values, groups
        )
        self._hold(result)
        return moments

    def _adds_nothing(self, block: Any) -> bool:
        """Whether a ResnetBlock2D leaves the layer as it is; one that others keep is copied."""
        return self._ours and block.conv_shortcut is None and is_silent(block.conv2)

    def attend(self, attention: Any) -> None:
        """Attention within each frame, by some of its pixels at a time."""
        if is_silent(attention.to_out[0]):
            return
        tokens = self.tokens
        for span in chunks(len(tokens), tokens[0].numel(), self.chunk_values):
            part, norm = tokens[span], attention.group_norm
            part = normalize(part, norm, Moments.gathered(part, norm.num_groups, self.chunk_values))
            tokens[span] += attend(part, attention, self.chunk_values)

    def transform(self, model: Any, context: Context) -> None:
        """Put the layer through a TransformerSpatioTemporalModel."""
        if is_silent(model.proj_out):
            return
        with self._blocks.on_device(model):
            transformer(model, self.tokens, context, self.chunk_values)

    def join(self, skip: Tensor | Offloaded, size: ImageSize) -> None:
        """Append the channels of an earlier layer, wherever it waits."""
        source, self.size, self._ours = self._source, size, False

        def joined(span: slice) -> Tensor:
            return torch.cat([source(span), skip[span]], dim=2)

        self._source = joined

    def halve(self, sampler: Any) -> None:
        """Put the layer through a Downsample2D, which halves both sides."""
        before, size = self.tokens, self.size
        self.size = (-(-size[0] // 2), -(-size[1] // 2))
        self._source = lambda span: to_tokens(sampler(to_images(before[span], size)))
        with self._blocks.on_device(sampler):
            self.compute(before.shape[2])

    def enlarge(self, sampler: Any, wanted: ImageSize) -> None:
        """Through an Upsample2D, but only as frames are asked for: all at once they would be the
        largest tensor of the network.
        """
        size, chunk_values = self.size, self.chunk_values
        before = self.offload() if self._recompute else self.tokens
        self._offload.wait()

        def enlarged(span: slice) -> Tensor:
            return _convolve_enlarged(before[span], size, wanted, sampler.conv, chunk_values)

        self.size, self._needed = wanted, (sampler,)
        self._source, self._tokens, self._ours = enlarged, None, False

    def compute(self, width: int) -> None:
        """Bring the whole layer, of ``width`` channels, into memory."""
        area, buffer = self.size[0] * self.size[1], None
        for span in chunks(self.frames, area * width, self.chunk_values):
            part = self._source(span)
            if buffer is None:
                buffer = part.new_empty(self.frames, area, width)
            buffer[span] = part
            del part  # or it would lie beside the next one
        assert buffer is not None
        self._hold(buffer)

    def leave(self, norm: nn.GroupNorm, conv: nn.Conv2d) -> Tensor:
        """Through the network's last norm and convolution: [T, h * w, C']."""
        tokens = self.tokens
        result = tokens.new_empty(*tokens.shape[:2], conv.out_channels)
        for span in chunks(self.frames, tokens[0].numel(), self.chunk_values):
            result[span] = convolve_normalized(
                tokens[span], norm, conv, self.size, self.chunk_values
            )
        return result

    def _hold(self, tokens: Tensor) -> None:
        self._offload.wait()  # the layer before goes now
        self._tokens, self._source, self._needed = tokens, tokens.__getitem__, ()
        self._ours = True


def _convolve_enlarged(
    tokens: Tensor, size: ImageSize, wanted: ImageSize, conv: nn.Conv2d, chunk_values: int
) -> Tensor:
    """Nearest-neighbour enlargement of frames [n, h * w, C] and a 3x3 convolution.

    The enlarged frames exist for some rows at a time, each with the rows next to it.
    """
    (height, width), grid = wanted, tokens.unflatten(1, size)
    down, across = (_nearest(n, m, tokens.device) for n, m in zip(wanted, size, strict=True))
    result = tokens.new_empty(len(tokens), height * width, conv.out_channels)
    for rows in chunks(height, len(tokens) * width * tokens.shape[2], chunk_values):
        top, bottom = max(rows.start - 1, 0), min(rows.stop + 1, height)
        part = grid.index_select(1, down[top:bottom]).index_select(2, across).flatten(1, 2)
        part = convolve(part, conv, (bottom - top, width))
        inner = slice((rows.start - top) * width, (rows.stop - top) * width)
        result[:, rows.start * width : rows.stop * width] = part[:, inner]
    return result


def _nearest(wanted: int, present: int, device: torch.device) -> Tensor:
    """Which of ``present`` pixels each of ``wanted`` pixels shows."""
    return torch.arange(wanted, device=device) * present // wanted
