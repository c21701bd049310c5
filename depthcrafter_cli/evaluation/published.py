"""Rows of a published table, to print beside a user's own: AbsRel and delta1 of 110-frame lists."""

from typing import NamedTuple


class PublishedRow(NamedTuple):
    """The AbsRel and the delta1 of a method on a set."""

    method: str
    abs_rel: float
    delta1: float


SOURCE = "arXiv 2409.02095, table 1"
_SETS = ("sintel", "scannet", "kitti", "bonn", "nyuv2")
_ROWS: dict[str, tuple[tuple[float, float] | None, ...]] = {
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


def published_rows(dataset: str) -> list[PublishedRow]:
    """Return the rows of a set; none for one that no table has."""
    if dataset not in _SETS:
        return []
    column = _SETS.index(dataset)
    found = ((method, row[column]) for method, row in _ROWS.items())
    return [PublishedRow(method, *scores) for method, scores in found if scores is not None]
