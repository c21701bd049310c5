"""Two sets to train on whose depth takes more than a file to read: MatrixCity and Hypersim."""

from __future__ import annotations

import csv
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from depthcrafter_cli.datasets.layouts import opened_by, paired_clip, places_below
from depthcrafter_cli.datasets.recorded import Place, RecordedClip
from depthcrafter_cli.errors import InputError
from depthcrafter_cli.media.depth_files import read_exr
from depthcrafter_cli.media.files import missing_package
from depthcrafter_cli.media.numbered import natural_order
from depthcrafter_cli.structured import content_errors

_UNKNOWN = 65504  # the largest number of 16-bit floats
_FIELD_OF_VIEW = np.pi / 3  # of Hypersim's cameras, from left to right


def matrix_city(root: Path, frames: int) -> list[Place]:
    """``CITY/VIEW/SPLIT/BLOCK/*.png`` and ``CITY_depth/VIEW/SPLIT/BLOCK_depth/*.exr``.

    In centimetres along the view; 65504 and more has no depth. Files are paired by their names.
    """

    def block_clip(depths: Path) -> RecordedClip:
        maps = sorted(depths.rglob("*.exr"), key=natural_order)[:frames]
        city, *below = depths.relative_to(root).parts
        block = root.joinpath(city.removesuffix("_depth"), *below)
        block = block.with_name(block.name.removesuffix("_depth"))
        pictures = [block / f"{path.stem}.png" for path in maps]
        return paired_clip(str(block.relative_to(root)), pictures, maps, _centimetres)

    return [
        opened_by(block_clip, depths, str(depths.relative_to(root)), (depths,))
        for depths in places_below(root, "*_depth/*/*/*_depth")
    ]


def _centimetres(path: Path) -> npt.NDArray[np.float32]:
    stored = read_exr(path)
    stored = stored[..., 0] if stored.ndim == 3 else stored
    metres: npt.NDArray[np.float32] = np.where(stored < _UNKNOWN, stored / np.float32(100), 0)
    return metres


def hypersim(root: Path, _frames: int) -> list[Place]:
    """``SCENE/images/scene_CAM_final_preview/frame.N.tonemap.jpg``, each a clip of one frame.

    ``SCENE/images/scene_CAM_geometry_hdf5/frame.N.depth_meters.hdf5`` are distances to the camera's
    centre; depth along the view follows from ``metadata_camera_parameters.csv`` in ``root``, where
    it is, else from a field of view of 60 degrees.
    """

    def frame_clip(picture: Path) -> RecordedClip:
        scene = picture.parents[2].name
        name = str(picture.relative_to(root)).removesuffix(".tonemap.jpg")
        cameras = root / "metadata_camera_parameters.csv"

        def along_the_view(path: Path) -> npt.NDArray[np.float32]:
            distance = _hdf5(path)
            from_uv = _cameras(cameras).get(scene) if cameras.is_file() else None
            return distance * _cosines(distance.shape, from_uv)

        return paired_clip(name, [picture], [_distances(picture)], along_the_view)

    return [
        opened_by(
            frame_clip, picture, str(picture.relative_to(root)), (picture, _distances(picture))
        )
        for folder in places_below(root, "*/images/scene_*_final_preview")
        for picture in sorted(folder.glob("frame.*.tonemap.jpg"))
    ]


def _distances(picture: Path) -> Path:
    folder = picture.parent.name.replace("_final_preview", "_geometry_hdf5")
    name = picture.name.replace(".tonemap.jpg", ".depth_meters.hdf5")
    return picture.parents[1] / folder / name


def _hdf5(path: Path) -> npt.NDArray[np.float32]:
    if lacking := missing_package(path, "h5py", "hdf5", "take its clips out"):
        raise InputError(lacking)
    import h5py

    with h5py.File(path) as file:
        distance: npt.NDArray[np.float32] = np.asarray(file["dataset"], np.float32)
    return distance


@lru_cache(maxsize=2)
def _cameras(path: Path) -> dict[str, npt.NDArray[np.float64]]:
    """What turns places on pictures, from -1 to 1, into directions, by scene. Raises InputError."""
    with (
        content_errors(path, InputError, "expected Hypersim's own table: copy it again"),
        path.open(newline="", encoding="utf-8") as file,
    ):
        names = [f"M_cam_from_uv_{row}{column}" for row in range(3) for column in range(3)]
        return {
            line["scene_name"]: np.array([float(line[name]) for name in names]).reshape(3, 3)
            for line in csv.DictReader(file)
        }


def _cosines(
    size: tuple[int, ...], from_uv: npt.NDArray[np.float64] | None
) -> npt.NDArray[np.float32]:
    """Of the angle between each pixel's direction and that of the view, float32 [H, W]."""
    height, width = size
    half = np.tan(_FIELD_OF_VIEW / 2)
    matrix: npt.NDArray[Any] = np.diag([half, half * height / width, -1.0])
    matrix = matrix if from_uv is None else from_uv
    u, v = ((np.arange(count) + 0.5) / count * 2 - 1 for count in (width, height))
    places = np.stack(np.broadcast_arrays(u[None, :], -v[:, None], 1.0), axis=-1)
    directions = places @ matrix.T
    cosines: npt.NDArray[np.float32] = (
        np.abs(directions[..., 2]) / np.linalg.norm(directions, axis=-1)
    ).astype(np.float32)
    return cosines
