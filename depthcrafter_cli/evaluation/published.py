"""Rows of published tables, to print beside a user's own."""

from collections.abc import Mapping
from typing import NamedTuple


class PublishedRow(NamedTuple):
    """What a method has on a set: AbsRel and delta1, or TAE in percent."""

    method: str
    scores: Mapping[str, float]


SOURCE = "arXiv 2409.02095, table 1; 500 frames and TAE: arXiv 2501.12375, table 1"
_SETS = ("sintel", "scannet", "kitti", "bonn", "nyuv2")
_Row = tuple[tuple[float, float] | None, ...]
_ROWS: dict[str, _Row] = {
    "DepthCrafter": (
        (0.270, 0.697), (0.123, 0.856), (0.104, 0.896), (0.071, 0.972), (0.072, 0.948),
    ),
    "Depth-Anything-V2-L": (
        (0.367, 0.554), (0.135, 0.822), (0.140, 0.804), (0.106, 0.921), (0.043, 0.978),
    ),
    "Depth-Anything-L": ((0.325, 0.564), (0.130, 0.838), (0.142, 0.803), (0.078, 0.939), None),
    "Marigold": ((0.532, 0.515), (0.166, 0.769), (0.149, 0.796), (0.091, 0.931), None),
    "NVDS": ((0.408, 0.483), (0.187, 0.677), (0.253, 0.588), (0.167, 0.766), None),
    "ChronoDepth": ((0.587, 0.486), (0.159, 0.783), (0.167, 0.759), (0.100, 0.911), None),
}  # fmt: skip
_LONG_ROWS: dict[str, _Row] = {
    "DepthCrafter": (
        (0.299, 0.695), (0.169, 0.730), (0.164, 0.753), (0.153, 0.803), (0.141, 0.822),
    ),
    "Video Depth Anything L": (
        (0.295, 0.644), (0.089, 0.926), (0.083, 0.944), (0.071, 0.959), (0.062, 0.971),
    ),
    "Depth-Anything-V2-L": (
        (0.390, 0.541), (0.150, 0.768), (0.137, 0.815), (0.127, 0.864), (0.094, 0.928),
    ),
}  # fmt: skip
_TAE = {
    "DepthCrafter": 0.639, "Video Depth Anything L": 0.570, "Depth-Anything-V2-L": 1.140,
    "ChronoDepth": 1.022, "NVDS": 2.176,
}  # fmt: skip
"""Of 20 scenes of ScanNet, frames 10 to 180, which are a set of their own."""


def published_rows(dataset: str, *, long: bool = False) -> list[PublishedRow]:
    """Return the rows of a set, or of its list of 500 frames; none for one that no table has."""
    if dataset == "scannet-tae":
        return [PublishedRow(method, {"tae": score}) for method, score in _TAE.items()]
    if dataset not in _SETS:
        return []
    found = []
    for method, row in (_LONG_ROWS if long else _ROWS).items():
        scores = row[_SETS.index(dataset)]
        if scores is not None:
            known = dict(zip(("abs_rel", "delta1"), scores, strict=True))
            found.append(PublishedRow(method, known))
    return found
