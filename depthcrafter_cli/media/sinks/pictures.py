"""Pictures of any kind as a video: what is drawn of depth, rather than depth itself."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import numpy as np

from depthcrafter_cli.media.published import Published
from depthcrafter_cli.media.sinks.base import DepthFrame, SinkSettings
from depthcrafter_cli.media.sinks.shown import source_of
from depthcrafter_cli.media.sinks.video import VideoSink
from depthcrafter_cli.types import RgbImage, Size, ValueRange

_NO_DEPTH = np.zeros((1, 1), np.float32)


class PicturesSink(VideoSink):
    """A video of colours whose frames are the pictures that come with them."""

    def _colours(self, frame: DepthFrame) -> RgbImage:
        return source_of(frame)

    def add(self, picture: RgbImage, time: Fraction) -> None:
        """Add the next picture, uint8 [H, W, 3], shown from ``time`` in seconds on."""
        self.write(DepthFrame(self._written, time, _NO_DEPTH, _NO_DEPTH, picture))


@contextmanager
def picture_video(
    path: Path, size: Size, times: Sequence[Fraction], rate: Fraction, published: Published
) -> Iterator[PicturesSink]:
    """A video of as many pictures as ``times``, which appears when all of them are written.

    Raises OutputError for a place that cannot be written, and UsageError for a suffix of no video.
    """
    settings = SinkSettings(
        size, len(times), rate, 1 / rate, ValueRange(0.0, 1.0),
        published=published,
    )  # fmt: skip
    with PicturesSink(path, settings) as sink:
        assert isinstance(sink, PicturesSink)
        yield sink
