"""Normalised disparity as colours, with any matplotlib colormap."""

import difflib
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from depthcrafter_cli.errors import UsageError
from depthcrafter_cli.types import Disparity

_ENTRIES = 256


def check_colormap(name: str) -> None:
    """Raises UsageError with the nearest names for a colormap that matplotlib does not have."""
    from matplotlib import colormaps

    if name in colormaps:
        return
    near = difflib.get_close_matches(name, list(colormaps), n=3) or ["inferno", "gray", "turbo"]
    raise UsageError(
        f"There is no colormap {name!r}, expected one of matplotlib's such as "
        f"{', '.join(near)}: correct --colormap."
    )


@lru_cache(maxsize=8)
def _table(name: str) -> npt.NDArray[np.uint8]:
    """The colormap's 256 colours, [256, 3]."""
    check_colormap(name)
    from matplotlib import colormaps

    levels = np.linspace(0.0, 1.0, _ENTRIES)
    return np.rint(np.asarray(colormaps[name](levels))[:, :3] * 255).astype(np.uint8)


def colorize(normalized: Disparity, colormap: str) -> npt.NDArray[np.uint8]:
    """Colours uint8 [..., H, W, 3] of disparity in [0, 1], float32 [..., H, W].

    The table index is ``normalized * 255`` truncated, as the reference does.
    Raises UsageError for an unknown colormap.
    """
    index = (normalized * np.float32(_ENTRIES - 1)).astype(np.uint8)
    return _table(colormap).take(index, axis=0)
