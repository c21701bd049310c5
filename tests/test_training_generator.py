"""The generator draws the same clip from the same seed, and its depth is the true one."""

import numpy as np
import pytest
import torch

from depthcrafter_cli.training.clips import target_disparity
from depthcrafter_cli.training.generator import draw_clip, textures
from depthcrafter_cli.training.generator.camera import Camera
from depthcrafter_cli.training.generator.render import render
from depthcrafter_cli.training.generator.solids import Material, Shape, Solid
from depthcrafter_cli.training.generator.staging import Light, Scene, Sky, still

GREY = Material((0.2, 0.2, 0.2), (0.6, 0.6, 0.6))


def depth_of(*solids: Solid, side: int = 65) -> torch.Tensor:
    """Depth [H, W] seen from the origin along +z, the picture's half side at slope 1."""
    white = (1.0, 1.0, 1.0)
    scene = Scene(
        [still(list(solids), 1, (0, 0, 0))],
        Light(np.array([0.0, 1.0, 0.0]), white, white, white),
        Sky(white, white, 0.0, 0, 0.0),
        np.zeros(3),
        np.array([0.0, 0.0, 1.0]),
        0.0,
    )
    facing = np.diag([1.0, -1.0, 1.0])[None]  # right, down, forward
    camera = Camera(np.zeros((1, 3)), facing, np.ones(1))
    atlas = textures.atlas(np.random.default_rng(0))
    return render(scene, camera, np.zeros(1), side, side, atlas).depth[0]


def test_same_seed_same_clip():
    first, second = draw_clip(7, 2, 64, 64), draw_clip(7, 2, 64, 64)
    assert torch.equal(first.rgb, second.rgb)
    assert torch.equal(first.depth, second.depth)
    assert not torch.equal(first.rgb, draw_clip(8, 2, 64, 64).rgb)


def test_wall_has_the_depth_of_its_face_everywhere():
    wall = Solid(Shape.CUBE, np.array([0, 0, 6.0]), np.array([50, 50, 1.0]), GREY)
    assert depth_of(wall).sub(5.0).abs().max() < 1e-4


def test_sphere_is_nearest_at_its_middle_and_bounded_by_sky():
    depth = depth_of(Solid(Shape.SPHERE, np.array([0, 0, 5.0]), np.full(3, 2.0), GREY))
    assert depth[32, 32].item() == pytest.approx(3.0, abs=1e-4)
    slope = 20 / 32.5  # the ray (slope, 0, 1) leaves the disc of tangent rays at 2 / sqrt(21)
    assert slope > 2 / 21**0.5
    assert torch.isinf(depth[32, 52])


def test_floor_depth_follows_from_camera_height():
    floor = Solid(Shape.CUBE, np.array([0, -2.5, 0]), np.array([900, 1.0, 900]), GREY)
    rows = depth_of(floor)[40:, 32]
    slope = (torch.arange(40, 65) + 0.5 - 32.5) / 32.5
    assert torch.allclose(rows, 1.5 / slope, rtol=1e-4)


def test_nearer_solid_hides_the_farther():
    wall = Solid(Shape.CUBE, np.array([0, 0, 9.0]), np.array([50, 50, 1.0]), GREY)
    post = Solid(Shape.CYLINDER, np.array([0, 0, 4.0]), np.array([1.0, 9.0, 1.0]), GREY)
    row = depth_of(wall, post)[32]
    assert row[32].item() == pytest.approx(3.0, abs=1e-4)
    assert row[0].item() == pytest.approx(8.0, abs=1e-4)


def test_target_puts_sky_at_zero_and_the_nearest_at_one():
    depth = torch.full((2, 8, 8), torch.inf)
    depth[:, 4:] = torch.linspace(1, 10, 8)
    disparity = target_disparity(depth)
    assert disparity[:, :4].max() == 0
    assert disparity.max() == 1
    assert bool((disparity[0, 5].diff() < 0).all())
