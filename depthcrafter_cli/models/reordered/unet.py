"""The denoiser's forward pass, over chunks."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from depthcrafter_cli.models.offload import Offload, Offloaded
from depthcrafter_cli.models.published.unet import embed_time
from depthcrafter_cli.models.reordered.blocks import Context, cross_attention
from depthcrafter_cli.models.reordered.hidden import HiddenLayer
from depthcrafter_cli.models.reordered.layers import ImageSize, to_images, to_tokens
from depthcrafter_cli.models.residency import Residency
from depthcrafter_cli.types import MemoryPlan

Skip = tuple["Tensor | Offloaded", ImageSize]


class WindowForward:
    """The UNet on one window of frames: what does not change from step to step is kept."""

    def __init__(
        self,
        unet: Any,
        embeds: Tensor,
        plan: MemoryPlan,
        blocks: Residency,
        offload: Offload | None = None,
    ) -> None:
        """``embeds`` [T, 1, e] of the window's frames; ``blocks`` brings in blocks' weights,
        ``offload`` takes skips that wait on the host.
        """
        self._unet, self._plan, self._blocks = unet, plan, blocks
        self._offload = offload or Offload(embeds.device)
        self._context: dict[nn.Module, Context] = {}
        for module in unet.modules():
            if hasattr(module, "temporal_transformer_blocks"):
                layers = (*module.transformer_blocks, *module.temporal_transformer_blocks)
                with blocks.on_device(*(layer.attn2 for layer in layers)):
                    self._context[module] = cross_attention(module, embeds)

    def __call__(self, sample: Tensor, timestep: Tensor, added_time_ids: Tensor) -> Tensor:
        """Predict v [T, c, h, w] from ``sample`` [T, 2 c, h, w], noisy latents and condition.

        ``timestep`` [1] is ln(sigma) / 4; ``added_time_ids`` [1, 3] are the rate, the motion bucket
        and the noise added to the condition.
        """
        unet, on_device = self._unet, self._blocks.on_device
        with on_device(unet.time_embedding, unet.add_embedding):
            level = embed_time(unet, timestep, added_time_ids, sample.dtype)
        layer = HiddenLayer(
            lambda span: to_tokens(unet.conv_in(sample[span])),
            len(sample),
            (sample.shape[2], sample.shape[3]),
            self._plan.chunk_values,
            self._blocks,
            self._offload,
            level,
        )
        skips: list[Skip] = []
        with on_device(unet.conv_in):
            layer.compute(unet.conv_in.out_channels)
        self._keep(layer, skips)
        for block in unet.down_blocks:
            self._down(block, layer, skips)
        self._middle(unet.mid_block, layer)
        for block in unet.up_blocks:
            self._up(block, layer, skips)
        with on_device(unet.conv_norm_out, unet.conv_out):
            result = layer.leave(unet.conv_norm_out, unet.conv_out)
        return to_images(result, layer.size).contiguous()

    def _down(self, block: Any, layer: HiddenLayer, skips: list[Skip]) -> None:
        for index, residual in enumerate(block.resnets):
            layer.residual(residual)
            self._attend(block, index, layer)
            self._keep(layer, skips)
        for sampler in block.downsamplers or ():
            layer.halve(sampler)
            self._keep(layer, skips)

    def _middle(self, block: Any, layer: HiddenLayer) -> None:
        layer.residual(block.resnets[0])
        for index, residual in enumerate(block.resnets[1:]):
            self._attend(block, index, layer)
            layer.residual(residual)

    def _up(self, block: Any, layer: HiddenLayer, skips: list[Skip]) -> None:
        for index, residual in enumerate(block.resnets):
            layer.join(*skips.pop())
            layer.residual(residual)
            self._attend(block, index, layer)
        for sampler in block.upsamplers or ():
            layer.enlarge(sampler, skips[-1][1])

    def _attend(self, block: Any, index: int, layer: HiddenLayer) -> None:
        if getattr(block, "has_cross_attention", False):
            model = block.attentions[index]
            layer.transform(model, self._context[model])

    def _keep(self, layer: HiddenLayer, skips: list[Skip]) -> None:
        """Keep the layer for the way up."""
        skips.append((layer.offload() if self._plan.offload_skips else layer.share(), layer.size))
