"""Scores over time, by poses, by flow and at edges: known answers, and a few lines of their own."""

import numpy as np
import pytest

from depthcrafter_cli.evaluation.alignment import AlignedFrame, Alignment, align_clip
from depthcrafter_cli.evaluation.consistency import (
    AlignmentError,
    BoundaryF1,
    Camera,
    TemporalGradient,
    WarpedError,
)

INTRINSICS = np.array([[40.0, 0, 31.5], [0, 40, 23.5], [0, 0, 1]])
SHAPE = (48, 64)


def frame(estimate, truth=None, valid=None):
    truth = estimate if truth is None else truth
    valid = np.ones(estimate.shape, bool) if valid is None else valid
    return AlignedFrame(np.asarray(estimate, float), np.asarray(truth, float), valid)


def camera(x=0.0, y=0.0, z=0.0):
    pose = np.eye(4)
    pose[:3, 3] = x, y, z
    return Camera(INTRINSICS, pose)


def tae(frames, cameras, **how):
    score = AlignmentError(**how)
    for each, seen in zip(frames, cameras, strict=True):
        score.add(each, seen)
    return score.value


def test_a_plane_that_the_camera_goes_towards_or_along_has_no_alignment_error():
    towards = [frame(np.full(SHAPE, 5.0 - 0.5 * step)) for step in range(4)]
    assert tae(towards, [camera(z=0.5 * step) for step in range(4)]) == pytest.approx(0, abs=1e-9)
    along = [frame(np.full(SHAPE, 5.0)) for _ in range(3)]
    assert tae(along, [camera(x=step) for step in range(3)]) == pytest.approx(0, abs=1e-9)


def test_flicker_of_a_plane_is_its_alignment_error():
    flickers = [frame(np.full(SHAPE, 5.0 * (1 + 0.1 * (step % 2)))) for step in range(3)]
    expected = 100 * np.mean([0.1 / 1.1, 0.1])  # of the one frame, and of the other
    assert tae(flickers, [camera()] * 3) == pytest.approx(expected, rel=1e-6)
    assert tae(flickers[:1], [camera()]) is None


def by_hand(one, other, seen, seeing, nearest_wins):
    """A loop over pixels: into space, into the other camera, and drawn where it falls."""
    drawn = np.zeros(one.shape)
    for row in range(one.shape[0]):
        for column in range(one.shape[1]):
            depth = one[row, column]
            point = np.array([
                (column - 31.5) / 40 * depth, (row - 23.5) / 40 * depth, depth, 1,
            ])  # fmt: skip
            x, y, z, _ = np.linalg.inv(seeing.pose) @ seen.pose @ point
            at = round(40 * y / z + 23.5), round(40 * x / z + 31.5)
            if z > 0 and 0 <= at[0] < one.shape[0] and 0 <= at[1] < one.shape[1]:
                nearer = drawn[at] == 0 or z < drawn[at]
                if nearer or not nearest_wins:
                    drawn[at] = z
    hit = drawn > 0
    return np.mean(np.abs(drawn - other)[hit] / other[hit])


@pytest.mark.parametrize("nearest_wins", [True, False])
def test_alignment_error_agrees_with_a_loop_over_pixels(nearest_wins):
    rng = np.random.default_rng(1)
    one, other = rng.uniform(2, 6, (2, *SHAPE))
    cameras = camera(), camera(0.31, 0.17, 0.4)
    expected = np.mean([
        by_hand(one, other, *cameras, nearest_wins),
        by_hand(other, one, *cameras[::-1], nearest_wins),
    ])  # fmt: skip
    found = tae([frame(one), frame(other)], cameras, nearest_wins=nearest_wins)
    assert found == pytest.approx(100 * expected, rel=1e-6)


def test_what_is_not_known_counts_for_no_alignment_error():
    holes = np.ones(SHAPE, bool)
    holes[:, 20:30] = False
    wrong = np.full(SHAPE, 5.0)
    wrong[:, 20:30] = 0.01
    frames = [frame(wrong, valid=holes), frame(wrong, valid=holes)]
    assert tae(frames, [camera(), camera()]) == pytest.approx(0, abs=1e-9)


def test_temporal_gradient_is_the_difference_of_changes_where_truth_stands_still():
    rng = np.random.default_rng(2)
    true, ours = rng.uniform(2, 9, (2, 3, *SHAPE))
    known = rng.uniform(size=(3, *SHAPE)) > 0.3
    score = TemporalGradient()
    for each in zip(ours, true, known, strict=True):
        score.add(frame(*each))
    pairs = []
    for at in (1, 2):
        change, moved = 1 / true[at] - 1 / true[at - 1], 1 / ours[at] - 1 / ours[at - 1]
        here = known[at] & known[at - 1] & (abs(change) < 0.05)
        pairs.append(abs(change - moved)[here].mean())
    assert score.value == pytest.approx(np.mean(pairs), rel=1e-9)
    steady = TemporalGradient()
    for each in true:
        steady.add(frame(each))
    assert steady.value == pytest.approx(0, abs=1e-12)


def edge(at):
    """A step from 2 to 4 m, before the column ``at``."""
    depth = np.full(SHAPE, 4.0)
    depth[:, :at] = 2.0
    return depth


def boundary(estimate, truth):
    score = BoundaryF1()
    score.add(frame(estimate, truth))
    return score.value


def test_boundaries_that_are_found_are_one_quarter_and_shifted_ones_none():
    # One of four directions has edges: recall and precision are means over the four.
    assert boundary(edge(30), edge(30)) == pytest.approx(0.25)
    assert boundary(edge(31), edge(30)) == 0
    half = edge(30)
    half[24:] = edge(31)[24:]
    half[24:, 30] = 2.0
    # Half of the edge is found, half of it lies beside, and a step between the two is new.
    assert boundary(half, edge(30)) == pytest.approx(0.125, abs=1e-9)
    assert boundary(edge(30), np.full(SHAPE, 4.0)) is None


def test_an_edge_counts_only_for_the_ratios_that_it_exceeds():
    ratios = np.linspace(1.05, 1.25, 10)
    truth = edge(30)
    weak = np.where(truth == 2, 2.0, 2.0 * 1.16)
    expected = 0.25 * ratios[ratios < 1.16].sum() / ratios.sum()
    assert boundary(weak, truth) == pytest.approx(expected)


def test_four_directions_of_a_square_are_found_whole():
    square = np.full(SHAPE, 4.0)
    square[10:30, 20:40] = 2.0
    assert boundary(square, square) == pytest.approx(1)


def test_warped_error_is_what_depth_changes_along_the_motion():
    pytest.importorskip("cv2")
    rng = np.random.default_rng(3)
    wide = np.kron(rng.integers(0, 255, (12, 24, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    deep = np.repeat(np.linspace(2, 6, 192)[None], 96, 0)
    steps = [slice(2 * step, 2 * step + 96) for step in range(4)]
    follows, stays = WarpedError(), WarpedError()
    for at, part in enumerate(steps):
        follows.add(frame(deep[:, part]), wide[:, part])
        stays.add(frame(deep[:, steps[0]] * (1 + 0.2 * (at % 2))), wide[:, part])
    assert follows.value < 0.01
    assert 0.1 < stays.value < 0.3


def aligned(pred, depth, **how):
    clip = align_clip(pred, depth, max_depth=20, alignment=Alignment(**how))
    return clip.scale, clip.shift


def test_what_is_fitted_may_be_a_scale_alone_or_nothing():
    rng = np.random.default_rng(4)
    depth = rng.uniform(1, 9, (2, 12, 12))
    inverse = 1 / depth
    noisy = 0.5 * inverse + 0.2 + 0.01 * rng.standard_normal(depth.shape)
    scale = (noisy.ravel() @ inverse.ravel()) / (noisy.ravel() @ noisy.ravel())
    assert aligned(noisy, depth, by="scale") == pytest.approx((scale, 0), rel=1e-5)
    assert aligned(noisy, depth, by="none") == (1, 0)
    ratio, weight = (inverse / noisy).ravel(), noisy.ravel()
    order = np.argsort(ratio)
    middle = np.searchsorted(np.cumsum(weight[order]), weight.sum() / 2)
    found = aligned(noisy, depth, by="scale", loss="absolute")
    assert found[0] == pytest.approx(ratio[order][middle], rel=1e-3) and found[1] == 0


def test_least_absolute_deviations_are_not_swayed_by_a_fifth_of_wrong_pixels():
    rng = np.random.default_rng(5)
    depth = rng.uniform(1, 9, (2, 20, 20))
    pred = (1 / depth - 0.05) / 0.8
    pred[:, :4] = rng.uniform(0.3, 1, (2, 4, 20))
    assert aligned(pred, depth, loss="absolute") == pytest.approx((0.8, 0.05), abs=1e-4)
    assert abs(aligned(pred, depth)[0] - 0.8) > 0.1
