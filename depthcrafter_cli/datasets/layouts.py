"""The layouts of sets with true depth, as their publishers ship them.

A layout takes the set's folder and how many frames a clip has at most. The first five are the test
sets of the DepthCrafter paper: which frames are used, how depth is stored and what is cropped
follow its own scripts. Depth of LiDAR (KITTI) is too sparse for the latent mask: good for
evaluation, not for training. The others are drawn, and what models of depth are trained on; of
these all frames are used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from depthcrafter_cli.datasets.recorded import Crop, Map, Place, RecordedClip, inverse
from depthcrafter_cli.errors import InputError
from depthcrafter_cli.evaluation.consistency import Camera
from depthcrafter_cli.media.images import opened_image
from depthcrafter_cli.structured import content_errors

Layout = Callable[[Path, int], list[Place]]
ReadDepth = Callable[[Path], npt.NDArray[np.floating]]
_Where = TypeVar("_Where")

_SINTEL_TAG = 202021.25


def sintel(root: Path, frames: int) -> list[Place]:
    """``training/clean/SCENE/*.png`` and ``training/depth/SCENE/*.dpt``.

    The paper's script for this data set (``dataset_extract_sintel.py``) names the clean pass.
    """
    scenes = _folders(root / "training" / "clean")
    return [
        _place(
            scene.name,
            _Files(scene, "*.png", slice(frames)),
            _Files(root / "training" / "depth" / scene.name, "*.dpt", slice(frames)),
            read_dpt,
        )
        for scene in scenes
    ]


def scannet(root: Path, frames: int) -> list[Place]:
    """``SCENE/color/N.jpg`` and ``SCENE/depth/N.png``, every third frame of 100 scenes.

    ``SCENE/pose/N.txt`` and ``SCENE/intrinsic/intrinsic_depth.txt`` are its cameras, if there.
    """
    return _scannet(root, frames, step=3)


def scannet_long(root: Path, frames: int) -> list[Place]:
    """As :func:`scannet`, every frame from the first on."""
    return _scannet(root, frames, step=1)


def _scannet(root: Path, frames: int, step: int) -> list[Place]:
    def scene_clip(scene: Path) -> RecordedClip:
        maps = _numbered(scene / "depth", "*.png")[: step * frames : step]
        pictures = _numbered(scene / "color", "*.jpg")[: step * frames : step]
        clip = paired_clip(scene.name, pictures, maps, _millimetres, Crop(8, -8, 11, -11))
        return replace(clip, camera=_scannet_camera(scene, maps))

    return [
        opened_by(scene_clip, scene, scene.name, (scene / "color", scene / "depth"))
        for scene in _folders(root)[:100]
    ]


def _scannet_camera(scene: Path, maps: Sequence[Path]) -> Callable[[int], Camera | None] | None:
    intrinsics, poses = scene / "intrinsic" / "intrinsic_depth.txt", scene / "pose"
    if not (intrinsics.is_file() and poses.is_dir()):
        return None

    def camera(index: int) -> Camera | None:
        pose = _matrix(poses / f"{maps[index].stem}.txt")
        # ScanNet writes infinities where tracking was lost.
        return Camera(_matrix(intrinsics)[:3, :3], pose) if np.isfinite(pose).all() else None

    return camera


def _matrix(path: Path) -> npt.NDArray[np.float64]:
    with content_errors(path, InputError, "expected a matrix of 4 x 4 numbers: copy it again"):
        return np.loadtxt(path).reshape(4, 4)


def kitti(root: Path, frames: int) -> list[Place]:
    """``val/DRIVE/proj_depth/groundtruth/image_02/*.png`` beside the raw ``DATE/DRIVE/...``.

    Sides are made even.
    """
    return _drives(root, frames)


def kitti_long(root: Path, frames: int) -> list[Place]:
    """As :func:`kitti`, of which 374 rows and 1242 columns are used."""
    return _drives(root, frames, Crop(0, 374, 0, 1242))


def _drives(root: Path, frames: int, crop: Crop | None = None) -> list[Place]:
    def drive_clip(drive: Path) -> RecordedClip:
        maps = sorted(_kitti_maps(drive).glob("*.png"))[:frames]
        raw = root / drive.name[:10] / drive.name / "image_02" / "data"
        used = crop or Crop()
        if maps and crop is None:
            with opened_image(maps[0]) as first:
                used = Crop(0, first.height // 2 * 2, 0, first.width // 2 * 2)
        pictures = [raw / path.name for path in maps]
        return paired_clip(drive.name, pictures, maps, lambda path: _png(path) / 256, used)

    return [
        opened_by(drive_clip, drive, drive.name, (_kitti_maps(drive),))
        for drive in _folders(root / "val")
    ]


def _kitti_maps(drive: Path) -> Path:
    return drive / "proj_depth" / "groundtruth" / "image_02"


def bonn(root: Path, frames: int) -> list[Place]:
    """``SEQUENCE/rgb/*.png`` and ``SEQUENCE/depth/*.png`` from frame 30 on, paired by index."""
    return _pairs(root, slice(30, 30 + frames), 5000)


def bonn_long(root: Path, frames: int) -> list[Place]:
    """As :func:`bonn`, from the first frame on."""
    return _pairs(root, slice(frames), 5000)


def _pairs(
    root: Path,
    chosen: slice,
    factor: float,
    names: Sequence[str] = (),
    crop: Crop = Crop(),  # noqa: B008
) -> list[Place]:
    """Clips ``NAME/rgb/*.png`` and ``NAME/depth/*.png``, of some names or of all."""
    return [
        _place(
            scene.name,
            _Files(scene / "rgb", "*.png", chosen),
            _Files(scene / "depth", "*.png", chosen),
            lambda path: _png(path) / factor,
            crop,
        )
        for scene in _folders(root)
        if not names or scene.name in names
    ]


def nyuv2(root: Path, _frames: int) -> list[Place]:
    """``rgb/*.png`` and ``depth/*.png``, each a clip of one frame."""
    pictures, maps = (sorted((root / name).glob("*.png")) for name in ("rgb", "depth"))
    _require_pairs(str(root), pictures, maps)
    crop = Crop(45, 471, 41, 601)

    def pair_clip(pair: tuple[Path, Path]) -> RecordedClip:
        picture, depth = pair
        return paired_clip(picture.stem, [picture], [depth], _millimetres, crop)

    return [
        opened_by(pair_clip, pair, pair[0].stem, pair) for pair in zip(pictures, maps, strict=True)
    ]


_NYU_SCENES = (
    "basement_0001a", "bookstore_0001a", "cafe_0001a", "classroom_0001a", "kitchen_0003",
    "office_0004", "playroom_0002", "study_0002",
)  # fmt: skip


def nyuv2_long(root: Path, frames: int) -> list[Place]:
    """``SCENE/rgb/*.png`` and ``SCENE/depth/*.png`` of eight raw scenes, depth times 6000."""
    return _pairs(root, slice(frames), 6000, _NYU_SCENES, Crop(45, 471, 41, 601))


def tartanair(root: Path, frames: int) -> list[Place]:
    """``ENVIRONMENT/Easy|Hard/P000/image_left/*.png`` and ``depth_left/*.npy`` in metres."""
    return _sequences(
        root, "*/*/P*/image_left", ("image_left", "*.png"), ("depth_left", "*.npy"), _array, frames
    )


def vkitti2(root: Path, frames: int) -> list[Place]:
    """Virtual KITTI 2: ``SCENE/VARIANT/frames/``, ``rgb/CAMERA/*.jpg`` and ``depth/CAMERA/*.png``.

    In centimetres; 65535 is the sky.
    """

    def read(path: Path) -> npt.NDArray[np.float32]:
        stored = _png(path)
        stored[stored == 65535] = np.inf
        return np.divide(stored, 100, dtype=np.float32)

    return [
        _place(
            str(place.relative_to(root)),
            _Files(place, "*.jpg", slice(frames)),
            _Files(place.parents[1] / "depth" / place.name, "*.png", slice(frames)),
            read,
        )
        for place in places_below(root, "Scene*/*/frames/rgb/Camera_*")
    ]


def dynamic_replica(root: Path, frames: int) -> list[Place]:
    """``SCENE/images/*.png`` and ``SCENE/depths/*.png``, the bits of float16 in metres."""

    def read(path: Path) -> npt.NDArray[np.float32]:
        with opened_image(path) as image:
            bits = np.asarray(image).astype(np.uint16)
        return bits.view(np.float16).astype(np.float32)

    return _sequences(root, "*/depths", ("images", "*.png"), ("depths", "*.png"), read, frames)


def point_odyssey(root: Path, frames: int) -> list[Place]:
    """``SEQUENCE/rgbs/*.jpg`` and ``SEQUENCE/depths/*.png``, where 65535 would be 1,000 metres.

    What is beyond 65500 has no depth.
    """

    def read(path: Path) -> npt.NDArray[np.float32]:
        stored = _png(path)
        stored[stored > 65500] = 0
        return np.multiply(stored, 1000 / 65535, dtype=np.float32)

    return _sequences(root, "*/rgbs", ("rgbs", "*.jpg"), ("depths", "*.png"), read, frames)


def read_dpt(path: Path) -> npt.NDArray[np.float32]:
    """Sintel's depth: a tag, width and height as int32, metres as float32, little-endian."""
    content = path.read_bytes()
    tag = np.frombuffer(content, "<f4", 1)[0] if len(content) >= 12 else 0
    width, height = np.frombuffer(content, "<i4", 2, 4) if len(content) >= 12 else (0, 0)
    if tag != np.float32(_SINTEL_TAG) or len(content) != 12 + 4 * width * height:
        raise InputError(f"got {path}, which is no Sintel depth file, expected one: copy it again.")
    return np.frombuffer(content, "<f4", offset=12).reshape(height, width).astype(np.float32)


@dataclass(frozen=True)
class _Files:
    """Those files of a folder that match a pattern, in order, of which some are chosen."""

    folder: Path
    pattern: str
    chosen: slice

    def paths(self) -> list[Path]:
        return sorted(self.folder.glob(self.pattern))[self.chosen]


def _place(
    name: str,
    pictures: _Files,
    maps: _Files,
    read: ReadDepth,
    crop: Crop = Crop(),  # noqa: B008
) -> Place:
    def opened() -> RecordedClip:
        return paired_clip(name, pictures.paths(), maps.paths(), read, crop)

    return Place(name, opened, lambda: (pictures.folder, maps.folder))


def opened_by(
    clip: Callable[[_Where], RecordedClip], where: _Where, name: str, watched: Sequence[Path]
) -> Place:
    """A place whose clip a function opens, given where it is."""
    return Place(name, partial(clip, where), lambda: watched)


def paired_clip(
    name: str,
    pictures: Sequence[Path],
    maps: Sequence[Path],
    read: ReadDepth,
    crop: Crop = Crop(),  # noqa: B008
) -> RecordedClip:
    count = min(len(pictures), len(maps))
    if not count:
        raise InputError(
            f"got {len(pictures)} pictures and {len(maps)} depth files for the clip {name}, "
            "expected some of both: complete it or take it out."
        )

    missing = [picture for picture in pictures[:count] if not picture.is_file()]
    if missing:
        raise InputError(
            f"got no picture {missing[0]}, expected one for each depth file of the clip {name}: "
            "complete it or take it out."
        )

    def disparity(wanted: range) -> Iterator[Map]:
        for index in wanted:
            with content_errors(maps[index], InputError, "expected a map of depth: copy it again"):
                yield inverse(read(maps[index]))

    files = [*pictures[:count], *maps[:count]]
    return RecordedClip(name, count, pictures[:count], disparity, files, crop)


def _folders(root: Path) -> list[Path]:
    if not root.is_dir():
        raise InputError(f"got no folder {root}, expected the data set's own layout: check it.")
    return sorted(path for path in root.iterdir() if path.is_dir())


def _sequences(
    root: Path,
    inner: str,
    pictures: tuple[str, str],
    maps: tuple[str, str],
    read: ReadDepth,
    frames: int,
) -> list[Place]:
    """A clip of each folder in which ``inner`` is found, of folders below it and their files."""
    return [
        _place(
            str(place.relative_to(root)),
            _Files(place / pictures[0], pictures[1], slice(frames)),
            _Files(place / maps[0], maps[1], slice(frames)),
            read,
        )
        for place in places_below(root, inner, up=1)
    ]


def places_below(root: Path, pattern: str, up: int = 0) -> list[Path]:
    """The folders of clips, which are so many levels ``up`` from those of a pattern."""
    found = sorted(path for path in root.glob(pattern) if path.is_dir())
    if not found:
        raise InputError(
            f"got no folder {pattern} in {root}, expected the data set's own layout: check it."
        )
    return [path.parents[up - 1] if up else path for path in found]


def _numbered(folder: Path, pattern: str) -> list[Path]:
    """By the number that is the name: 2 before 10."""
    found = list(folder.glob(pattern))
    if other := [path for path in found if not path.stem.isdecimal()]:
        raise InputError(
            f"got {other[0]}, expected numbers for names, as the data set's own tool writes them: "
            "take it out."
        )
    return sorted(found, key=lambda path: int(path.stem))


def _require_pairs(name: str, pictures: Sequence[Path], maps: Sequence[Path]) -> None:
    if len(pictures) != len(maps):
        raise InputError(
            f"got {len(pictures)} pictures and {len(maps)} depth files in {name}, expected pairs: "
            "complete it."
        )


def _png(path: Path) -> npt.NDArray[np.float32]:
    with opened_image(path) as image:
        return np.asarray(image).astype(np.float32)


def _array(path: Path) -> npt.NDArray[np.float32]:
    depth: npt.NDArray[np.float32] = np.load(path, allow_pickle=False).astype(np.float32)
    return depth


def _millimetres(path: Path) -> npt.NDArray[np.float32]:
    metres: npt.NDArray[np.float32] = _png(path) / np.float32(1000)
    return metres
