"""Clips as the UNet sees them: encoded by the frozen VAE and image encoder."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from depthcrafter_cli.datasets.clip import Sample
from depthcrafter_cli.models.silent import is_silent
from depthcrafter_cli.pipeline.conditioning import clip_pixels
from depthcrafter_cli.pipeline.config import PipelineConfig
from depthcrafter_cli.training.data.targets import (
    depth_cells,
    far_weight,
    latent_mask,
    target_disparity,
)

NOISE_AUG = PipelineConfig.noise_aug
ENCODE_BATCH = 8  # frames; bounds memory only


@dataclass(frozen=True)
class Latents:
    """A clip, or a batch of clips with one more axis in front.

    ``image``, ``disparity`` [T, 4, h, w], unscaled modes of the VAE's posterior, or of disparity a
    sample of it; ``embeds`` [T, e];
    ``mask`` [T, 1, h, w], the weight of every cell, 0 where disparity is not known;
    ``inverse_depth`` [T, 1, h, w], that of the cells, as by :func:`depth_cells`.
    """

    image: Tensor
    disparity: Tensor
    embeds: Tensor
    mask: Tensor
    inverse_depth: Tensor

    def chosen(self, clips: Tensor) -> Latents:
        """The clips of a batch for which bool [B] ``clips`` holds."""
        return Latents(*(tensor[clips] for tensor in vars(self).values()))

    def without_condition(self, clips: Tensor) -> Latents:
        """The batch, of whose clips those for which bool [B] ``clips`` holds show no pictures."""
        image, embeds = self.image.clone(), self.embeds.clone()
        image[clips], embeds[clips] = 0, 0
        return replace(self, image=image, embeds=embeds)

    def to(self, device: torch.device) -> Latents:
        """Return the same on ``device``, in float32."""
        return Latents(*(tensor.to(device, torch.float32) for tensor in vars(self).values()))

    @staticmethod
    def stack(clips: list[Latents]) -> Latents:
        """A batch of clips of one size."""
        names = vars(clips[0])
        return Latents(*(torch.stack([getattr(clip, name) for clip in clips]) for name in names))


class Encoder:
    """The frozen networks; what encodes is brought to ``dtype``, the type it then works in.

    With ``far``, cells are weighed by :func:`far_weight`.
    """

    def __init__(
        self, vae: nn.Module, image_encoder: nn.Module, dtype: torch.dtype, far: float = 0.0
    ) -> None:
        self._vae, self._image_encoder, self._dtype = vae, image_encoder, dtype
        self._far = far
        # A third of the time of training on pixels would go into copying them.
        self._is_identity = is_silent(vae.encoder, vae.decoder)
        for part in (vae.encoder, vae.quant_conv):
            part.to(dtype=dtype, memory_format=torch.channels_last)
        nn.Module.to(image_encoder, dtype)

    @property
    def scaling_factor(self) -> float:
        """What brings disparity latents to unit variance."""
        return float(self._vae.config.scaling_factor)

    @property
    def device(self) -> torch.device:
        """The device that the networks are on."""
        return next(self._vae.parameters()).device

    @torch.no_grad()
    def encode(self, clip: Sample, seed: int, *, sampled_truth: bool = False) -> Latents:
        """Encode a clip; ``seed`` fixes the noise added to its pictures, as in inference.

        With ``sampled_truth`` it fixes which sample of the posterior disparity's latents are, too.
        """
        generator = torch.Generator().manual_seed(seed)
        pictures = clip.rgb.permute(0, 3, 1, 2).float() / 127.5 - 1
        noisy = pictures + NOISE_AUG * torch.randn(pictures.shape, generator=generator)
        sampler = generator if sampled_truth else None
        truth = self.encode_truth(clip.disparity, clip.valid, sampler)
        return Latents(self._latents(noisy), truth[0], self._embeds(pictures), *truth[1:])

    @torch.no_grad()
    def encode_truth(
        self, disparity: Tensor, valid: Tensor, sampler: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """``disparity``, ``mask`` and ``inverse_depth`` of latents, under one scale and shift."""
        target = target_disparity(disparity, valid)
        latents = self._latents((target[:, None] * 2 - 1).expand(-1, 3, -1, -1), sampler)
        cell = disparity.shape[-1] // latents.shape[-1]
        mask = latent_mask(valid, cell)
        if self._far:
            mask = mask * far_weight(disparity, target, self._far, cell)
        device = latents.device
        return latents, mask.to(device), depth_cells(disparity, valid, cell).to(device)

    @torch.no_grad()
    def decode_cells(self, latents: Tensor) -> Tensor:
        """Mean disparity [T, 1, h, w] of the cells of latents [T, 4, h, w], in about [0, 1]."""
        if self._is_identity:
            pictures = latents
        else:
            pictures = self._vae.decode(latents, num_frames=len(latents)).sample
        disparity = (pictures.mean(dim=1, keepdim=True) + 1) / 2
        return F.adaptive_avg_pool2d(disparity, latents.shape[-2:])

    def _latents(self, pictures: Tensor, sampler: torch.Generator | None = None) -> Tensor:
        """Modes of the posterior, or what ``sampler`` draws from it."""
        if self._is_identity:
            return pictures.to(self.device)
        latents = []
        for part in pictures.split(ENCODE_BATCH):
            images = part.to(self.device, self._dtype)
            posterior = self._vae.encode(
                images.contiguous(memory_format=torch.channels_last)
            ).latent_dist
            drawn = posterior.sample(sampler) if sampler else posterior.mode()
            latents.append(drawn.float())
        return torch.cat(latents)

    def _embeds(self, pictures: Tensor) -> Tensor:
        encoder = self._image_encoder
        return torch.cat(
            [
                encoder(clip_pixels(part.to(self.device)).to(encoder.dtype)).image_embeds.float()
                for part in pictures.split(ENCODE_BATCH)
            ]
        )
