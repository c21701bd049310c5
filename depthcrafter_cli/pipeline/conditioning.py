"""What the UNet is told about each frame: a CLIP embedding and VAE latents (section 3.1).

Both are per frame: batches bound memory and change nothing.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import chain, count, islice

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from depthcrafter_cli.models.components import Components
from depthcrafter_cli.models.devices import lacks_operations
from depthcrafter_cli.models.reordered.encoder import encode_images
from depthcrafter_cli.pipeline.noise import NoiseSource
from depthcrafter_cli.threads import called_ahead
from depthcrafter_cli.types import RgbImage

CLIP_SIDE = 224
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class Conditioning:
    """``embeds`` [n, e] CLIP image embeddings; ``latents`` [n, 4, h, w], not scaled."""

    embeds: Tensor
    latents: Tensor

    def __len__(self) -> int:
        return len(self.embeds)

    def frames(self) -> Iterator["Conditioning"]:
        """One conditioning per frame, each owning its memory."""
        for i in range(len(self)):
            yield Conditioning(self.embeds[i : i + 1].clone(), self.latents[i : i + 1].clone())

    def blank(self) -> "Conditioning":
        """What guidance compares with: as many frames, and nothing known of them."""
        return Conditioning(torch.zeros_like(self.embeds), torch.zeros_like(self.latents))

    @staticmethod
    def join(parts: Iterable["Conditioning"]) -> "Conditioning":
        """Return the conditioning of a whole window from that of its frames."""
        held = list(parts)
        return Conditioning(
            torch.cat([part.embeds for part in held]), torch.cat([part.latents for part in held])
        )


Encode = Callable[[Tensor, Sequence[Tensor]], Conditioning]
"""Frames uint8 [n, H, W, 3] and what is to be added to each, float32 [H, W, 3], to their
conditioning: of the image encoder's frames as they are, and of the VAE's with that."""


def condition(
    frames: Iterable[RgbImage],
    encode: Encode,
    noise: NoiseSource,
    noise_aug: float,
    batch: int,
    start: int = 0,
    total: int | None = None,
) -> Iterator[Conditioning]:
    """Stream the conditioning of uint8 [H, W, 3] frames from frame ``start``, one at a time.

    Threads draw the noise of the next batch, up to frame ``total`` if that is known.
    """

    def draw(index: int) -> Tensor:
        image = noise.images(index, index + 1)[0].mul_(noise_aug)
        return image.permute(1, 2, 0).contiguous()  # as frames are in memory

    stream, beyond = iter(frames), start if total is None else max(start, total)
    within: Iterable[int] = count(start) if total is None else range(start, beyond)
    calls = (partial(draw, index) for index in within)
    with closing(called_ahead(calls, batch, threads=1 if noise.in_order else batch)) as soon:
        added = chain(soon, map(draw, count(beyond)))
        while held := list(islice(stream, batch)):
            pictures = torch.from_numpy(np.stack(held))
            yield from encode(pictures, list(islice(added, len(held)))).frames()


def encode(components: Components, frames: Tensor, added: Sequence[Tensor]) -> Conditioning:
    """See :data:`Encode`; as many frames at a time as the plan allows."""

    def pictures() -> Iterator[Tensor]:
        for part in frames.split(components.plan.encode_batch):
            yield to_signed(part.to(components.device))

    def noisy() -> Iterator[Tensor]:
        noise = iter(added)
        for part in pictures():
            for picture, image in zip(part, noise, strict=False):
                picture += image.to(components.device).permute(2, 0, 1)
            yield part

    return Conditioning(encode_embeds(components, pictures()), encode_latents(components, noisy()))


def to_signed(frames: Tensor) -> Tensor:
    """uint8 [n, H, W, 3] to float32 [n, 3, H, W] in [-1, 1], the same on every device."""
    # Where it is given a number, CUDA multiplies by its reciprocal, which rounds otherwise.
    most = torch.tensor(255.0, dtype=torch.float32, device=frames.device)
    return frames.permute(0, 3, 1, 2).float().div_(most).mul_(2).sub_(1)


def encode_embeds(components: Components, pictures: Iterable[Tensor]) -> Tensor:
    """CLIP image embeddings, float32 [n, e], of parts [k, 3, H, W] in [-1, 1] of n pictures."""
    encoder = components.image_encoder
    with components.on_device(encoder):
        pixels = (clip_pixels(part.to(components.device)) for part in pictures)
        dtype = next(encoder.parameters()).dtype
        return torch.cat([encoder(part.to(dtype)).image_embeds.float() for part in pixels])


def encode_latents(components: Components, pictures: Iterable[Tensor]) -> Tensor:
    """Modes of the VAE posterior, float32 [n, 4, h, w], of parts [k, 3, H, W] of n pictures.

    They are not multiplied by the scaling factor.
    """
    vae = components.vae
    with components.on_device(vae.encoder), components.on_device(vae.quant_conv):
        place, dtype = components.device, vae.encoder.conv_in.weight.dtype
        modes = (encode_images(vae, part.to(place, dtype), components.plan) for part in pictures)
        return torch.cat([part.float() for part in modes])


def clip_pixels(video: Tensor) -> Tensor:
    """CLIP's input [n, 3, 224, 224] from ``video`` in [-1, 1]: blur, resize, normalise."""
    if lacks_operations(video.device):
        return clip_pixels(video.cpu()).to(video.device)
    blurred = _antialias(video)
    resized = F.interpolate(
        blurred, size=(CLIP_SIDE, CLIP_SIDE), mode="bicubic", align_corners=True
    )
    mean = video.new_tensor(CLIP_MEAN).view(1, 3, 1, 1)
    std = video.new_tensor(CLIP_STD).view(1, 3, 1, 1)
    return ((resized + 1) / 2 - mean) / std


def _antialias(video: Tensor) -> Tensor:
    """Separable Gaussian blur, as wide per axis as that axis will shrink."""
    height, width = video.shape[-2:]
    channels = video.shape[1]
    across = _gaussian(width).to(video).view(1, 1, 1, -1).expand(channels, -1, -1, -1)
    down = _gaussian(height).to(video).view(1, 1, -1, 1).expand(channels, -1, -1, -1)
    for kernel, pad in ((across, (1, 0)), (down, (0, 1))):
        x, y = (pad[0] * (kernel.shape[-1] // 2), pad[1] * (kernel.shape[-2] // 2))
        video = F.conv2d(F.pad(video, (x, x, y, y), mode="reflect"), kernel, groups=channels)
    return video


def _gaussian(side: int) -> Tensor:
    """Weights for one axis of ``side`` pixels; up to 224 pixels this is the identity."""
    sigma = max((side / CLIP_SIDE - 1) / 2, 0.001)
    length = int(max(4 * sigma, 3))
    length += 1 - length % 2
    distance = torch.arange(length, dtype=torch.float32) - length // 2
    weights = torch.exp(-(distance**2) / (2 * sigma**2))
    return weights / weights.sum()
