"""How a picture moved: optical flow, for measures that follow what is seen."""

import importlib
import importlib.util
from typing import Any

import numpy as np
import numpy.typing as npt

from depthcrafter_cli.errors import UsageError
from depthcrafter_cli.evaluation.alignment import Mask
from depthcrafter_cli.types import Disparity, RgbImage

Flow = npt.NDArray[np.float32]  # [H, W, 2]: columns and rows to where a pixel was

_APART = 1.0  # pixels that the ways there and back may differ
_MISSING = (
    "optical flow needs the package opencv-python-headless, which is not installed, expected it "
    'beside depthcrafter: pip install "depthcrafter[flow]".'
)


def flow_is_there() -> bool:
    """Whether optical flow can be computed here: OpenCV is an extra."""
    return importlib.util.find_spec("cv2") is not None


def require_flow() -> None:
    """Raises UsageError where optical flow cannot be computed."""
    if not flow_is_there():
        raise UsageError(_MISSING)


def _opencv() -> Any:
    require_flow()
    return importlib.import_module("cv2")


def flow_back(now: RgbImage, before: RgbImage) -> tuple[Flow, Mask]:
    """Where each pixel of ``now`` was in ``before``, and of which pixels that is trusted.

    Both are uint8 [H, W, 3]. A pixel is trusted whose way there and back ends where it began, and
    whose place is inside the picture: others are covered in one of them. Raises UsageError where
    OpenCV is not installed.
    """
    cv2 = _opencv()
    one, other = (cv2.cvtColor(each, cv2.COLOR_RGB2GRAY) for each in (now, before))
    search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    back, forth = search.calc(one, other, None), search.calc(other, one, None)
    apart = np.linalg.norm(back + _sampled(forth, back), axis=-1)
    height, width = one.shape
    columns, rows = _places(back)
    inside = (columns >= 0) & (columns <= width - 1) & (rows >= 0) & (rows <= height - 1)
    return back, (apart < _APART) & inside


def warped(before: Disparity, flow: Flow) -> Disparity:
    """A map [H, W] of the frame before, moved to where its pixels are now, bilinear."""
    moved: Disparity = _sampled(before, flow)
    return moved


def _places(flow: Flow) -> tuple[Disparity, Disparity]:
    height, width = flow.shape[:2]
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    return columns + flow[..., 0], rows + flow[..., 1]


def _sampled(values: npt.NDArray[np.float32], flow: Flow) -> npt.NDArray[np.float32]:
    cv2 = _opencv()
    columns, rows = _places(flow)
    found: npt.NDArray[np.float32] = cv2.remap(
        values, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return found
