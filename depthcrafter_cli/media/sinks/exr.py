"""Raw disparity as OpenEXR images, one a frame, for compositors."""

import errno
import importlib.util
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from depthcrafter_cli.errors import OutputError
from depthcrafter_cli.media.sinks.base import DepthFrame
from depthcrafter_cli.media.sinks.sequence import SequenceSink


class ExrSink(SequenceSink):
    """A channel ``Z`` of 32-bit floats: raw disparity, larger is nearer, compressed without loss.

    That is 1/z up to scale and shift, as Nuke's depth nodes take it by default. The attributes
    ``disparity_low`` and ``disparity_high`` are the values that the other outputs show as 0 and 1.
    """

    suffix = ".exr"
    bytes_per_pixel = 4.0

    @classmethod
    def check(cls, out: Path) -> None:
        super().check(out)
        if importlib.util.find_spec("OpenEXR") is None:
            raise OutputError(
                f"{out} needs the package OpenEXR, which is not installed, expected it beside "
                'depthcrafter: pip install "depthcrafter[exr]", or write .tif or .npz.'
            )

    def _picture(self, frame: DepthFrame) -> Callable[[Path], None]:
        import OpenEXR

        values, rate = self.settings.value_range, self.settings.rate
        header = {
            "type": OpenEXR.scanlineimage,
            "compression": OpenEXR.ZIP_COMPRESSION,
            "software": "depthcrafter",
            "comments": "Relative disparity, larger is nearer, known up to scale and shift",
            "time": float(frame.time),
            "framesPerSecond": rate.limit_denominator(65535),
            "disparity_low": values.low,
            "disparity_high": values.high,
        }
        disparity = np.ascontiguousarray(frame.disparity, dtype=np.float32)

        def save(target: Path) -> None:
            with OpenEXR.File(header, {"Z": disparity}) as image:
                try:
                    image.write(str(target))
                except RuntimeError as error:
                    raise _as_os_error(error) from error

        return save


def _as_os_error(error: RuntimeError) -> OSError:
    """What the operating system refused, of which OpenEXR keeps the words alone."""
    said = str(error)
    number = next((code for code in errno.errorcode if os.strerror(code) in said), errno.EIO)
    return OSError(number, os.strerror(number))
