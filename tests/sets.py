"""Small copies of the five test sets in their publishers' layouts, with depth that is known."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

Metres = np.ndarray  # [H, W]
INTRINSICS = np.array([[60.0, 0, 40], [0, 60, 30], [0, 0, 1]])
STEP = 0.05  # metres that the camera of ScanNet goes on from frame to frame
_NYU = Path("nyu")


def depth_at(index: int, size: tuple[int, int]) -> Metres:
    """A slanted wall with a box before it, a little nearer in each frame; whole millimetres."""
    rows, columns = np.mgrid[0 : size[0], 0 : size[1]]
    depth = 3 + rows / size[0] + 0.5 * columns / size[1] - 0.02 * index
    box = (abs(rows - size[0] // 2) < size[0] // 8) & (abs(columns - size[1] // 2) < size[1] // 8)
    return np.round(np.where(box, 2.0 - 0.02 * index, depth), 3)


def plane_at(index: int, size: tuple[int, int]) -> Metres:
    """A plane across the way of a camera that goes on."""
    return np.full(size, 4.0 - STEP * index)


def picture(path: Path, index: int, size: tuple[int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(7)
    rough = np.kron(
        rng.integers(0, 200, (size[0] // 8 + 2, size[1] // 8 + 2, 3)), np.ones((8, 8, 1))
    )
    shown = rough[index : index + size[0], index : index + size[1]].astype(np.uint8)
    Image.fromarray(np.ascontiguousarray(shown)).save(path)


def levels(path: Path, metres: Metres, factor: float) -> None:
    """Depth as 16 bits of gray, so many to a metre."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.rint(metres * factor).astype(np.uint16)).save(path)


def write_dpt(path: Path, metres: Metres) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    head = np.array([202021.25], "<f4").tobytes()
    head += np.array(metres.shape[::-1], "<i4").tobytes()
    path.write_bytes(head + metres.astype("<f4").tobytes())


def sintel(root: Path, frames: int, depth: Callable = depth_at) -> None:
    for scene in ("alley_1", "temple_2"):
        for index in range(frames):
            picture(root / f"training/clean/{scene}/frame_{index + 1:04}.png", index, (48, 64))
            write_dpt(
                root / f"training/depth/{scene}/frame_{index + 1:04}.dpt", depth(index, (48, 64))
            )


def scannet(root: Path, frames: int, depth: Callable = depth_at) -> None:
    size = (64, 84)
    for scene in ("scene0707_00", "scene0708_00"):
        for index in range(frames):
            picture(root / scene / "color" / f"{index}.jpg", index, size)
            levels(root / scene / "depth" / f"{index}.png", depth(index, size), 1000)
            pose = np.eye(4)
            pose[2, 3] = STEP * index
            (root / scene / "pose").mkdir(exist_ok=True)
            np.savetxt(root / scene / "pose" / f"{index}.txt", pose)
        (root / scene / "intrinsic").mkdir()
        whole = np.eye(4)
        whole[:3, :3] = INTRINSICS
        np.savetxt(root / scene / "intrinsic" / "intrinsic_depth.txt", whole)


def kitti(root: Path, frames: int, depth: Callable = depth_at) -> None:
    drive = "2011_09_26_drive_0002_sync"
    for index in range(frames):
        name = f"{index:010}.png"
        picture(root / "2011_09_26" / drive / "image_02/data" / name, index, (50, 80))
        place = root / "val" / drive / "proj_depth/groundtruth/image_02"
        levels(place / name, depth(index, (50, 80)), 256)


def bonn(root: Path, frames: int, depth: Callable = depth_at) -> None:
    for index in range(frames + 30):
        picture(root / "rgbd_bonn_crowd2/rgb" / f"{index:05}.png", index % 8, (48, 64))
        levels(root / "rgbd_bonn_crowd2/depth" / f"{index:05}.png", depth(index, (48, 64)), 5000)


def nyuv2(root: Path, frames: int, depth: Callable = depth_at) -> None:
    for index in range(frames):
        picture(root / "rgb" / f"{index:05}.png", index, (480, 640))
        levels(root / "depth" / f"{index:05}.png", depth(index, (480, 640)), 1000)


SETS = {"sintel": sintel, "scannet": scannet, "kitti": kitti, "bonn": bonn, "nyuv2": nyuv2}
