"""Scores of a clip beyond the pixel metrics: over time, by flow, by poses, and at edges.

Each takes aligned frames one after the other, and has a ``value`` in the end: None where it could
not be measured.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from depthcrafter_cli.evaluation.alignment import AlignedClip, AlignedFrame, Float64, Mask
from depthcrafter_cli.evaluation.flow import flow_back, warped
from depthcrafter_cli.types import RgbImage

_STILL = 0.05  # in inverse units of depth: what changes more is another thing at that pixel
_RATIOS = np.linspace(1.05, 1.25, 10)  # of depth on both sides of an edge


@dataclass(frozen=True)
class Camera:
    """A pinhole camera: ``intrinsics`` [3, 3] in pixels, ``pose`` [4, 4] from camera to world."""

    intrinsics: Float64
    pose: Float64


@dataclass(frozen=True)
class Consistency:
    """The scores of a clip beyond its pixel metrics; None where one could not be measured.

    ``tae`` is in percent; ``by_frame`` has the AbsRel of each frame of the clip, fitted as a whole.
    """

    tae: float | None = None
    opw: float | None = None
    tgm: float | None = None
    boundary_f1: float | None = None
    by_frame: tuple[float | None, ...] = ()


def consistency_of(
    clip: AlignedClip,
    camera: Callable[[int], Camera | None] | None = None,
    pictures: Iterator[RgbImage] | None = None,
) -> Consistency:
    """Measure a clip in one pass; ``camera`` gives that of a frame, ``pictures`` are at its size.

    Raises UsageError for pictures where OpenCV is not installed.
    """
    tae, opw, tgm, edges = AlignmentError(), WarpedError(), TemporalGradient(), BoundaryF1()
    by_frame: list[float | None] = []
    for index, frame in enumerate(clip):
        if camera is not None:
            tae.add(frame, camera(index))
        if pictures is not None:
            opw.add(frame, next(pictures))
        tgm.add(frame)
        edges.add(frame)
        own, true = frame.estimate[frame.valid], frame.truth[frame.valid]
        by_frame.append(float((np.abs(own - true) / true).mean()) if own.size else None)
    return Consistency(tae.value, opw.value, tgm.value, edges.value, tuple(by_frame))


class _Mean:
    """A mean of numbers that come one after the other."""

    def __init__(self) -> None:
        self._sum, self._count = 0.0, 0

    def take(self, value: float) -> None:
        self._sum, self._count = self._sum + value, self._count + 1

    @property
    def value(self) -> float | None:
        return self._sum / self._count if self._count else None


class TemporalGradient(_Mean):
    """TGM: how far the change of disparity from frame to frame is from the true one.

    A mean over pixels known in both frames whose true disparity changes by less than 0.05 in the
    inverse unit of depth, then over pairs of frames (Chen et al. 2025, Video Depth Anything).
    """

    def __init__(self) -> None:
        super().__init__()
        self._before: AlignedFrame | None = None

    def add(self, frame: AlignedFrame) -> None:
        """Take the next frame."""
        before, self._before = self._before, frame
        if before is None:
            return
        both = frame.valid & before.valid
        true = 1 / frame.truth[both] - 1 / before.truth[both]
        ours = 1 / frame.estimate[both] - 1 / before.estimate[both]
        still = np.abs(true) < _STILL
        if still.any():
            self.take(float(np.abs(ours - true)[still].mean()))


class WarpedError(_Mean):
    """OPW: how much depth changes along the flow of the picture, relative to depth.

    A mean over pixels that are seen in both frames, then over pairs of frames; true motion towards
    the camera counts, as for all methods alike (after Wang et al. 2023, NVDS).
    """

    def __init__(self) -> None:
        super().__init__()
        self._before: tuple[AlignedFrame, RgbImage] | None = None

    def add(self, frame: AlignedFrame, picture: RgbImage) -> None:
        """Take the next frame, with its picture uint8 [H, W, 3]."""
        before, self._before = self._before, (frame, picture)
        if before is None:
            return
        way, trusted = flow_back(picture, before[1])
        moved = warped(before[0].estimate.astype(np.float32), way)
        if trusted.any():
            apart = np.abs(moved - frame.estimate) / frame.estimate
            self.take(float(apart[trusted].mean()))


class AlignmentError:
    """TAE: how far depth is from that of the frame next to it, moved by the true poses, in %.

    Each frame's points are moved into the next one's camera, and back, and drawn where they fall,
    the nearest last; the mean of |moved - own| / own over pixels that are hit, then over both ways
    and all pairs (Yang et al. 2024, Depth Any Video). ``nearest_wins`` off leaves the last point
    drawn, as the published numbers have it.
    """

    def __init__(self, *, nearest_wins: bool = True) -> None:
        self._mean = _Mean()
        self._nearest_wins = nearest_wins
        self._before: tuple[AlignedFrame, Camera] | None = None

    def add(self, frame: AlignedFrame, camera: Camera | None) -> None:
        """Take the next frame, with its camera; None where that is not known."""
        before, self._before = self._before, None if camera is None else (frame, camera)
        if before is None or camera is None:
            return
        for (one, seen), (other, seeing) in (
            (before, (frame, camera)),
            ((frame, camera), before),
        ):
            drawn = moved_depth(one.estimate, one.valid, seen, seeing, self._nearest_wins)
            hit = (drawn > 0) & other.valid
            if hit.any():
                own = other.estimate[hit]
                self._mean.take(float((np.abs(drawn[hit] - own) / own).mean()))

    @property
    def value(self) -> float | None:
        """The score, in percent."""
        mean = self._mean.value
        return None if mean is None else 100 * mean


def moved_depth(
    depth: Float64, valid: Mask, seen: Camera, seeing: Camera, nearest_wins: bool = True
) -> Float64:
    """Depth [H, W] of one camera as another sees it, by its own pixels; 0 where nothing falls."""
    rows, columns = np.nonzero(valid)
    rays = np.linalg.inv(seen.intrinsics) @ np.stack([columns, rows, np.ones(len(rows))])
    points = np.vstack([rays * depth[rows, columns], np.ones(len(rows))])
    there = (np.linalg.inv(seeing.pose) @ seen.pose @ points)[:3]
    ahead = there[2] > 0
    far = there[2][ahead]
    across, down, _ = np.rint(seeing.intrinsics @ there[:, ahead] / far).astype(np.int64)
    height, width = depth.shape
    inside = (across >= 0) & (across < width) & (down >= 0) & (down < height)
    across, down, far = across[inside], down[inside], far[inside]
    if nearest_wins:
        order = np.argsort(-far, kind="stable")
        across, down, far = across[order], down[order], far[order]
    drawn = np.zeros(depth.shape)
    drawn[down, across] = far
    return drawn


class BoundaryF1(_Mean):
    """How well edges of depth are where they are in truth, 1 at best.

    An edge is where depth grows by a ratio from one pixel to the next, in four directions; the F1
    of recall and precision, each a mean over the directions, is averaged over ten ratios from 1.05
    to 1.25 with the ratios as weights (Bochkovskii et al. 2024, Depth Pro), then over frames that
    have an edge in truth.
    """

    def add(self, frame: AlignedFrame) -> None:
        """Take the next frame."""
        estimate, truth = (_steps(each, frame.valid) for each in (frame.estimate, frame.truth))
        scores = [_f1(estimate, truth, ratio) for ratio in _RATIOS]
        if any(score is not None for score in scores):
            known = [0.0 if score is None else score for score in scores]
            self.take(float(np.average(known, weights=_RATIOS)))


def _steps(depth: Float64, valid: Mask) -> list[Float64]:
    """The ratio of each pixel's depth to that of its neighbour, to the right and down.

    It is 1 where one of them is not known.
    """
    ratios: list[Float64] = []
    for axis in (1, 0):
        count = depth.shape[axis]
        one, next_one = (np.arange(first, first + count - 1) for first in (0, 1))
        known = valid.take(one, axis) & valid.take(next_one, axis)
        ratio = depth.take(next_one, axis) / depth.take(one, axis)
        ratios.append(np.where(known, ratio, 1.0))
    return ratios


def _f1(estimate: Sequence[Float64], truth: Sequence[Float64], ratio: float) -> float | None:
    """F1 of edges with at least this ratio; None where truth has none."""
    recalls, precisions, most = list[float](), list[float](), 0
    for ours, true in zip(estimate, truth, strict=True):
        for up in (True, False):
            found, wanted = (_edges(each, ratio, up) for each in (ours, true))
            both, there = int(np.count_nonzero(found & wanted)), int(np.count_nonzero(wanted))
            recalls.append(both / max(there, 1))
            precisions.append(both / max(int(np.count_nonzero(found)), 1))
            most = max(most, there)
    if not most:
        return None
    recall, precision = float(np.mean(recalls)), float(np.mean(precisions))
    return 2 * recall * precision / (recall + precision) if recall + precision else 0.0


def _edges(steps: Float64, ratio: float, up: bool) -> npt.NDArray[np.bool_]:
    return steps > ratio if up else steps < 1 / ratio
