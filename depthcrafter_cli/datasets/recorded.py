"""Clips that lie on disk as pictures and depth files, whatever their layout.

A layout says which files make a clip and how one of its depth files is read; everything else,
resizing, cropping and masks, is here.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from depthcrafter_cli.datasets.clip import Sample, Shape
from depthcrafter_cli.errors import InputError
from depthcrafter_cli.evaluation.consistency import Camera
from depthcrafter_cli.media.decoding import require_regular
from depthcrafter_cli.media.reader import probe, read_frames
from depthcrafter_cli.structured import content_errors
from depthcrafter_cli.types import Size

Map = npt.NDArray[np.float32]  # [H, W]
_Image = TypeVar("_Image", Map, npt.NDArray[np.uint8])

ReadMaps = Callable[[range], Iterator[Map]]
"""Disparity of frames of a clip by number, 0 infinitely far, negative or not finite unknown."""
ReadPictures = Callable[[range], Iterator[npt.NDArray[np.uint8]]]
"""Pictures [H, W, 3] of frames of a clip by number."""


@dataclass(frozen=True)
class Crop:
    """Rows and columns of a stored map that are used, as Python slices them."""

    top: int = 0
    bottom: int | None = None
    left: int = 0
    right: int | None = None

    def scaled(self, rows: float, columns: float) -> Crop:
        """The same part of a picture that has so many times the rows and columns."""
        by = (rows, rows, columns, columns)
        sides = (self.top, self.bottom, self.left, self.right)
        top, bottom, left, right = (
            side if side is None else round(side * ratio)
            for side, ratio in zip(sides, by, strict=True)
        )
        return Crop(top or 0, bottom, left or 0, right)


@dataclass(frozen=True)
class RecordedClip:
    """``pictures`` are one video, one image a frame, or what reads them; they and maps are cropped.

    ``files`` are all that it is read from. ``camera`` gives that of a frame by number, in pixels of
    the stored maps, None where it was lost; there is none of sets without poses.
    """

    name: str
    frames: int
    pictures: Path | Sequence[Path] | ReadPictures
    disparity: ReadMaps
    files: Sequence[Path]
    crop: Crop = Crop()
    camera: Callable[[int], Camera | None] | None = None

    @property
    def size(self) -> Size:
        """The size of the cropped pictures, by the first of them. Raises InputError."""
        whole, crop = self._stored, self.picture_crop
        rows = range(whole.height)[crop.top : crop.bottom]
        return Size(len(rows), len(range(whole.width)[crop.left : crop.right]))

    @cached_property
    def _stored(self) -> Size:
        if callable(self.pictures):
            return Size(*next(self.pictures(range(1))).shape[:2])
        return probe(self.pictures if isinstance(self.pictures, Path) else self.pictures[0]).size

    @cached_property
    def picture_crop(self) -> Crop:
        """The crop of pictures: ScanNet's are twice as large as its maps. Raises InputError."""
        if self.crop == Crop():
            return self.crop
        height, width = next(self.disparity(range(1))).shape
        return self.crop.scaled(self._stored.height / height, self._stored.width / width)

    def pictures_at(self, size: Size, frames: int, first: int = 0) -> npt.NDArray[np.uint8]:
        """Return ``frames`` pictures from ``first`` on, cropped and resized, uint8 [T, H, W, 3].

        Raises InputError if there are fewer.
        """
        images = _read(self, range(first, first + frames))
        if len(images) < frames:
            raise _too_few(self, first + len(images))
        crop = self.picture_crop
        parts = [image[crop.top : crop.bottom, crop.left : crop.right] for image in images]
        _require_some(self, parts)
        shown = torch.stack([resized_picture(part, size) for part in parts])
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

    def depth(self, frames: int, first: int = 0) -> Map:
        """Return true depth of ``frames`` frames from ``first`` on, cropped, float32 [T, H, W].

        It is negative where it is not known, or infinite. Raises InputError.
        """
        rows, columns = (
            slice(self.crop.top, self.crop.bottom),
            slice(self.crop.left, self.crop.right),
        )
        maps = self.disparity(range(first, first + frames))
        depth = [inverse(map_[rows, columns]) for map_ in maps]
        _require_some(self, depth)
        if len(sizes := {map_.shape for map_ in depth}) > 1:
            raise InputError(
                f"got maps of depth of the sizes {sorted(sizes)} in the clip {self.name}, expected "
                "one: complete it or take it out."
            )
        return np.stack(depth)


@dataclass(frozen=True)
class Place:
    """Where a clip may lie: ``open`` raises InputError where it is not one, or not complete.

    ``watched`` are the files and folders that change when files come, go or are replaced.
    """

    name: str
    open: Callable[[], RecordedClip]
    watched: Callable[[], Iterable[Path | os.DirEntry[str]]]


class RecordedClips:
    """Clips of a layout, resized to one size; those that cannot be used are ``rejected``.

    ``frames`` tells of each how many it has, or why it cannot be used.

    With ``keeps_aspect`` what is wider or higher than the size is cropped, else it is squeezed.
    """

    def __init__(
        self,
        places: Sequence[Place],
        frames: Sequence[int | str],
        size: Size,
        where: Path,
        *,
        keeps_aspect: bool = True,
    ) -> None:
        self.rejected: dict[str, str] = {}
        self._places: list[Place] = []
        self._frames: list[int] = []
        for place, found in zip(places, frames, strict=True):
            if isinstance(found, str):
                self.rejected[place.name] = found
            else:
                self._places.append(place)
                self._frames.append(found)
        if not self._places:
            none = f"got no clip in {where}, expected at least one: check the path and the layout."
            raise InputError(next(iter(self.rejected.values()), none))
        self._size, self._keeps_aspect = size, keeps_aspect
        # Samples that follow each other are seldom of one clip, those of validation are.
        self._clip = lru_cache(maxsize=16)(lambda index: self._places[index].open())

    def __len__(self) -> int:
        return len(self._places)

    def shape(self, index: int) -> Shape:
        return self._frames[index], self._size.height, self._size.width

    def name(self, index: int) -> str:
        return self._places[index].name

    def version(self, index: int) -> str:
        clip = self._clip(index)
        return digest_of(clip.name, clip.files)

    def read(self, index: int, frames: range, place: float = 0.5) -> Sample:
        clip, size = self._clip(index), self._size
        images = _read(clip, frames)
        if len(images) < len(frames):
            raise _too_few(clip, frames.start + len(images) * frames.step)
        rgb = torch.stack(
            [resized_picture(self._part(image, clip.picture_crop, place), size) for image in images]
        )
        maps = [_map(self._part(map_, clip.crop, place), size) for map_ in clip.disparity(frames)]
        disparity = torch.stack(maps)
        valid = torch.isfinite(disparity) & (disparity >= 0)
        return Sample(rgb, torch.where(valid, disparity, 0.0), valid)

    def cropped_share(self) -> float:
        """How much of the first clip's pictures is cropped for its aspect, or squeezed: 0 to 1."""
        whole = self._clip(0).size
        aspects = whole.width * self._size.height, whole.height * self._size.width
        return 1 - min(aspects) / max(aspects)

    def _part(self, image: _Image, crop: Crop, place: float) -> _Image:
        """A stored picture or map without what is cropped, by the set and for the aspect."""
        image = image[crop.top : crop.bottom, crop.left : crop.right]
        if not self._keeps_aspect:
            return image
        height, width = image.shape[:2]
        rows = min(height, round(width * self._size.height / self._size.width))
        columns = min(width, round(height * self._size.width / self._size.height))
        top, left = round((height - rows) * place), round((width - columns) * place)
        return image[top : top + rows, left : left + columns]


def digest_of(name: str, files: Iterable[Path]) -> str:
    """16 letters that are others once one of these files is written again, or another is there.

    Raises InputError for what is no regular file, such as a link to a file that is gone.
    """
    digest = hashlib.sha256(os.fsencode(name))
    for path in files:
        with content_errors(path, InputError, f"expected a file of the clip {name}: copy it again"):
            status = require_regular(path)
        digest.update(os.fsencode(f"\n{path.name} {status.st_size} {status.st_mtime_ns}"))
    return digest.hexdigest()[:16]


def _require_some(clip: RecordedClip, parts: Sequence[npt.NDArray[np.generic]]) -> None:
    """Raise InputError where the crop of a clip leaves nothing of its first picture or map."""
    if parts and 0 in parts[0].shape:
        raise InputError(
            f"got the clip {clip.name}, of which nothing is left when it is cropped as its set is, "
            "expected the publisher's size: copy it again."
        )


def _too_few(clip: RecordedClip, pictures: int) -> InputError:
    return InputError(
        f"got {pictures} pictures in the clip {clip.name}, expected one for each of its "
        f"{clip.frames} disparity maps: complete it or leave it out."
    )


def _read(clip: RecordedClip, wanted: range) -> list[npt.NDArray[np.uint8]]:
    """uint8 [H, W, 3] each, uncropped, in the size they are stored in."""
    if callable(clip.pictures):
        return [*clip.pictures(wanted)]
    if isinstance(clip.pictures, Path):
        size = probe(clip.pictures).size
        stream = read_frames(clip.pictures, size, first=wanted.start)
        return [
            frame.rgb for frame in islice(stream, 0, wanted[-1] + 1 - wanted.start, wanted.step)
        ]
    images = []
    for path in clip.pictures[wanted.start : wanted.stop : wanted.step]:
        images += [frame.rgb for frame in read_frames(path, probe(path).size)]
    return images


def resized_picture(image: npt.NDArray[np.uint8], size: Size) -> Tensor:
    """Return a picture uint8 [H, W, 3] at this size, as networks learn from it."""
    whole = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float()
    resized = F.interpolate(whole, (size.height, size.width), mode="bilinear", antialias=True)
    return resized[0].permute(1, 2, 0).round().clamp(0, 255).to(torch.uint8)


def _map(disparity: Map, size: Size) -> Tensor:
    """Nearest, for a mean over an edge is the disparity of nothing."""
    whole = torch.from_numpy(np.ascontiguousarray(disparity))[None, None]
    return F.interpolate(whole, (size.height, size.width), mode="nearest-exact")[0, 0]


def inverse(depth: npt.NDArray[np.floating]) -> Map:
    """Disparity of depth in any unit; depth of 0 and less is unknown, infinite depth is 0."""
    known = depth > 0
    disparity = np.full(depth.shape, -1.0, np.float32)
    np.divide(1.0, depth, out=disparity, where=known)
    return disparity
