"""The frames as they come in, checked before any work is spent on them."""

from collections.abc import Iterable, Iterator
from itertools import chain, islice

import numpy as np

from depthcrafter_cli.errors import InputError
from depthcrafter_cli.types import RgbImage


def checked(frames: Iterable[RgbImage], multiple: int) -> tuple[RgbImage, Iterator[RgbImage]]:
    """The first frame and the whole stream, with every frame's type and size checked."""
    stream = map(np.asarray, frames)  # pictures of other libraries as well
    opening = list(islice(stream, 1))
    if not opening:
        raise InputError("got no frames, expected at least one: check the video and its times.")
    first = opening[0]
    if first.ndim != 3 or first.shape[2] != 3 or first.dtype != np.uint8:
        raise InputError(
            f"got frames of {first.dtype} {list(first.shape)}, expected uint8 [H, W, 3]: "
            "convert them to 8-bit RGB."
        )
    height, width = first.shape[:2]
    if height % multiple or width % multiple or not height or not width:
        raise InputError(
            f"got frames of {width}x{height} pixels, expected sides divisible by {multiple}: "
            "resize them first."
        )

    def same_size() -> Iterator[RgbImage]:
        for frame in chain(opening, stream):
            if frame.shape != first.shape or frame.dtype != first.dtype:
                raise InputError(
                    f"got a frame of {list(frame.shape)} after frames of {list(first.shape)}, "
                    "expected one size for the whole video: resize them first."
                )
            yield frame

    return first, same_size()
