"""Normalised depth as 16-bit grayscale PNGs, one a frame."""

import struct
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import PngImagePlugin

from depthcrafter_cli.media.sinks.base import DepthFrame
from depthcrafter_cli.media.sinks.sequence import SequenceSink

# A quarter of zlib's time, for files that are no larger; there wherever our dependencies have it.
_DEFLATE = import_module("isal.isal_zlib" if find_spec("isal") else "zlib")
# PNG, third edition, sections 5.2, 9.2 and 11.2.1.
_SIGNATURE, _GRAY, _MINUS_ABOVE = b"\x89PNG\r\n\x1a\n", 0, 2
_QUICKEST = 1  # level of zlib; isal's 0 makes larger files, and 2 hardly smaller ones


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
            height, width = levels.shape
            header = struct.pack(">2I5B", width, height, 16, _GRAY, 0, 0, 0)
            with target.open("wb") as file:
                file.write(_SIGNATURE)
                PngImagePlugin.putchunk(file, b"IHDR", header)
                for kind, data, *_place in text.chunks:
                    PngImagePlugin.putchunk(file, kind, data)
                PngImagePlugin.putchunk(file, b"IDAT", _compressed(levels))
                PngImagePlugin.putchunk(file, b"IEND")

        return save


def _compressed(levels: npt.NDArray[np.uint16]) -> bytes:
    """The samples [H, W] as PNG stores them.

    Each row is what it differs by from the row above, which Pillow tries with four other ways for
    each row: on depth that takes twice as long, and files become larger.
    """
    height, width = levels.shape
    samples = levels.astype(">u2").view(np.uint8)
    rows = np.empty((height, 1 + 2 * width), np.uint8)
    rows[:, 0] = _MINUS_ABOVE
    rows[0, 1:] = samples[0]
    np.subtract(samples[1:], samples[:-1], out=rows[1:, 1:])
    compressed: bytes = _DEFLATE.compress(rows.data, _QUICKEST)
    return compressed
