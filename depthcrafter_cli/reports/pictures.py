"""Small pictures for pages, as many bytes as fit."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from depthcrafter_cli.types import Disparity, RgbImage, Size

_LEVELS = ((480, 82), (480, 70), (400, 66), (320, 60), (256, 50), (192, 45), (128, 40))
"""Widths in pixels and qualities of WebP, from the best on."""
_DEPTH_BETTER = 10  # depth has fewer details than a picture, and its errors show in space


@dataclass(frozen=True)
class Preview:
    """One frame for a page: its picture, if there is one, and its depth from 0 to 1."""

    picture: RgbImage | None
    depth: Disparity


@dataclass(frozen=True)
class EncodedPreview:
    """WebP of a picture, and of depth as levels of gray, both of one size."""

    picture: bytes | None
    depth: bytes

    def __len__(self) -> int:
        return len(self.depth) + len(self.picture or b"")


def preview_size(size: Size, width: int = _LEVELS[0][0]) -> Size:
    """The size of previews of frames of ``size``: not wider, nor higher, than ``width``."""
    scale = min(1.0, width / max(size.height, size.width))
    return Size(max(1, round(size.height * scale)), max(1, round(size.width * scale)))


def encoded(previews: Sequence[Preview], most_bytes: int) -> tuple[list[EncodedPreview], Size]:
    """Encode previews of one size as well as ``most_bytes`` for all let it.

    Some of them tell how well that is. At the lowest quality they may take more.
    """
    some = previews[:: max(1, len(previews) // 6)]
    full = Size(*previews[0].depth.shape)
    result: list[EncodedPreview] = []
    for width, quality in _LEVELS:
        size = preview_size(full, width)
        share = sum(len(_encoded(each, size, quality)) for each in some) / len(some)
        last = (width, quality) == _LEVELS[-1]
        if share * len(previews) > most_bytes and not last:
            continue
        result = [_encoded(each, size, quality) for each in previews]
        if sum(map(len, result)) <= most_bytes:
            break
    return result, size


def _encoded(preview: Preview, size: Size, quality: int) -> EncodedPreview:
    levels = np.rint(preview.depth * np.float32(255)).astype(np.uint8)
    shown = None if preview.picture is None else webp(preview.picture, size, quality)
    return EncodedPreview(shown, webp(levels, size, min(95, quality + _DEPTH_BETTER)))


def image_bytes(image: Image.Image, kind: str, **options: int) -> bytes:
    """An image as a file of a kind that Pillow knows, such as PNG."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def webp(picture: npt.NDArray[np.uint8], size: Size, quality: int = 70) -> bytes:
    """Encode uint8 [H, W] or [H, W, 3] at ``size``."""
    image = Image.fromarray(picture)
    if image.size != (size.width, size.height):
        image = image.resize((size.width, size.height), Image.Resampling.BILINEAR)
    return image_bytes(image.convert("RGB"), "WEBP", quality=quality, method=4)
