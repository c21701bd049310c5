"""Colours against the reference and against matplotlib itself."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib import colormaps

from depthcrafter_cli.depth.colorize import check_colormap, colorize
from depthcrafter_cli.errors import UsageError


def test_inferno_equals_the_reference():
    with np.load(Path(__file__).parents[1] / "data" / "vis.npz") as reference:
        ours = colorize(reference["depth"], "inferno")
        assert np.abs(ours / 255 - reference["vis"]).max() <= 0.5 / 255 + 1e-6


@pytest.mark.parametrize("name", ["gray", "turbo", "Spectral", "tab10"])
def test_any_colormap_in_256_steps(name):
    levels = np.arange(256, dtype=np.float32).reshape(16, 16) / 255
    expected = np.asarray(colormaps[name](np.arange(256) / 255))[:, :3].reshape(16, 16, 3)
    colours = colorize(levels, name)
    assert colours.dtype == np.uint8 and colours.shape == (16, 16, 3)
    # The index is truncated, so k / 255 may fall one step lower in float32.
    steps = np.abs(np.diff(expected.reshape(-1, 3), axis=0)).max()
    assert np.abs(colours / 255 - expected).max() <= steps + 0.5 / 255


def test_shapes_of_any_depth():
    assert colorize(np.zeros((2, 3, 4, 5), dtype=np.float32), "gray").shape == (2, 3, 4, 5, 3)


def test_unknown_colormaps_name_their_neighbours():
    with pytest.raises(UsageError, match="inferno"):
        check_colormap("infernoo")
    with pytest.raises(UsageError, match="turbo"):
        colorize(np.zeros((1, 1), dtype=np.float32), "no such map")
