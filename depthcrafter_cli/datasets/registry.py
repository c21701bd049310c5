"""The sets with true depth: the five of the DepthCrafter paper, as its scripts run them, and yours.

To add one: write its layout in :mod:`~depthcrafter_cli.datasets.layouts`, and its entry here.
"""

from dataclasses import dataclass
from pathlib import Path

from depthcrafter_cli.datasets import layouts
from depthcrafter_cli.datasets.folder import folder_clips
from depthcrafter_cli.datasets.recorded import RecordedClip
from depthcrafter_cli.types import Size


@dataclass(frozen=True)
class Dataset:
    """A set: how its folder is laid out, how far depth is trusted, how its clips are run.

    ``max_depth`` is in metres, or in medians of a clip where the unit of depth is any; it is where
    trusted depth ends. ``max_frames`` is how many frames of a clip are used, ``model_size`` the
    size at which the paper's scripts run the model, whatever the pictures' own.
    """

    layout: layouts.Layout
    max_depth: float
    max_frames: int
    model_size: Size | None = None
    metric: bool = True

    def clips(self, root: Path) -> list[RecordedClip]:
        """The clips below ``root``, in the paper's length. Raises InputError."""
        return self.layout(root, self.max_frames)


DATASETS = {
    "sintel": Dataset(layouts.sintel, 70.0, 50, Size(448, 1024)),
    "scannet": Dataset(layouts.scannet, 10.0, 90, Size(640, 832)),
    "kitti": Dataset(layouts.kitti, 80.0, 110, Size(384, 1280)),
    "bonn": Dataset(layouts.bonn, 10.0, 110, Size(512, 640)),
    "nyuv2": Dataset(layouts.nyuv2, 10.0, 1, Size(448, 640)),
    "folder": Dataset(lambda root, _frames: folder_clips(root), 80.0, 110, metric=False),
}
