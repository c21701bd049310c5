"""Raw disparity as one plain NumPy array, which ``np.load`` can map into memory."""

import numpy as np

from depthcrafter_cli.media.sinks.base import DepthFrame, FileSink


class NpySink(FileSink):
    """``.npy``: float32 [T, H, W], raw disparity, larger is nearer, known up to scale and shift.

    It holds neither times nor the range that the other outputs show: ``.npz`` has both.
    """

    bytes_per_pixel = 4.0

    def _begin(self) -> None:
        size = self.settings.size
        shape = (self.settings.frame_count, size.height, size.width)
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, header)

    def _write(self, frame: DepthFrame) -> None:
        self._file.write(np.ascontiguousarray(frame.disparity, dtype="<f4").data)

    def _end(self) -> None:
        """There is nothing after the last frame."""

    def _release(self) -> None:
        """There is nothing but the file."""
