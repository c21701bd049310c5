"""Normalised disparity as colours, with any matplotlib colormap."""

import difflib
import importlib.util
import logging
import os
import sys
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from types import ModuleType

import numpy as np
import numpy.typing as npt

from depthcrafter_cli.depth.dither import dithered
from depthcrafter_cli.errors import UsageError
from depthcrafter_cli.types import Disparity

_ENTRIES = 256


@lru_cache(maxsize=1)
def own_matplotlib() -> ModuleType:
    """matplotlib, imported without what a notebook, a user or a folder has set for it.

    A backend that is missing here, or a broken ``matplotlibrc``, would end its import. One that
    is imported already is taken as it is.
    """
    if "matplotlib" in sys.modules:
        return importlib.import_module("matplotlib")
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # of folders it cannot write to
    place = importlib.util.find_spec("matplotlib")
    own_settings = Path(str(place and place.origin)).parent / "mpl-data" / "matplotlibrc"
    hidden = {"MPLBACKEND": None, "MATPLOTLIBRC": str(own_settings)}
    before = {name: os.environ.get(name) for name in hidden}
    here = Path.cwd() if Path("matplotlibrc").exists() else None
    _set_variables(hidden)
    try:
        if here is not None:
            os.chdir(own_settings.parent)  # it reads one in the current folder before all others
        return importlib.import_module("matplotlib")
    finally:
        if here is not None:
            os.chdir(here)
        _set_variables(before)


def _set_variables(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def check_colormap(name: str) -> None:
    """Raises UsageError with the nearest names for a colormap that matplotlib does not have."""
    colormaps = own_matplotlib().colormaps
    if name in colormaps:
        return
    near = difflib.get_close_matches(name, list(colormaps), n=3) or ["inferno", "gray", "turbo"]
    raise UsageError(
        f"There is no colormap {name!r}, expected one of matplotlib's such as "
        f"{', '.join(near)}: correct `colormap`."
    )


@lru_cache(maxsize=8)
def table_of(name: str) -> npt.NDArray[np.uint8]:
    """Return the colormap's 256 colours, uint8 [256, 3]. Raises UsageError for an unknown one."""
    check_colormap(name)
    levels = np.linspace(0.0, 1.0, _ENTRIES)
    colours = own_matplotlib().colormaps[name](levels)
    table: npt.NDArray[np.uint8] = np.rint(np.asarray(colours)[:, :3] * 255).astype(np.uint8)
    return table


def colorize(normalized: Disparity, colormap: str, *, dither: bool = True) -> npt.NDArray[np.uint8]:
    """Colours uint8 [..., H, W, 3] of disparity in [0, 1], as :func:`opaque_colours` has them."""
    return opaque_colours(normalized, colormap, dither=dither)[..., :3]


def opaque_colours(normalized: Disparity, colormap: str, *, dither: bool) -> npt.NDArray[np.uint8]:
    """Colours uint8 [..., H, W, 4] of disparity in [0, 1], float32 [..., H, W]; the last is 255.

    Pixels of four bytes are looked up, and read by FFmpeg, in half the time of three. Without
    ``dither`` the table index is ``normalized * 255`` truncated, as the reference does. Raises
    UsageError for an unknown colormap.
    """
    scaled: Disparity = normalized * np.float32(_ENTRIES - 1)
    index = dithered(scaled) if dither else scaled.astype(np.uint8)
    opaque = np.insert(table_of(colormap), 3, 255, axis=1).view(np.uint32)[:, 0]
    return opaque.take(index)[..., None].view(np.uint8)


def depth_of_colours(name: str) -> Callable[[npt.NDArray[np.uint8]], Disparity]:
    """What reads depth in [0, 1] back from colours uint8 [H, W, 3] of a colormap, roughly.

    Each colour is that of the nearest entry; 6 bits of a channel are looked at. Raises UsageError
    for an unknown colormap.
    """
    table = table_of(name).astype(np.float32)
    known = np.full(1 << 18, -1, np.int16)  # the entry by colour

    def back(rgb: npt.NDArray[np.uint8]) -> Disparity:
        codes = (rgb >> 2).astype(np.int32) @ np.array([1 << 12, 1 << 6, 1])
        new = np.unique(codes)
        new = new[known[new] < 0]
        for part in np.array_split(new, len(new) // 4096 + 1):
            colours = np.stack([part >> 12, part >> 6 & 63, part & 63], 1) * np.float32(4) + 1.5
            apart = ((colours[:, None] - table) ** 2).sum(-1)
            known[part] = apart.argmin(1)
        depth: Disparity = known[codes].astype(np.float32) / np.float32(_ENTRIES - 1)
        return depth

    return back
