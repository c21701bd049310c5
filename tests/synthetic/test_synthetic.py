"""The generator draws the same clip from the same seed, and its depth is the true one."""

import numpy as np
import pytest
import torch

from depthcrafter_cli.synthetic import draw_clip, draw_views, kinds, textures
from depthcrafter_cli.synthetic.bodies import still
from depthcrafter_cli.synthetic.camera import Camera, film, mounted
from depthcrafter_cli.synthetic.foreground import LAYERS
from depthcrafter_cli.synthetic.light import Light, Sky
from depthcrafter_cli.synthetic.render import render
from depthcrafter_cli.synthetic.solids import Material, Shape, Solid
from depthcrafter_cli.synthetic.staging import Scene
from depthcrafter_cli.synthetic.terrain import Terrain
from depthcrafter_cli.training.data.targets import target_disparity

GREY = Material((0.2, 0.2, 0.2), (0.6, 0.6, 0.6))


def depth_of(*solids: Solid, side: int = 65, terrain: Terrain | None = None) -> torch.Tensor:
    """Depth [H, W] seen from the origin along +z, the picture's half side at slope 1."""
    white = (1.0, 1.0, 1.0)
    scene = Scene(
        [still(list(solids), 1, (0, 0, 0))] if solids else [],
        Light(np.array([0.0, 1.0, 0.0]), white, white, white),
        Sky(white, white, 0.0, 0, 0.0),
        np.zeros(3),
        np.array([0.0, 0.0, 1.0]),
        0.0,
        terrain,
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


def test_styles_share_the_depth_and_differ_in_the_picture():
    real, clean = draw_clip(11, 2, 64, 96), draw_clip(11, 2, 64, 96, style="precise")
    assert torch.equal(real.depth, clean.depth)
    assert not torch.equal(real.rgb, clean.rgb)
    assert torch.equal(clean.rgb, draw_clip(11, 2, 64, 96, style="precise").rgb)


@pytest.mark.parametrize("kind", kinds.KINDS)
def test_every_kind_of_scene_is_drawn(kind, monkeypatch):
    monkeypatch.setattr(kinds, "KINDS", {kind: kinds.KINDS[kind]})
    clip = draw_clip(3, 2, 32, 48)
    assert clip.rgb.shape == (2, 32, 48, 3)
    assert clip.rgb.float().std() > 2
    assert clip.depth.min() >= 0.1 - 1e-6
    assert not bool(clip.depth.isnan().any())


@pytest.mark.parametrize("layer", LAYERS)
def test_every_layer_covers_some_of_the_scene(layer):
    atlas = textures.atlas(np.random.default_rng(0))
    times = np.zeros(1)
    scene = kinds.closeups.still_life(np.random.default_rng(5), times)
    covered = 0.0
    for seed in range(4):
        rng = np.random.default_rng(seed)
        fronted = LAYERS[layer][0](rng, scene, times)
        camera = film(np.random.default_rng(0), scene, times)
        depths = [
            render(mounted(one, camera), camera, times, 32, 48, atlas).depth
            for one in (scene, fronted)
        ]
        covered = max(covered, float((depths[1] < depths[0]).float().mean()))
    assert covered > 0.01


def test_seed_without_a_worthy_scene_still_ends(monkeypatch):
    def nothing(rng, times):
        white = (1.0, 1.0, 1.0)
        light = Light(np.array([0.0, 1.0, 0.0]), white, white, white)
        speck = Solid(Shape.SPHERE, np.array([0, 0, -9.0]), np.ones(3), GREY)
        behind = [still([speck], len(times), (0, 0, 0))]
        sky = Sky(white, white, 0.0, 0, 0.0)
        return Scene(behind, light, sky, np.array([0, 1.0, 0]), np.array([0, 1.0, 1.0]), 0.0)

    monkeypatch.setattr(kinds, "arrange", nothing)
    assert bool(draw_clip(1, 2, 32, 32).depth.isinf().all())


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


def test_cone_has_its_tip_and_its_slope_where_they_are_seen():
    cone = Solid(Shape.CONE, np.array([0, 0, 6.0]), np.array([2.0, 2.0, 2.0]), GREY)
    depth = depth_of(cone)
    # At height 0 the radius is 1, so the middle ray meets the side one metre before the axis.
    assert depth[32, 32].item() == pytest.approx(5.0, abs=1e-4)
    assert torch.isinf(depth[32 - 12, 32])  # slope 12 / 32.5 passes over the tip at 2 / 6
    assert torch.isfinite(depth[32 - 10, 32])


def test_hole_shows_its_far_wall_and_what_lies_behind():
    block = Solid(
        Shape.CUBE, np.array([0, 0, 5.0]), np.array([50, 50, 1.0]), GREY,
        hole=Solid(Shape.CUBE, np.array([0, 0, 4.0]), np.array([1.0, 1.0, 1.5]), GREY),
    )  # fmt: skip
    depth = depth_of(block)
    assert depth[32, 32].item() == pytest.approx(5.5, abs=1e-4)  # the pit's floor
    assert depth[0, 0].item() == pytest.approx(4.0, abs=1e-4)
    window = Solid(Shape.CYLINDER, np.array([0, 0, 5.0]), np.array([1.0, 9.0, 1.0]), GREY)
    block = Solid(Shape.CUBE, np.array([0, 0, 5.0]), np.array([50, 50, 0.5]), GREY, hole=window)
    assert torch.isinf(depth_of(block)[32, 32])


def test_terrain_depth_is_that_of_its_height():
    flat = Solid(Shape.CUBE, np.zeros(3), np.ones(3), GREY)
    level = Terrain(np.full((8, 8), -1.5), 1.0, flat)
    slope = (torch.arange(40, 65) + 0.5 - 32.5) / 32.5
    assert torch.allclose(depth_of(terrain=level)[40:, 32], 1.5 / slope, rtol=1e-3)
    hilly = Terrain(np.random.default_rng(0).random((16, 16)) - 2.0, 0.7, flat, 1.0, 1.5, roof=3.0)
    depth = depth_of(terrain=hilly)
    x = (torch.arange(65) + 0.5 - 32.5) / 32.5
    rays = torch.stack(torch.broadcast_tensors(x[None, :], -x[:, None], torch.ones(1)), dim=-1)
    seen = torch.isfinite(depth)
    assert seen.float().mean() > 0.9
    assert hilly.clearance(rays * depth[..., None])[seen].abs().max() < 2e-3


def test_nearer_solid_hides_the_farther():
    wall = Solid(Shape.CUBE, np.array([0, 0, 9.0]), np.array([50, 50, 1.0]), GREY)
    post = Solid(Shape.CYLINDER, np.array([0, 0, 4.0]), np.array([1.0, 9.0, 1.0]), GREY)
    row = depth_of(wall, post)[32]
    assert row[32].item() == pytest.approx(3.0, abs=1e-4)
    assert row[0].item() == pytest.approx(8.0, abs=1e-4)


def test_target_puts_sky_at_zero_and_the_nearest_at_one():
    depth = torch.full((2, 8, 8), torch.inf)
    depth[:, 4:] = torch.linspace(1, 10, 8)
    disparity = target_disparity(1 / depth, torch.ones_like(depth, dtype=torch.bool))
    assert disparity[:, :4].max() == 0
    assert disparity.max() == 1
    assert bool((disparity[0, 5].diff() < 0).all())


def test_views_of_a_scene_are_apart_and_printed_surfaces_show_the_pictures():
    rng = np.random.default_rng(1)
    atlas = textures.atlas(rng)
    half = np.tile(np.repeat([0.0, 1.0], textures.SIDE // 2), (textures.SIDE, 1))
    printed = textures.printed(atlas, rng, lambda _: half)
    shown = [bool((one == torch.from_numpy(half)).all()) for one in printed[0]]
    assert 10 < sum(shown) < 50 and not any(shown[textures.index("grass", rng) // 4 * 4 :][:4])
    assert torch.equal(printed[3, shown.index(True)].unique(), torch.tensor([0.5]))
    views = [clip for seed in range(3) for clip in draw_views(seed, 2, 24, 32, printed)]
    assert len(views) >= 3 and views[0].rgb.shape == (1, 24, 32, 3)
    again = draw_views(0, 2, 24, 32, printed)
    assert torch.equal(again[0].rgb, views[0].rgb)
    assert not torch.equal(views[0].depth, views[1].depth)
