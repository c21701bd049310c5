"""Colours against the reference and against matplotlib itself."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib import colormaps

from depthcrafter_cli.depth.colorize import check_colormap, colorize
from depthcrafter_cli.errors import UsageError


def test_inferno_equals_the_reference():
    with np.load(Path(__file__).parents[1] / "data" / "vis.npz") as reference:
        ours = colorize(reference["depth"], "inferno", dither=False)
        assert np.abs(ours / 255 - reference["vis"]).max() <= 0.5 / 255 + 1e-6


@pytest.mark.parametrize("name", ["gray", "turbo", "Spectral", "tab10"])
def test_any_colormap_in_256_steps(name):
    levels = np.arange(256, dtype=np.float32).reshape(16, 16) / 255
    expected = np.asarray(colormaps[name](np.arange(256) / 255))[:, :3].reshape(16, 16, 3)
    colours = colorize(levels, name)
    assert colours.dtype == np.uint8 and colours.shape == (16, 16, 3)
    assert np.abs(colours / 255 - expected).max() <= 0.5 / 255 + 1e-6


@pytest.mark.parametrize("value", [0, 0.1, 1 / 3, 0.5, 0.999, 1])
def test_the_mean_of_few_levels_is_the_value(value):
    levels = colorize(np.full((2, 40, 40), value, np.float32), "gray")[..., 0]
    assert abs(levels.mean() - 255 * value) <= 1 / 128
    assert np.ptp(levels) <= 1 and (levels[0] == levels[1]).all()


def test_shapes_of_any_depth():
    assert colorize(np.zeros((2, 3, 4, 5), dtype=np.float32), "gray").shape == (2, 3, 4, 5, 3)


def test_unknown_colormaps_name_their_neighbours():
    with pytest.raises(UsageError, match="inferno"):
        check_colormap("infernoo")
    with pytest.raises(UsageError, match="turbo"):
        colorize(np.zeros((1, 1), dtype=np.float32), "no such map")
