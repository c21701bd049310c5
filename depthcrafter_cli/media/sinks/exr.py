"""Raw disparity as OpenEXR images, one a frame, for compositors."""

import errno
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from depthcrafter_cli.errors import OutputError
from depthcrafter_cli.media.files import missing_package
from depthcrafter_cli.media.sinks.base import DepthFrame
from depthcrafter_cli.media.sinks.sequence import SequenceSink
from depthcrafter_cli.shots.timecode import later


class ExrSink(SequenceSink):
    """A channel ``Z`` of 32-bit floats: raw disparity, larger is nearer, compressed without loss.

    That is 1/z up to scale and shift, as Nuke's depth nodes take it by default. The attributes
    ``disparity_low`` and ``disparity_high`` are the values that normalised depth shows as 0 and 1.
    The look may ask for 16-bit floats, another channel, or normalised depth.
    """

    suffix = ".exr"
    bytes_per_pixel = 4.0
    carries_more = True
    options = SequenceSink.options | {"exr_half", "exr_channel", "exr_normalized"}

    @classmethod
    def check(cls, out: Path) -> None:
        super().check(out)
        if lacking := missing_package(out, "OpenEXR", "exr", "write .tif or .npz"):
            raise OutputError(lacking)

    def _picture(self, frame: DepthFrame) -> Callable[[Path], None]:
        import OpenEXR

        values, rate, look = self.range_of(frame), self.settings.rate, self.settings.look
        what = "normalised from 0 to 1" if look.exr_normalized else "known up to scale and shift"
        header = {
            "type": OpenEXR.scanlineimage,
            "compression": OpenEXR.ZIP_COMPRESSION,
            "software": "depthcrafter",
            "comments": f"Relative disparity, larger is nearer, {what}",
            "frame": frame.number,
            "time": float(frame.time),
            "framesPerSecond": rate.limit_denominator(65535),
            "pixelAspectRatio": float(self.settings.pixel_aspect),
            "disparity_low": values.low,
            "disparity_high": values.high,
            **({} if frame.shot is None else {"shot": frame.shot.index}),
        }
        header |= {"model": model} if (model := self.settings.metadata.get("model")) else {}
        if frame.metres is not None and not look.exr_normalized:
            header["comments"] = "Depth in metres, infinite where nothing is near"
        if code := later(self.settings.timecode, frame.time * rate, rate):
            header["timeCode"] = _timecode(code)
        depth = frame.normalized if look.exr_normalized else frame.values
        samples = np.ascontiguousarray(depth, np.float16 if look.exr_half else np.float32)

        def save(target: Path) -> None:
            with OpenEXR.File(header, {look.exr_channel: samples}) as image:
                try:
                    image.write(os.fsencode(target))  # as text, only UTF-8
                except RuntimeError as error:
                    raise _as_os_error(error) from error

        return save


def _timecode(code: str) -> Any:
    """A timecode such as 01:00:00:12 as OpenEXR's attribute, which compositors show."""
    import OpenEXR

    hours, minutes, seconds, frames = map(int, re.split("[:;]", code))
    no_flags = (False,) * 5 + (0,) * 8  # colour frame, field phase and user bits
    return OpenEXR.TimeCode(hours, minutes, seconds, frames, ";" in code, *no_flags)


def _as_os_error(error: RuntimeError) -> OSError:
    """What the operating system refused, of which OpenEXR keeps the words alone."""
    said = str(error)
    number = next((code for code in errno.errorcode if os.strerror(code) in said), errno.EIO)
    return OSError(number, os.strerror(number))
