"""From stitched latents to raw disparity, in chunks on a grid counted from frame 0.

The temporal decoder sees nothing beyond its chunk, so a chunk's borders are part of the
result: they must not move with the windows.
"""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from depthcrafter_cli.models.components import Components
from depthcrafter_cli.models.reordered.decoder import decode_latents
from depthcrafter_cli.pipeline.denoise import require_numbers


def on_grid(latents: Iterable[Tensor], chunk: int) -> Iterator[Tensor]:
    """Regroup a stream of latents [n, 4, h, w] into chunks of ``chunk`` frames from frame 0."""
    held: list[Tensor] = []
    for part in latents:
        held.extend(part.unbind(0))
        while len(held) >= chunk:
            yield torch.stack(held[:chunk])
            del held[:chunk]
    if held:
        yield torch.stack(held)


def decode_rgb(components: Components, latents: Tensor) -> Tensor:
    """VAE decoder's output, float32 [n, 3, H, W], about [-1, 1], for one chunk of latents.

    It is the caller's, to be written to.
    """
    decoder = components.vae.decoder
    scaled = latents / components.vae.config.scaling_factor
    with components.on_device(decoder):
        on_device = scaled.to(components.device)
        return decode_latents(decoder, on_device, components.plan, components.offload).float()


def decode_disparity(components: Components, latents: Tensor) -> Tensor:
    """Raw disparity, float32 [n, H, W] in [0, 1] before any normalisation, on the CPU.

    Raises WeightsError or UsageError where the decoder gives no numbers.
    """
    rgb = decode_rgb(components, latents)
    # Before what is infinite is taken for the nearest or the farthest depth.
    require_numbers(rgb, components.dtype, "in decoding")
    return rgb.div_(2).add_(0.5).clamp_(0, 1).mean(dim=1).cpu()
