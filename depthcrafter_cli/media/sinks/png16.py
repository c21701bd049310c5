"""Normalised depth as 16-bit grayscale PNGs, one a frame."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin

from depthcrafter_cli.media.sinks.base import DepthFrame
from depthcrafter_cli.media.sinks.sequence import SequenceSink


class PngSink(SequenceSink):
    """65535 is nearest. Each file's text has its time and the raw disparities of 0 and 65535."""

    suffix = ".png"
    bytes_per_pixel = 1.5  # measured: 1.0 to 1.5

    def _picture(self, frame: DepthFrame) -> Callable[[Path], None]:
        levels = np.rint(frame.normalized * np.float32(65535)).astype(np.uint16)
        text = PngImagePlugin.PngInfo()
        text.add_text("time", str(frame.time))
        text.add_text("disparity_low", repr(self.settings.value_range.low))
        text.add_text("disparity_high", repr(self.settings.value_range.high))
        for name, label in self.settings.labels.items():
            text.add_text(name, label)

        def save(target: Path) -> None:
            Image.fromarray(levels).save(target, format="PNG", compress_level=1, pnginfo=text)

        return save
