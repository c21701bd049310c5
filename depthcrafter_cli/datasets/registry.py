"""The sets with true depth: the five of the DepthCrafter paper, as its scripts run them, yours, and
those to train on.

To add one: write its layout in :mod:`~depthcrafter_cli.datasets.layouts`, and its entry here.
"""

from dataclasses import dataclass
from pathlib import Path

from depthcrafter_cli.datasets import layouts, rendered
from depthcrafter_cli.datasets.folder import folder_places
from depthcrafter_cli.datasets.recorded import Place, RecordedClip
from depthcrafter_cli.errors import UsageError
from depthcrafter_cli.types import Size

_ALL = 1_000_000  # frames


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
    long_layout: layouts.Layout | None = None

    @property
    def is_test(self) -> bool:
        """Whether results are published on it, which training on it would spoil."""
        return self.model_size is not None

    def places(self, root: Path) -> list[Place]:
        """Where clips may lie below ``root``, whole or not. Raises InputError where none can."""
        return self.layout(root, self.max_frames)

    def clips(self, root: Path, *, long: bool = False) -> list[RecordedClip]:
        """The clips below ``root``, in the paper's length, or the first 500 frames of ``long``.

        Raises InputError, and UsageError for a set without long clips.
        """
        if not long:
            return [place.open() for place in self.places(root)]
        if self.long_layout is None:
            raise UsageError(
                "got `long` for a set of short clips, expected scannet, kitti, bonn, nyuv2 or "
                "folder: leave it out."
            )
        return [place.open() for place in self.long_layout(root, LONG_FRAMES)]


LONG_FRAMES = 500


def _folder(root: Path, _frames: int) -> list[Place]:
    return folder_places(root)


DATASETS = {
    "sintel": Dataset(layouts.sintel, 70.0, 50, Size(448, 1024)),
    "scannet": Dataset(layouts.scannet, 10.0, 90, Size(640, 832), long_layout=layouts.scannet_long),
    "kitti": Dataset(layouts.kitti, 80.0, 110, Size(384, 1280), long_layout=layouts.kitti_long),
    "bonn": Dataset(layouts.bonn, 10.0, 110, Size(512, 640), long_layout=layouts.bonn_long),
    "nyuv2": Dataset(layouts.nyuv2, 10.0, 1, Size(448, 640), long_layout=layouts.nyuv2_long),
    "tartanair": Dataset(layouts.tartanair, 80.0, _ALL),
    "vkitti2": Dataset(layouts.vkitti2, 80.0, _ALL),
    "dynamic-replica": Dataset(layouts.dynamic_replica, 20.0, _ALL),
    "point-odyssey": Dataset(layouts.point_odyssey, 80.0, _ALL),
    "matrix-city": Dataset(rendered.matrix_city, 600.0, _ALL),
    "hypersim": Dataset(rendered.hypersim, 80.0, 1),
    "folder": Dataset(_folder, 80.0, 110, metric=False, long_layout=_folder),
}
