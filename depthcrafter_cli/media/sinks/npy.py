"""Raw disparity as one plain NumPy array, which ``np.load`` can map into memory."""

from typing import IO

import numpy as np

from depthcrafter_cli.media.sinks.base import SHAPE, DepthFrame, FileSink, SinkSettings


class NpySink(FileSink):
    """``.npy``: float32 [T, H, W], raw disparity, larger is nearer, known up to scale and shift.

    It holds neither times nor the range that the other outputs show: ``.npz`` has both.
    """

    bytes_per_pixel = 4.0
    options = SHAPE | {"metric"}

    def _begin(self) -> None:
        begin_array(self._file, self.settings)

    def _write(self, frame: DepthFrame) -> None:
        add_to_array(self._file, frame)

    def _end(self) -> None:
        """There is nothing after the last frame."""

    def _release(self) -> None:
        """Release nothing: there is only the file."""


def begin_array(file: IO[bytes], settings: SinkSettings) -> None:
    """Write the header of an array float32 [T, H, W] that holds all frames."""
    shape = (settings.frame_count, settings.size.height, settings.size.width)
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


def add_to_array(file: IO[bytes], frame: DepthFrame) -> None:
    """Write the next frame of such an array: its raw disparity."""
    file.write(np.ascontiguousarray(frame.values, dtype="<f4").data)
