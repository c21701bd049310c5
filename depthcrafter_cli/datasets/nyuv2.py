"""NYUv2: 654 labelled pictures with their depth, and its raw scenes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from depthcrafter_cli.datasets.layouts import millimetres, opened_by, paired_clip, pairs
from depthcrafter_cli.datasets.matlab import MatlabFile
from depthcrafter_cli.datasets.recorded import Crop, Map, Place, RecordedClip, inverse
from depthcrafter_cli.errors import InputError
from depthcrafter_cli.media.numbered import files_in

_CROP = Crop(45, 471, 41, 601)
_LABELLED, _SPLITS = "nyu_depth_v2_labeled.mat", "splits.mat"
_SCENES = (
    "basement_0001a", "bookstore_0001a", "cafe_0001a", "classroom_0001a", "kitchen_0003",
    "office_0004", "playroom_0002", "study_0002",
)  # fmt: skip


def nyuv2(root: Path, _frames: int) -> list[Place]:
    """Clips of one frame each, in one of three layouts.

    The publisher's ``nyu_depth_v2_labeled.mat`` beside ``splits.mat``, which tells the test frames;
    ``rgb/*.png`` and ``depth/*.png`` in millimetres, in one order; or ``test/SCENE/rgb_N`` beside
    ``sync_depth_N.png`` or ``depth_N.png``.
    """
    if (root / _LABELLED).is_file():
        return _labelled(root / _LABELLED, root / _SPLITS)
    found = _scene_pairs(root / "test") or _folder_pairs(root)

    def pair_clip(pair: tuple[str, Path, Path]) -> RecordedClip:
        name, picture, depth = pair
        return paired_clip(name, [picture], [depth], millimetres, _CROP)

    return [opened_by(pair_clip, pair, pair[0], pair[1:]) for pair in found]


def nyuv2_long(root: Path, frames: int) -> list[Place]:
    """``SCENE/rgb/*.png`` and ``SCENE/depth/*.png`` of eight raw scenes, depth times 6000."""
    return [
        place for place in pairs(root, slice(frames), 6000, _SCENES, _CROP) if place.name in _SCENES
    ]


def _folder_pairs(root: Path) -> list[tuple[str, Path, Path]]:
    pictures, maps = (
        sorted(path for path in files_in(root / name) if path.suffix == ".png")
        for name in ("rgb", "depth")
    )
    if len(pictures) != len(maps):
        raise InputError(
            f"got {len(pictures)} pictures and {len(maps)} depth files in {root}, expected pairs: "
            "complete it."
        )
    return [(one.stem, one, other) for one, other in zip(pictures, maps, strict=True)]


def _scene_pairs(root: Path) -> list[tuple[str, Path, Path]]:
    found = []
    for picture in sorted(root.glob("*/rgb_*")):
        number = picture.stem.removeprefix("rgb_")
        names = [f"{kind}_{number}.png" for kind in ("sync_depth", "depth")]
        depth = next((path for name in names if (path := picture.with_name(name)).is_file()), None)
        if depth is None:
            raise InputError(
                f"got no {' or '.join(names)} beside {picture}, expected its depth: complete it or "
                "take it out."
            )
        found.append((f"{picture.parent.name}_{number}", picture, depth))
    return found


def _labelled(path: Path, splits: Path) -> list[Place]:
    """The test frames of the publisher's file. Raises InputError where it is not told which."""
    if not splits.is_file():
        raise InputError(
            f"got no {splits.name} beside {path}, expected the publisher's file of that name, "
            "which tells the 654 test frames: copy it there."
        )
    numbers = MatlabFile(splits).array("testNdxs").ravel().astype(int).tolist()
    labelled = MatlabFile(path)

    def clip(number: int) -> RecordedClip:
        def pictures(wanted: range) -> Iterator[npt.NDArray[np.uint8]]:
            for _ in wanted:
                yield np.ascontiguousarray(labelled.array("images", number - 1), np.uint8)

        def disparity(wanted: range) -> Iterator[Map]:
            for _ in wanted:
                yield inverse(labelled.array("depths", number - 1).astype(np.float32))

        return RecordedClip(f"{number:04}", 1, pictures, disparity, (path, splits), _CROP)

    return [opened_by(clip, number, f"{number:04}", (path, splits)) for number in numbers]
