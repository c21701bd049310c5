"""The sets with true depth: the five of the DepthCrafter paper, as its scripts run them, yours, and
those to train on.

To add one: write its layout in :mod:`~depthcrafter_cli.datasets.layouts`, and its entry here.
"""

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from depthcrafter_cli.datasets import layouts, nyuv2, rendered
from depthcrafter_cli.datasets.folder import folder_places
from depthcrafter_cli.datasets.recorded import Place, RecordedClip
from depthcrafter_cli.errors import InputError, UsageError
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

    def clips(
        self, root: Path, *, long: bool = False, only: Collection[str] = ()
    ) -> list[RecordedClip]:
        """The clips below ``root``, in the paper's length, or the first 500 frames of ``long``.

        Names may say which. Raises InputError, and UsageError for a set without long clips or a
        name of none.
        """
        if long and self.long_layout is None:
            raise UsageError(
                "got `long` for a set of short clips, expected scannet, kitti, bonn, nyuv2 or "
                "folder: leave it out."
            )
        try:
            places = self._places(root, long)
            names = [place.name for place in places]
            if unknown := [name for name in only if name not in names]:
                raise UsageError(
                    f"got `only` {unknown[0]}, expected names of {', '.join(names[:_TOLD])}"
                    f"{' and others' * (len(names) > _TOLD)}: correct it."
                )
            return [place.open() for place in places if not only or place.name in only]
        except (InputError, UsageError):
            near = [] if self._lies_in(root, long) else self._near(root, long)
            if near:
                raise InputError(
                    f"got {root}, expected the folder that holds this set, which may be {near[0]}: "
                    "name that."
                ) from None
            raise
        except OSError as error:
            raise InputError(
                f"{error.filename or root} cannot be read ({error.strerror or error}), expected a "
                "set that can be: change its permissions."
            ) from error

    def _places(self, root: Path, long: bool) -> list[Place]:
        """Where clips may lie. Raises InputError where there is none."""
        if long and self.long_layout is not None:
            places = self.long_layout(root, LONG_FRAMES)
        else:
            places = self.places(root)
        if not places:
            raise InputError(f"got no clip in {root}, expected those of the set: check the path.")
        return places

    def _lies_in(self, root: Path, long: bool) -> bool:
        """Whether one of the first clips in a folder is whole."""
        try:
            places = self._places(root, long)[:_LOOKED_AT]
        except (InputError, OSError):  # what lies around may not be readable
            return False
        for place in places:
            with suppress(InputError, OSError):
                place.open()
                return True
        return False

    def _near(self, root: Path, long: bool) -> list[Path]:
        """The folders above one and in it, down to the second level, that hold the set."""
        above = [*root.absolute().parents][:_LEVELS]
        below = [path for depth in ("*", "*/*") for path in islice(root.glob(depth), _MOST_NEAR)]
        folders = (path for path in (*sorted(below), *above) if path.is_dir())
        return [path for path in folders if self._lies_in(path, long)]


LONG_FRAMES = 500
_TOLD = 12  # names in a sentence
_LOOKED_AT = 5  # clips, to tell whether a folder holds the set
_LEVELS = 3  # above a folder that does not
_MOST_NEAR = 200


def _folder(root: Path, _frames: int) -> list[Place]:
    return folder_places(root)


DATASETS = {
    "sintel": Dataset(layouts.sintel, 70.0, 50, Size(448, 1024)),
    "scannet": Dataset(layouts.scannet, 10.0, 90, Size(640, 832), long_layout=layouts.scannet_long),
    "scannet-tae": Dataset(layouts.scannet_tae, 10.0, 170, Size(640, 832)),
    "kitti": Dataset(layouts.kitti, 80.0, 110, Size(384, 1280), long_layout=layouts.kitti_long),
    "bonn": Dataset(layouts.bonn, 10.0, 110, Size(512, 640), long_layout=layouts.bonn_long),
    "nyuv2": Dataset(nyuv2.nyuv2, 10.0, 1, Size(448, 640), long_layout=nyuv2.nyuv2_long),
    "tartanair": Dataset(layouts.tartanair, 80.0, _ALL),
    "vkitti2": Dataset(layouts.vkitti2, 80.0, _ALL),
    "dynamic-replica": Dataset(layouts.dynamic_replica, 20.0, _ALL),
    "point-odyssey": Dataset(layouts.point_odyssey, 80.0, _ALL),
    "matrix-city": Dataset(rendered.matrix_city, 600.0, _ALL),
    "hypersim": Dataset(rendered.hypersim, 80.0, 1),
    "folder": Dataset(_folder, 80.0, 110, metric=False, long_layout=_folder),
}
