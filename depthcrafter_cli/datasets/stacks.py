"""Single frames by the thousand, stacked in arrays: what a renderer hands over fast.

A stack is a folder NAME with ``rgb.npy``, uint8 [N, H, W, 3], and ``disparity.npy`` [N, H, W],
inverse depth of any unit a frame, 0 infinitely far and negative unknown. Nothing is read but what
is asked for.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from depthcrafter_cli.datasets.clip import Sample, Shape
from depthcrafter_cli.errors import InputError

RGB, DISPARITY = "rgb.npy", "disparity.npy"


class StackedFrames:
    """The frames of all stacks in a folder, in the order of their names, each a clip of one frame.

    Raises:
        InputError: there is no stack whose arrays can be read and fit each other.
    """

    def __init__(self, root: Path) -> None:
        homes = sorted(path.parent for path in root.glob(f"*/{RGB}"))
        if not homes:
            raise InputError(
                f"got no NAME/{RGB} in {root}, expected stacks of frames: check the source's path."
            )
        self.rejected: dict[str, str] = {}
        self._homes, self._stacks = [], []
        for home in homes:
            try:
                self._stacks.append(_opened(home))
                self._homes.append(home)
            except InputError as error:
                self.rejected[home.name] = str(error)
        if not self._stacks:
            raise InputError(next(iter(self.rejected.values())))
        self._ends = [*accumulate(len(rgb) for rgb, _ in self._stacks)]
        self._versions = [f"{(home / DISPARITY).stat().st_mtime_ns:x}" for home in self._homes]

    def __len__(self) -> int:
        return self._ends[-1]

    def shape(self, index: int) -> Shape:
        stack, _ = self._found(index)
        _, height, width, _ = self._stacks[stack][0].shape
        return 1, height, width

    def name(self, index: int) -> str:
        stack, number = self._found(index)
        return f"{self._homes[stack].name}, frame {number}"

    def version(self, index: int) -> str:
        return self._versions[self._found(index)[0]]

    def read(self, index: int, frames: range, place: float = 0.5) -> Sample:
        stack, number = self._found(index)
        rgb, disparity = (np.array(part[number : number + 1]) for part in self._stacks[stack])
        known = torch.from_numpy(disparity.astype(np.float32))
        return Sample(torch.from_numpy(rgb), known.clamp_min(0), known >= 0).part(frames)

    def _found(self, index: int) -> tuple[int, int]:
        """The stack of a frame, and the frame's number in it."""
        stack = bisect_right(self._ends, index)
        return stack, index - (self._ends[stack - 1] if stack else 0)


def _opened(home: Path) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    try:
        rgb, disparity = (np.load(home / name, mmap_mode="r") for name in (RGB, DISPARITY))
    except (OSError, ValueError) as error:
        raise InputError(
            f"got a stack {home} that cannot be read ({error}), expected {RGB} and {DISPARITY}: "
            "write it anew, or take it away."
        ) from error
    fits = rgb.ndim == 4 and rgb.shape[3] == 3 and rgb.shape[:3] == disparity.shape
    if not (fits and len(rgb) and rgb.dtype == np.uint8):
        raise InputError(
            f"got a stack {home} of {rgb.dtype} {list(rgb.shape)} and {list(disparity.shape)}, "
            f"expected {RGB} as uint8 [N, H, W, 3] and {DISPARITY} as [N, H, W]: write it anew."
        )
    return rgb, disparity
