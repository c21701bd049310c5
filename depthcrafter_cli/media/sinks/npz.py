"""Raw disparity as a NumPy archive, streamed: it may be larger than memory."""

import json
import zipfile
from contextlib import suppress

import numpy as np
import numpy.typing as npt

from depthcrafter_cli.media.sinks.base import DepthFrame, FileSink
from depthcrafter_cli.media.sinks.npy import add_to_array, begin_array


class NpzSink(FileSink):
    """``.npz`` with stored (uncompressed) members, read by ``np.load``.

    ``depth`` float32 [T, H, W]: raw disparity, larger is nearer, known up to scale and shift;
    ``times`` float64 [T] in seconds; ``range`` float64 [2]: the values that the other outputs
    show as 0 and 1; ``metadata_json``: a string. Of a film of n shots also ``shots`` int64 [n], the
    first frame of each, and ``ranges`` float64 [n, 2], its own; ``range`` has the extremes of all.
    """

    bytes_per_pixel = 4.0

    def _begin(self) -> None:
        self._archive = zipfile.ZipFile(self._file, "w", zipfile.ZIP_STORED)
        self._member = self._archive.open("depth.npy", "w", force_zip64=True)
        self._times: list[float] = []
        begin_array(self._member, self.settings)

    def _write(self, frame: DepthFrame) -> None:
        add_to_array(self._member, frame)
        self._times.append(float(frame.time))

    def _end(self) -> None:
        self._member.close()
        values = self.settings.whole_range
        self._add("times", np.array(self._times))
        self._add("range", np.array([values.low, values.high]))
        if shots := self.settings.shots:
            self._add("shots", np.array([shot.start for shot in shots], dtype=np.int64))
            self._add("ranges", np.array([[shot.values.low, shot.values.high] for shot in shots]))
        self._add("metadata_json", np.array(json.dumps(dict(self.settings.metadata))))
        self._archive.close()

    def _add(self, name: str, array: npt.NDArray[np.generic]) -> None:
        with self._archive.open(f"{name}.npy", "w") as member:
            np.lib.format.write_array(member, array, allow_pickle=False)

    def _release(self) -> None:
        for part in ("_member", "_archive"):  # each must be closed even where the other fails
            if hasattr(self, part):
                with suppress(OSError, ValueError):
                    getattr(self, part).close()
