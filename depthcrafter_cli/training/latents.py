"""Clips as the UNet sees them: encoded once by the frozen VAE and image encoder, kept on disk.

A cached clip is one ``.npz`` of float16 ``image`` and ``disparity`` [T, 4, h, w], both unscaled
modes of the VAE's posterior, and ``embeds`` [T, e]. Half of the clips are mirrored.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from depthcrafter_cli.pipeline.conditioning import clip_pixels
from depthcrafter_cli.progress import Observer, Progress, ignore
from depthcrafter_cli.training.clips import Sample, Shape, clip_path, read_clip, shape_of

NOISE_AUG = 0.02  # as in inference


@dataclass(frozen=True)
class LatentBatch:
    """``image``, ``disparity`` [B, T, 4, h, w] and ``embeds`` [B, T, e], float32."""

    image: Tensor
    disparity: Tensor
    embeds: Tensor


def encode_clips(
    clips: Path,
    folder: Path,
    seeds: Sequence[int],
    vae: nn.Module,
    image_encoder: nn.Module,
    mixed_precision: bool,
    observer: Observer = ignore,
) -> None:
    """Encode the clips that ``folder`` lacks; safe to stop and to run twice at once."""
    folder.mkdir(parents=True, exist_ok=True)
    for done, seed in enumerate(seeds):
        observer(Progress("latents", done, len(seeds), "clips"))
        path = clip_path(folder, seed)
        if path.exists():
            continue
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=mixed_precision):
            arrays = _encode(seed, read_clip(clip_path(clips, seed)), vae, image_encoder)
        partial = path.with_suffix(f".{os.getpid()}.partial")
        with partial.open("wb") as file:
            np.savez(file, **{name: tensor.half().numpy() for name, tensor in arrays.items()})
        partial.replace(path)


def _encode(seed: int, clip: Sample, vae: nn.Module, image_encoder: nn.Module) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    pictures = clip.rgb.permute(0, 3, 1, 2).float() / 127.5 - 1
    maps = (clip.disparity[:, None] * 2 - 1).expand(-1, 3, -1, -1)
    if torch.rand((), generator=generator) < 0.5:
        pictures, maps = pictures.flip(-1), maps.flip(-1)
    noisy = pictures + NOISE_AUG * torch.randn(pictures.shape, generator=generator)
    return {
        "image": vae.encode(noisy).latent_dist.mode(),
        "disparity": vae.encode(maps).latent_dist.mode(),
        "embeds": image_encoder(clip_pixels(pictures)).image_embeds,
    }


class LatentCache:
    """Encoded clips of one folder, all in memory."""

    def __init__(self, folder: Path) -> None:
        self._clips: dict[Shape, list[dict[str, Tensor]]] = {}
        for path in sorted(folder.glob("*.npz")):
            with np.load(path) as arrays:
                clip = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
            self._clips.setdefault(shape_of(int(path.stem)), []).append(clip)

    def disparity_deviation(self) -> float:
        """Standard deviation of the disparity latents: the inverse of the VAE's scaling factor."""
        values = [clip["disparity"] for clips in self._clips.values() for clip in clips[:200]]
        return float(torch.cat([value.flatten() for value in values]).float().std())

    def batch(self, rng: np.random.Generator, clips: int, frames: int) -> LatentBatch:
        """``frames`` consecutive frames of ``clips`` random clips of one size.

        Fewer where no clip is as long.
        """
        frames = min(frames, max(shape[0] for shape in self._clips))
        shapes = [shape for shape in self._clips if shape[0] >= frames]
        counts = np.array([len(self._clips[shape]) for shape in shapes], float)
        held = self._clips[shapes[int(rng.choice(len(shapes), p=counts / counts.sum()))]]
        parts = []
        for index in rng.integers(len(held), size=clips):
            clip = held[int(index)]
            start = int(rng.integers(len(clip["embeds"]) - frames + 1))
            parts.append({name: tensor[start : start + frames] for name, tensor in clip.items()})
        return LatentBatch(
            *(
                torch.stack([part[name] for part in parts]).float()
                for name in ("image", "disparity", "embeds")
            )
        )
