"""Point clouds with colours, one a frame, for whoever measures or rebuilds."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from depthcrafter_cli.errors import UsageError
from depthcrafter_cli.media.look import Look, numbers_in
from depthcrafter_cli.media.sinks.base import SHAPE, DepthFrame
from depthcrafter_cli.media.sinks.sequence import SequenceSink
from depthcrafter_cli.media.sinks.shown import source_of

_POINT = np.dtype([(axis, "<f4") for axis in "xyz"] + [(c, "u1") for c in ("red", "green", "blue")])


class PlySink(SequenceSink):
    """Binary PLY in metres as the camera sees it: x to the right, y down, z ahead.

    ``fov`` is the angle that the picture's width shows. Pixels that are infinitely far are left
    out, and frames that are not among those asked for.
    """

    suffix = ".ply"
    bytes_per_pixel = 15.0
    options = SHAPE | {"metric", "fov", "ply_frames", "start_number"}

    @classmethod
    def check_look(cls, out: Path, look: Look) -> None:
        lacking = [name for name in ("metric", "fov") if getattr(look, name) is None]
        if lacking:
            raise UsageError(
                f"got {out} without `{lacking[0]}`, expected it for points in metres: `finish` a "
                "kept run with both, after `depthcrafter fit`."
            )

    @property
    def needs_rgb(self) -> bool:
        return True

    def _write(self, frame: DepthFrame) -> None:
        chosen = numbers_in(self.settings.look.ply_frames)
        if not chosen or frame.number in chosen:
            super()._write(frame)

    def _picture(self, frame: DepthFrame) -> Callable[[Path], None]:
        look, depth = self.settings.look, frame.values
        height, width = depth.shape
        colours = source_of(frame)
        assert look.fov is not None

        focal = width / 2 / math.tan(math.radians(look.fov) / 2)
        across = (np.arange(width) + 0.5 - width / 2) / focal
        down = (np.arange(height) + 0.5 - height / 2) / (focal * self.settings.pixel_aspect)
        seen = np.isfinite(depth)

        def save(target: Path) -> None:
            points = np.empty(int(seen.sum()), _POINT)
            points["x"], points["y"] = (depth * across)[seen], (depth * down[:, None])[seen]
            points["z"] = depth[seen]
            for at, name in enumerate(("red", "green", "blue")):
                points[name] = colours[..., at][seen]
            kinds = {"f": "float", "u": "uchar"}
            rows = [f"property {kinds[_POINT[name].kind]} {name}" for name in _POINT.names or ()]
            head = "\n".join(
                ["ply", "format binary_little_endian 1.0", f"element vertex {len(points)}", *rows]
            )
            target.write_bytes(f"{head}\nend_header\n".encode() + points.tobytes())

        return save
