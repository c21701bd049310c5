"""Normalised depth as 16-bit grayscale PNGs, one a frame."""

from collections.abc import Callable
from pathlib import Path

from PIL import Image, PngImagePlugin

from depthcrafter_cli.media.sinks.base import DepthFrame
from depthcrafter_cli.media.sinks.sequence import SequenceSink


class PngSink(SequenceSink):
    """65535 is nearest. Each file's text has its time and the raw disparities of 0 and 65535.

    In a film of several shots it also has the number of its shot, from 0, and when that begins.
    """

    suffix = ".png"
    bytes_per_pixel = 1.5  # measured: 1.0 to 1.5

    def _picture(self, frame: DepthFrame) -> Callable[[Path], None]:
        levels = frame.levels
        text = PngImagePlugin.PngInfo()
        text.add_text("time", str(frame.time))
        values = self.range_of(frame)
        if frame.metres is None:
            text.add_text("disparity_low", repr(values.low))
            text.add_text("disparity_high", repr(values.high))
        else:
            text.add_text("unit", "millimetres")
        if frame.shot is not None:
            text.add_text("shot", str(frame.shot.index))
            text.add_text("shot_time", str(frame.shot.time))
        for name, label in self.settings.labels_of(values).items():
            text.add_text(name, label)

        def save(target: Path) -> None:
            Image.fromarray(levels).save(target, format="PNG", compress_level=1, pnginfo=text)

        return save
