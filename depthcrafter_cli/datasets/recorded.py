"""Clips that lie on disk as pictures and depth files, whatever their layout.

A layout says which files make a clip and how one of its depth files is read; everything else,
resizing, cropping and masks, is here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from depthcrafter_cli.datasets.clip import Sample, Shape
from depthcrafter_cli.errors import InputError
from depthcrafter_cli.evaluation.consistency import Camera
from depthcrafter_cli.media.reader import probe, read_frames
from depthcrafter_cli.types import Size

Map = npt.NDArray[np.float32]  # [H, W]

ReadMap = Callable[[int], Map]
"""Disparity of a frame of a clip by number, 0 infinitely far, negative or not finite unknown."""


@dataclass(frozen=True)
class Crop:
    """Rows and columns of a stored frame that are used, as Python slices them."""

    top: int = 0
    bottom: int | None = None
    left: int = 0
    right: int | None = None


@dataclass(frozen=True)
class RecordedClip:
    """``pictures`` are one video, or one image a frame; both they and the maps are cropped.

    ``files`` are all that it is read from. ``camera`` gives that of a frame by number, in pixels of
    the stored maps, None where it was lost; there is none of sets without poses.
    """

    name: str
    frames: int
    pictures: Path | Sequence[Path]
    disparity: ReadMap
    files: Sequence[Path]
    crop: Crop = Crop()
    camera: Callable[[int], Camera | None] | None = None

    @property
    def size(self) -> Size:
        """The size of the cropped pictures, by the first of them. Raises InputError."""
        first = self.pictures if isinstance(self.pictures, Path) else self.pictures[0]
        whole = probe(first).size
        rows = range(whole.height)[self.crop.top : self.crop.bottom]
        return Size(len(rows), len(range(whole.width)[self.crop.left : self.crop.right]))

    def pictures_at(self, size: Size, frames: int) -> npt.NDArray[np.uint8]:
        """Return the first ``frames`` pictures, cropped and resized, uint8 [T, H, W, 3].

        Raises InputError if there are fewer.
        """
        images = _read(self, 0, frames)
        if len(images) < frames:
            raise _too_few(self, len(images))
        shown = torch.stack([_picture(image, self.crop, size) for image in images])
        pictures: npt.NDArray[np.uint8] = shown.numpy()
        return pictures

    def cropped_camera(self, index: int) -> Camera | None:
        """The camera of a frame in pixels of its cropped map. Raises InputError."""
        camera = None if self.camera is None else self.camera(index)
        if camera is None:
            return None
        intrinsics = camera.intrinsics.copy()
        intrinsics[:2, 2] -= self.crop.left, self.crop.top
        return Camera(intrinsics, camera.pose)

    def depth(self, frames: int) -> Map:
        """Return true depth of the first ``frames`` frames, cropped, float32 [T, H, W].

        It is negative where it is not known, or infinite.
        """
        rows, columns = (
            slice(self.crop.top, self.crop.bottom),
            slice(self.crop.left, self.crop.right),
        )
        return np.stack([inverse(self.disparity(index)[rows, columns]) for index in range(frames)])


class RecordedClips:
    """Clips of a layout, resized to one size."""

    def __init__(self, clips: Sequence[RecordedClip], size: Size, where: Path) -> None:
        if not clips:
            raise InputError(
                f"got no clip in {where}, expected at least one: check the path and the layout."
            )
        self._clips, self._size = clips, size

    def __len__(self) -> int:
        return len(self._clips)

    def shape(self, index: int) -> Shape:
        return self._clips[index].frames, self._size.height, self._size.width

    def name(self, index: int) -> str:
        """Return what the layout calls a clip."""
        return self._clips[index].name

    def version(self, index: int) -> str:
        clip = self._clips[index]
        digest = hashlib.sha256(clip.name.encode())
        for path in clip.files:
            status = path.stat()
            digest.update(f"\n{path.name} {status.st_size} {status.st_mtime_ns}".encode())
        return digest.hexdigest()[:16]

    def read(self, index: int, start: int, frames: int) -> Sample:
        clip, size = self._clips[index], self._size
        images = _read(clip, start, frames)
        if len(images) < frames:
            raise _too_few(clip, start + len(images))
        rgb = torch.stack([_picture(image, clip.crop, size) for image in images])
        maps = [_map(clip.disparity(i), clip.crop, size) for i in range(start, start + frames)]
        disparity = torch.stack(maps)
        valid = torch.isfinite(disparity) & (disparity >= 0)
        return Sample(rgb, torch.where(valid, disparity, 0.0), valid)


def _too_few(clip: RecordedClip, pictures: int) -> InputError:
    return InputError(
        f"got {pictures} pictures in the clip {clip.name}, expected one for each of its "
        f"{clip.frames} disparity maps: complete it or leave it out."
    )


def _read(clip: RecordedClip, start: int, frames: int) -> list[npt.NDArray[np.uint8]]:
    """uint8 [H, W, 3] each, uncropped, in the size they are stored in."""
    if isinstance(clip.pictures, Path):
        size = probe(clip.pictures).size
        stream = read_frames(clip.pictures, size, first=start)
        return [frame.rgb for frame in islice(stream, frames)]
    images = []
    for path in clip.pictures[start : start + frames]:
        images += [frame.rgb for frame in read_frames(path, probe(path).size)]
    return images


def _picture(image: npt.NDArray[np.uint8], crop: Crop, size: Size) -> Tensor:
    part = image[crop.top : crop.bottom, crop.left : crop.right]
    whole = torch.from_numpy(np.ascontiguousarray(part)).permute(2, 0, 1)[None].float()
    resized = F.interpolate(whole, (size.height, size.width), mode="bilinear", antialias=True)
    return resized[0].permute(1, 2, 0).round().clamp(0, 255).to(torch.uint8)


def _map(disparity: Map, crop: Crop, size: Size) -> Tensor:
    """Nearest, for a mean over an edge is the disparity of nothing."""
    part = np.ascontiguousarray(disparity[crop.top : crop.bottom, crop.left : crop.right])
    whole = torch.from_numpy(part)[None, None]
    return F.interpolate(whole, (size.height, size.width), mode="nearest-exact")[0, 0]


def inverse(depth: npt.NDArray[np.floating]) -> Map:
    """Disparity of depth in any unit; depth of 0 and less is unknown, infinite depth is 0."""
    known = depth > 0
    disparity = np.full(depth.shape, -1.0, np.float32)
    np.divide(1.0, depth, out=disparity, where=known)
    return disparity
