"""Disparity that is enlarged by the colours of its picture."""

import av
import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate, max_pool2d

from depthcrafter_cli.datasets.generated import HELD_OUT
from depthcrafter_cli.media.scale import resize_disparity
from depthcrafter_cli.models.upsample import upsample_by_edges
from depthcrafter_cli.synthetic import draw_clip
from depthcrafter_cli.types import Size

SIZE = Size(96, 128)


def near_jumps(disparity):
    """Within 3 pixels of a jump of more than 0.05."""
    grid = torch.from_numpy(disparity)[None, None]
    return (max_pool2d(grid, 7, 1, 3) + max_pool2d(-grid, 7, 1, 3))[0, 0].numpy() > 0.05


@pytest.mark.parametrize("times", [2, 4])
def test_edges_are_nearer_to_the_true_ones_than_by_bilinear_enlarging(times):
    errors = []
    for seed in (51, 54, 55, 56):
        clip = draw_clip(HELD_OUT + seed, 1, SIZE.height, SIZE.width)
        true = 1 / clip.depth[0].clamp_min(0.05).numpy()
        true = (true / np.quantile(true, 0.995)).astype(np.float32)
        small = (SIZE.height // times, SIZE.width // times)
        shrunk = interpolate(torch.from_numpy(true)[None, None], size=small, mode="area")[0, 0]
        edges, made = near_jumps(true), upsample_by_edges(shrunk.numpy(), clip.rgb[0].numpy())
        assert shrunk.min() - 1e-5 <= made.min() and made.max() <= shrunk.max() + 1e-5
        plain = resize_disparity(shrunk.numpy(), SIZE)
        errors.append([np.abs(each - true)[edges].mean() for each in (plain, made)])
    plain, made = np.mean(errors, axis=0)
    assert made < 0.85 * plain


def test_a_run_enlarges_by_edges_where_that_is_asked(cli, clip, tmp_path):
    asked = ("run", clip, "--method", "trivial-gradient", "--no-record", "--max-frames", "2")
    sizes = ("--size", "160x128", "--colormap", "gray")
    for out, how in (("a.npz", "bilinear"), ("b.npz", "edges")):
        done = cli(*asked, *sizes, "--upsample", how, "--out", tmp_path / out)
        assert done.code == 0, done.err
    plain, made = (np.load(tmp_path / name)["depth"] for name in ("a.npz", "b.npz"))
    assert plain.shape == made.shape == (2, 128, 160)
    assert 0 < np.abs(plain - made).max() < 0.05
    small = cli(*asked, "--size", "32x32", "--upsample", "edges", "--out", tmp_path / "c.mp4")
    assert small.code == 0, small.err
    with av.open(str(tmp_path / "c.mp4")) as container:
        assert container.streams.video[0].width == 32
