"""Raw disparity as a Zarr archive, a chunk a frame: any of them is read without the others."""

import json
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from depthcrafter_cli.errors import OutputError
from depthcrafter_cli.media.files import missing_package
from depthcrafter_cli.media.sinks.base import DepthFrame, FileSink


class ZarrSink(FileSink):
    """``.zarr.zip``: one file, which ``zarr.storage.ZipStore`` reads, compressed without loss.

    ``depth`` float32 [T, H, W] and ``times`` float64 [T] are those of ``.npz``; ``metadata`` and
    ``range`` are attributes of ``depth``.
    """

    bytes_per_pixel = 4.0

    @classmethod
    def check(cls, out: Path) -> None:
        if lacking := missing_package(out, "zarr", "zarr", "write .npz"):
            raise OutputError(lacking)
        if (found := version("zarr")).startswith("2."):
            raise OutputError(
                f"{out} needs Zarr 3, got {found}, expected it on Python 3.11 or newer: upgrade "
                "it, or write .npz."
            )

    def _begin(self) -> None:
        import zarr

        settings, size = self.settings, self.settings.size
        values = settings.whole_range
        # By its path: the file that is open there already holds the place.
        self._store = zarr.storage.ZipStore(self._part, mode="w")
        zarr.create_group(self._store)
        self._depth: Any = zarr.create_array(
            self._store,
            name="depth",
            shape=(settings.frame_count, size.height, size.width),
            chunks=(1, size.height, size.width),
            dtype="<f4",
            attributes={
                "metadata": json.loads(json.dumps(dict(settings.metadata))),
                "range": [values.low, values.high],
            },
        )
        self._times: list[float] = []

    def _write(self, frame: DepthFrame) -> None:
        self._depth[len(self._times)] = np.asarray(frame.values, dtype="<f4")
        self._times.append(float(frame.time))

    def _end(self) -> None:
        import zarr

        zarr.create_array(self._store, name="times", data=np.array(self._times))
        self._store.close()

    def _release(self) -> None:
        if hasattr(self, "_store"):
            with suppress(OSError, ValueError):
                self._store.close()
