"""The layouts of sets with true depth, as their publishers ship them.

A layout takes the set's folder and how many frames a clip has at most. The first five are the test
sets of the DepthCrafter paper: which frames are used, how depth is stored and what is cropped
follow its own scripts. Depth of LiDAR (KITTI) is too sparse for the latent mask: good for
evaluation, not for training. The others are drawn, and what models of depth are trained on; of
these all frames are used.
"""

from __future__ import annotations

import re
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
from depthcrafter_cli.media.numbered import files_in
from depthcrafter_cli.structured import content_errors

Layout = Callable[[Path, int], list[Place]]
ReadDepth = Callable[[Path], npt.NDArray[np.floating]]
_Where = TypeVar("_Where")

_SINTEL_TAG = 202021.25
_NUMBERS = re.compile(r"\d+")


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
    """``SCENE/color/N.jpg`` and ``SCENE/depth/N.png``, every third frame of the 100 test scenes.

    ``SCENE/pose/N.txt`` and ``SCENE/intrinsic/intrinsic_depth.txt`` are its cameras, if there.
    """
    return _scannet(root, slice(0, 3 * frames, 3))


def scannet_long(root: Path, frames: int) -> list[Place]:
    """As :func:`scannet`, every frame from the first on."""
    return _scannet(root, slice(frames))


def scannet_tae(root: Path, frames: int) -> list[Place]:
    """As :func:`scannet`, every frame from 10 on, of the first 20 scenes."""
    return _scannet(root, slice(10, 10 + frames))[:20]


def _scannet(root: Path, chosen: slice) -> list[Place]:
    def scene_clip(scene: Path) -> RecordedClip:
        maps = _numbered(scene / "depth", ".png")[chosen]
        pictures = _numbered(scene / "color", ".jpg")[chosen]
        _require_same_numbers(scene.name, pictures, maps)
        clip = paired_clip(scene.name, pictures, maps, millimetres, Crop(8, -8, 11, -11))
        return replace(clip, camera=_scannet_camera(scene, maps))

    return [
        opened_by(scene_clip, scene, scene.name, (scene / "color", scene / "depth"))
        for scene in _published(_folders(root), _SCANNET_SCENES)[:100]
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
        matrix = np.array(path.read_text().split(), np.float64).reshape(4, 4)
        if np.isfinite(matrix).all() and np.linalg.det(matrix) == 0:
            raise ValueError("it has no inverse")
        return matrix


def kitti(root: Path, frames: int) -> list[Place]:
    """``val/DRIVE/proj_depth/groundtruth/image_02/*.png`` beside the raw ``DATE/DRIVE/...``.

    These may be in a folder ``raw``. Sides are made even.
    """
    return _drives(root, frames)


def kitti_long(root: Path, frames: int) -> list[Place]:
    """As :func:`kitti`, of which 374 rows and 1242 columns are used."""
    return _drives(root, frames, Crop(0, 374, 0, 1242))


def _drives(root: Path, frames: int, crop: Crop | None = None) -> list[Place]:
    def drive_clip(drive: Path) -> RecordedClip:
        maps = _Files(_kitti_maps(drive), "*.png", slice(frames)).paths()
        inner = Path(drive.name[:10]) / drive.name / "image_02" / "data"
        raw = root / "raw" / inner if (root / "raw").is_dir() else root / inner
        used = crop or Crop()
        if maps and crop is None:
            with opened_image(maps[0]) as first:
                used = Crop(0, first.height // 2 * 2, 0, first.width // 2 * 2)
        pictures = [raw / path.name for path in maps]
        return paired_clip(drive.name, pictures, maps, lambda path: read_png(path) / 256, used)

    return [
        opened_by(drive_clip, drive, drive.name, (_kitti_maps(drive),))
        for drive in _folders(root / "val")
    ]


def _kitti_maps(drive: Path) -> Path:
    return drive / "proj_depth" / "groundtruth" / "image_02"


def bonn(root: Path, frames: int) -> list[Place]:
    """``SEQUENCE/rgb/*.png`` and ``SEQUENCE/depth/*.png`` from frame 30 on, paired by index.

    Of the whole set, the paper's five sequences.
    """
    return pairs(root, slice(30, 30 + frames), 5000, _BONN_SEQUENCES)


def bonn_long(root: Path, frames: int) -> list[Place]:
    """As :func:`bonn`, from the first frame on."""
    return pairs(root, slice(frames), 5000, _BONN_SEQUENCES)


_SCANNET_SCENES = [f"scene{number:04}_00" for number in range(707, 807)]
_BONN_SEQUENCES = [
    f"rgbd_bonn_{name}"
    for name in ("synchronous", "person_tracking", "crowd2", "crowd3", "balloon2")
]


def _published(scenes: Sequence[Path], names: Sequence[str]) -> Sequence[Path]:
    """Those that results are published on, where all of them are there; else all there are."""
    found = [scene for scene in scenes if scene.name in names]
    return found if len(found) == len(names) else scenes


def pairs(
    root: Path,
    chosen: slice,
    factor: float,
    published: Sequence[str],
    crop: Crop = Crop(),  # noqa: B008
) -> list[Place]:
    """Clips ``NAME/rgb/*.png`` and ``NAME/depth/*.png``, paired by index: names may be times."""
    return [
        _place(
            scene.name,
            _Files(scene / "rgb", "*.png", chosen),
            _Files(scene / "depth", "*.png", chosen),
            lambda path: read_png(path) / factor,
            crop,
            by_number=False,
        )
        for scene in _published(_folders(root), published)
    ]


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
        stored = read_png(path)
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
        stored = read_png(path)
        stored[stored > 65500] = 0
        return np.multiply(stored, 1000 / 65535, dtype=np.float32)

    return _sequences(root, "*/rgbs", ("rgbs", "*.jpg"), ("depths", "*.png"), read, frames)


def read_dpt(path: Path) -> npt.NDArray[np.float32]:
    """Sintel's depth: a tag, width and height as int32, metres as float32, little-endian."""
    content = path.read_bytes()
    tag = np.frombuffer(content, "<f4", 1)[0] if len(content) >= 12 else 0
    width, height = np.frombuffer(content, "<i4", 2, 4) if len(content) >= 12 else (0, 0)
    if tag != np.float32(_SINTEL_TAG) or width < 1 or len(content) != 12 + 4 * width * height:
        raise InputError(f"got {path}, which is no Sintel depth file, expected one: copy it again.")
    return np.frombuffer(content, "<f4", offset=12).reshape(height, width).astype(np.float32)


@dataclass(frozen=True)
class _Files:
    """Those files of a folder that match a pattern, in order, of which some are chosen."""

    folder: Path
    pattern: str
    chosen: slice

    def paths(self) -> list[Path]:
        found = (path for path in self.folder.glob(self.pattern) if path.name[0] != ".")
        return sorted(found)[self.chosen]

    def __str__(self) -> str:
        return str(self.folder / self.pattern)


def _place(
    name: str, pictures: _Files, maps: _Files, read: ReadDepth, crop: Crop = Crop(),  # noqa: B008
    *, by_number: bool = True,
) -> Place:  # fmt: skip
    def opened() -> RecordedClip:
        shown, known = pictures.paths(), maps.paths()
        if not (shown and known):
            raise InputError(
                f"got {len(shown)} pictures {pictures} and {len(known)} depth files {maps} for the "
                f"clip {name}, expected some of both: complete it or take it out."
            )
        if by_number:
            _require_same_numbers(name, shown, known)
        return paired_clip(name, shown, known, read, crop)

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

    files = [*pictures[:count], *maps[:count]]
    if missing := [path for path in files if not path.is_file()]:
        raise InputError(
            f"got no file {missing[0]}, expected a picture and a depth file for each frame of the "
            f"clip {name}: complete it or take it out."
        )

    def disparity(wanted: range) -> Iterator[Map]:
        for index in wanted:
            with content_errors(maps[index], InputError, "expected a map of depth: copy it again"):
                yield inverse(read(maps[index]))

    return RecordedClip(name, count, pictures[:count], disparity, files, crop)


def _require_same_numbers(name: str, pictures: Sequence[Path], maps: Sequence[Path]) -> None:
    """Raise InputError where a frame lacks its picture or its depth and another one follows.

    Which it is tells the last number in both names. A picture, or depth, may be of no frame at the
    end.
    """
    for picture, depth in zip(pictures, maps, strict=False):
        shown, known = (_NUMBERS.findall(path.stem) for path in (picture, depth))
        if shown and known and int(shown[-1]) != int(known[-1]):
            raise InputError(
                f"got the picture {picture.name} beside the depth {depth.name} in the clip {name}, "
                "expected one number: a file between is missing, complete it or take it out."
            )


def _folders(root: Path) -> list[Path]:
    if not root.is_dir():
        raise InputError(f"got no folder {root}, expected the data set's own layout: check it.")
    return sorted(path for path in files_in(root) if path.is_dir() and path.name != "__MACOSX")


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


def _numbered(folder: Path, suffix: str) -> list[Path]:
    """By the number that is the name: 2 before 10."""
    found = [path for path in files_in(folder) if path.suffix == suffix]
    if other := [path for path in found if not path.stem.isdecimal()]:
        raise InputError(
            f"got {other[0]}, expected numbers for names, as the data set's own tool writes them: "
            "take it out."
        )
    return sorted(found, key=lambda path: int(path.stem))


def read_png(path: Path) -> npt.NDArray[np.float32]:
    with opened_image(path) as image:
        return np.asarray(image).astype(np.float32)


def _array(path: Path) -> npt.NDArray[np.float32]:
    depth: npt.NDArray[np.float32] = np.load(path, allow_pickle=False).astype(np.float32)
    return depth


def millimetres(path: Path) -> npt.NDArray[np.float32]:
    metres: npt.NDArray[np.float32] = read_png(path) / np.float32(1000)
    return metres
