"""A sparse model as COLMAP writes it."""

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np


def colmap_model(folder: Path, depth, names: Sequence[str], binary: bool = True) -> None:
    """Three cameras that look along z from their own places, with points on what they see."""
    rng, images, points = np.random.default_rng(3), [], []
    for index, name in enumerate(names):
        marks = []
        for _ in range(30):
            x, y = rng.uniform(0, 96), rng.uniform(0, 64)
            z = depth[index, int(y), int(x)] + index  # the camera stands at z = index
            points.append(((x - 48) / 60 * z, (y - 32) / 60 * z, z))
            marks.append((x, y, len(points)))
        images.append((name, (0.0, 0.0, -float(index)), marks))
    place = folder / "sparse" / "0"
    place.mkdir(parents=True)
    if not binary:
        (place / "cameras.txt").write_text("# one\n1 PINHOLE 96 64 60 60 48 32\n")
        lines = [
            f"{number} 1 0 0 0 {' '.join(map(str, shift))} 1 {name}\n"
            + " ".join(f"{x} {y} {point}" for x, y, point in marks)
            for number, (name, shift, marks) in enumerate(images, 1)
        ]
        (place / "images.txt").write_text("# two lines each\n" + "\n".join(lines) + "\n")
        rows = [f"{n} {x} {y} {z} 0 0 0 0.5 1 0" for n, (x, y, z) in enumerate(points, 1)]
        (place / "points3D.txt").write_text("\n".join(rows) + "\n")
        return
    camera = struct.pack("<QiiQQ4d", 1, 1, 1, 96, 64, 60, 60, 48, 32)
    (place / "cameras.bin").write_bytes(camera)
    data = struct.pack("<Q", len(images))
    for number, (name, shift, marks) in enumerate(images, 1):
        data += struct.pack("<i7di", number, 1, 0, 0, 0, *shift, 1) + name.encode() + b"\0"
        data += struct.pack("<Q", len(marks)) + b"".join(struct.pack("<ddq", *m) for m in marks)
    (place / "images.bin").write_bytes(data)
    data = struct.pack("<Q", len(points))
    for number, where in enumerate(points, 1):
        data += struct.pack("<Q3d3BdQ2i", number, *where, 0, 0, 0, 0.5, 1, 1, 0)
    (place / "points3D.bin").write_bytes(data)
