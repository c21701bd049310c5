"""What examples/record_levels.py and draw_stacks.py make is what a recipe's stacks are."""

import io
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from depthcrafter_cli.training.config import SourceConfig
from depthcrafter_cli.training.data.sources import open_source

EXAMPLES = Path(__file__).parents[2] / "examples"
HALF = 256.0  # of the room, in units of the level

pytest.importorskip("embreex")


def room() -> bytes:
    """A level of one cubic room, its walls, floor and ceiling two triangles each."""
    corners = [(x, y, z) for x in (-HALF, HALF) for y in (-HALF, HALF) for z in (-HALF, HALF)]
    sides = [(0, 1, 3, 2), (4, 5, 7, 6), (0, 1, 5, 4), (2, 3, 7, 6), (0, 2, 6, 4), (1, 3, 7, 5)]
    places, faces = [(0, 0), (4, 0), (4, 4), (0, 4)], []
    vertices, indices = b"", struct.pack("<6i", 0, 1, 2, 0, 2, 3)
    for number, side in enumerate(sides):
        for corner, place in zip(side, places, strict=True):
            numbers = (*corners[corner], *place, 0, 0, 0, 0, 1)
            vertices += struct.pack("<10f4B", *numbers, 120, 120, 120, 255)
        faces.append((number % 2, 0, 1, 4 * number, 4, 0, 6, -1, *[0] * 18))
    lumps = [b""] * 17
    lumps[0] = b'{ "classname" "info_player_start" "origin" "0 0 0" }'
    lumps[1] = b"".join(name.ljust(64, b"\0") + bytes(8) for name in (b"textures/a", b"textures/b"))
    lumps[10], lumps[11] = vertices, indices
    lumps[13] = b"".join(struct.pack("<26i", *face) for face in faces)
    directory, start = b"", 8 + 8 * 17
    for lump in lumps:
        directory += struct.pack("<ii", start, len(lump))
        start += len(lump)
    return b"IBSP" + struct.pack("<i", 46) + directory + b"".join(lumps)


@pytest.fixture
def packages(tmp_path):
    """A game of one level and two textures."""
    (tmp_path / "game").mkdir()
    with zipfile.ZipFile(tmp_path / "game" / "pak0.pk3", "w") as package:
        package.writestr("maps/room.bsp", room())
        for seed, name in enumerate("ab"):
            picture = np.random.default_rng(seed).integers(0, 255, (32, 32, 3), np.uint8)
            file = io.BytesIO()
            Image.fromarray(picture).save(file, "PNG")
            package.writestr(f"textures/{name}.png", file.getvalue())
    return tmp_path / "game"


def test_depth_is_that_along_the_optical_axis(packages, monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    from levels.level import Level
    from levels.packages import Packages
    from levels.view import Rays, _look

    eye, axes = np.array([-100.0, 0, 0]), np.array([[1.0, 0, 0], [0, -1, 0], [0, 0, 1]])
    level, rays = Level(Packages(packages), "maps/room.bsp"), Rays(eye, axes, 1.5, 30, 40)
    # Most look for more relief than a room has.
    found = (_look(level, np.random.default_rng(seed), rays) for seed in range(20))
    seen = next(one for one in found if one is not None)
    depth = seen.depth.reshape(30, 40)
    assert np.allclose(depth[10:20, 15:25], HALF + 100, rtol=1e-5)  # the wall ahead
    # The ray of the first column leaves by the wall to the left after 256 / slope units.
    assert np.allclose(depth[15, 0], HALF / (1.5 * (1 - 0.5 / 20)), rtol=1e-5)
    assert np.ptp(seen.colour[:, 0]) > 0.1


def test_stacks_are_recorded_once_and_read_by_a_recipe(packages, tmp_path):
    command = [sys.executable, str(EXAMPLES / "record_levels.py"), str(tmp_path / "stacks")]
    command += ["--data", str(packages), "--shards", "2", "--each", "3", "--size", "48x32"]
    assert (
        subprocess.run(command, capture_output=True, text=True, check=True).stdout.count("3 f") == 2
    )
    first = tmp_path / "stacks" / "train" / "levels-00000" / "rgb.npy"
    written = first.stat().st_mtime_ns
    subprocess.run(command, check=True, capture_output=True)
    assert first.stat().st_mtime_ns == written
    clips = open_source(SourceConfig(kind="stacks", path=str(tmp_path / "stacks" / "train")))
    assert [clips.shape(index) for index in range(len(clips))] == [(1, 32, 48)] * 6
    frames = [clips.read(index, range(1)) for index in range(6)]
    assert all(np.ptp(frame.rgb.numpy()) > 20 for frame in frames)
    assert all(float(frame.disparity.max() / frame.disparity.min()) > 1.4 for frame in frames)


def test_stacks_are_drawn_with_pictures(packages, tmp_path):
    command = [sys.executable, str(EXAMPLES / "draw_stacks.py"), str(tmp_path / "stacks")]
    command += ["--packages", str(packages), "--shards", "1", "--scenes", "3", "--size", "48x32"]
    subprocess.run(command, capture_output=True, text=True, check=True)
    clips = open_source(SourceConfig(kind="stacks", path=str(tmp_path / "stacks" / "train")))
    assert 2 <= len(clips) <= 6 and clips.shape(0) == (1, 32, 48)
    assert float(clips.read(0, range(1)).disparity.median()) == pytest.approx(1, rel=0.5)
