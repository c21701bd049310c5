"""The source's own pictures, as they were read, one file a frame."""

from collections.abc import Callable
from pathlib import Path

from PIL import Image

from depthcrafter_cli.media.sinks.base import SHAPE, DepthFrame
from depthcrafter_cli.media.sinks.sequence import SequenceSink
from depthcrafter_cli.media.sinks.shown import source_of


class SourceSink(SequenceSink):
    """JPEG with hardly any loss and colours at full size, for programs that want both."""

    suffix = ".jpg"
    bytes_per_pixel = 1.0
    # The size only together with `upsample="edges"`, which reads the pictures at it.
    options = SHAPE | {"start_number"}
    any_size = True

    @property
    def needs_rgb(self) -> bool:
        return True

    def _picture(self, frame: DepthFrame) -> Callable[[Path], None]:
        picture = source_of(frame)

        def save(target: Path) -> None:
            Image.fromarray(picture).save(target, "JPEG", quality=97, subsampling=0)

        return save
