"""What a Python caller hands over as a video: a path, or pictures in whatever form."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sized
from itertools import chain, count
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
import numpy.typing as npt
from PIL import Image

from depthcrafter_cli.errors import InputError, UsageError, first_line
from depthcrafter_cli.media.reader import probe, read_frames, settled
from depthcrafter_cli.media.scale import PictureScaler
from depthcrafter_cli.media.selection import ReadOptions, expected_frames
from depthcrafter_cli.progress import Warn
from depthcrafter_cli.text import expanded
from depthcrafter_cli.types import RgbImage, Size, VideoInfo


class VideoInput(NamedTuple):
    """What is read: a path with its options, or pictures.

    ``size`` is of square pixels, ``stored`` of those that the pictures have.
    ``length`` is how many frames there are, of a path about, None where that is not known. ``info``
    is of a path's whole video.
    """

    size: Size
    stored: Size
    length: int | None
    path: Path | None
    reading: ReadOptions
    pictures: Iterable[RgbImage]
    warn: Warn
    info: VideoInfo | None = None

    def require_length(self) -> None:
        """Raises UsageError for a stream, whose length is not known."""
        if self.length is None:
            raise UsageError(
                "got a stream of unknown length with `noise` reference, which is drawn for the "
                "whole video, expected a sequence: make a list of it."
            )

    def frames(self, size: Size, times: list[float]) -> Iterator[RgbImage]:
        """The pictures at the size that the model sees; their ``times`` are noted."""
        if self.path is not None:
            for frame in read_frames(self.path, size, self.reading, self.warn):
                times.append(float(frame.time))
                yield frame.rgb
            return
        scale = PictureScaler(size)
        for index, picture in zip(count(), self.pictures):
            if picture.shape[:2] != (self.size.height, self.size.width):
                raise InputError(
                    f"got a picture of {picture.shape[1]}x{picture.shape[0]} after pictures of "
                    f"{self.size}, expected one size for the whole video: resize them first."
                )
            times.append(float(index / self.reading.sequence_rate))
            yield scale(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24"))


def open_input(video: Any, reading: dict[str, Any], warn: Warn) -> VideoInput:
    """What a caller handed over. Raises InputError and UsageError."""
    options = ReadOptions(**reading)
    if isinstance(video, str | os.PathLike):
        path = expanded(os.fspath(video))
        info = probe(path, options)
        options = settled(path, options, info)
        stored = info.size if info.anamorphic is None else info.anamorphic.size
        length = expected_frames(info, options)
        return VideoInput(info.size, stored, length, path, options, (), warn, info)
    if unread := reading.keys() - {"sequence_rate"}:
        raise UsageError(
            f"got {', '.join(f'`{name}`' for name in sorted(unread))} with pictures, expected them "
            "with a path alone: select the pictures yourself."
        )
    pictures, length = _pictures(video)
    first = next(pictures, None)
    if first is None:
        raise InputError("got no pictures, expected at least one: check what is handed over.")
    size = Size(*first.shape[:2])
    return VideoInput(size, size, length, None, options, chain([first], pictures), warn)


def _pictures(video: Any) -> tuple[Iterator[RgbImage], int | None]:
    """Pictures uint8 [H, W, 3], and how many they are, None where that is not known.

    Raises InputError for what holds no pictures.
    """
    if hasattr(video, "shape") or hasattr(video, "__array__"):
        array = _numpy(video)
        if array.ndim == 5 and len(array) == 1:
            array = array[0]
        if array.ndim not in (3, 4) or (array.ndim == 3 and array.shape[-1] == 3):
            raise InputError(
                f"got an array of shape {list(array.shape)}, expected pictures [T, H, W, 3], "
                "[T, 3, H, W] or [T, H, W]: stack them along the first axis."
            )
        return map(_rgb, array), len(array)
    is_data = isinstance(video, bytes | bytearray | Mapping) or hasattr(video, "read")
    if is_data or not isinstance(video, Iterable):
        raise InputError(
            f"got a video of type {type(video).__name__}, expected a path, an array, a tensor or "
            "pictures one after the other: hand over one of these."
        )
    length = len(video) if isinstance(video, Sized) else None
    return map(_picture, video), length


def _numpy(array: Any) -> npt.NDArray[Any]:
    try:
        if hasattr(array, "detach"):  # a tensor, on any device
            array = array.detach().cpu()
            array = array.float() if array.is_floating_point() else array
        elif isinstance(array, Image.Image) and array.mode[0] not in "IF":
            # Its numbers may be those of other colours, or places in a palette.
            array = array.convert("RGB")
        return np.asarray(array)
    # A sparse tensor, say, lists of two lengths, or a file of PIL that is cut off.
    except (TypeError, RuntimeError, ValueError, OSError) as error:
        raise InputError(
            f"got a {type(array).__name__} that holds no numbers to read ({first_line(error)}), "
            "expected an array or a tensor in memory: convert it first."
        ) from error


def _picture(each: Any) -> RgbImage:
    """One picture of any kind as uint8 [H, W, 3]. Raises InputError."""
    array = _numpy(each)
    if not array.ndim:
        raise InputError(
            f"got a picture of type {type(each).__name__}, expected an array, a tensor or an image "
            "of PIL: hand over pictures, or the path of one video."
        )
    return _rgb(array)


def _rgb(picture: npt.NDArray[Any]) -> RgbImage:
    """One picture as uint8 [H, W, 3]. Raises InputError."""
    if picture.ndim == 3 and picture.shape[0] in (1, 3) and picture.shape[2] not in (1, 3, 4):
        picture = picture.transpose(1, 2, 0)
    if picture.ndim == 2:
        picture = picture[..., None]
    if picture.ndim != 3 or picture.shape[2] not in (1, 3, 4) or not picture.size:
        raise InputError(
            f"got a picture of shape {list(picture.shape)}, expected [H, W, 3], [3, H, W] or "
            "[H, W]: convert it first."
        )
    levels = _levels(picture[..., :3])
    return np.repeat(levels, 3, axis=2) if levels.shape[2] == 1 else levels


def _levels(picture: npt.NDArray[Any]) -> RgbImage:
    """Numbers of a picture as uint8. Raises InputError."""
    levels: RgbImage = picture
    if picture.dtype == np.uint8:
        return levels
    if picture.dtype == np.uint16:
        levels = np.rint(picture / np.float32(257)).astype(np.uint8)
        return levels
    if picture.dtype.kind == "f":
        low, high = float(picture.min()), float(picture.max())
        if low >= -1e-3 and high <= 1 + 1e-3:  # false for what is no number
            levels = np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)
            return levels
        if not (np.isfinite(low) and np.isfinite(high)):
            raise InputError(
                "got a picture that holds values which are no numbers (NaN or infinity), expected "
                "0 to 1: replace them."
            )
        raise InputError(
            f"got a picture of numbers from {low:g} to {high:g}, expected 0 to 1: divide by the "
            "value of white."
        )
    raise InputError(
        f"got a picture of {picture.dtype}, expected uint8, uint16 or floats from 0 to 1: convert "
        "it first."
    )
