"""Scales and shifts of windows are found again from what the windows share."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from depthcrafter_cli.depth.align import Overlap, Pair, align, fit_windows
from depthcrafter_cli.pipeline.stitch import stitch

WINDOW, SHARED, COUNT = 8, 3, 6
STEP = WINDOW - SHARED
TRUE = np.random.default_rng(0).uniform(0.1, 0.9, (STEP * COUNT + SHARED, 8, 9))
SCALES = np.array([1.0, 1.4, 0.8, 1.1, 0.9, 1.3])
SHIFTS = np.array([0.0, 0.05, -0.05, 0.1, 0.02, -0.02])


def seen(index, true=TRUE):
    """What a window makes of its frames: steady disparity is scale * seen + shift."""
    return (true[index * STEP :][:WINDOW] - SHIFTS[index]) / SCALES[index]


def overlaps(windows):
    for index, (old, new) in enumerate(pairwise(windows), 1):
        start = index * STEP
        frames = tuple(range(start, start + SHARED))
        yield Overlap(start, frames, old[-SHARED:], new[:SHARED])


def stitched(windows):
    parts, kept = [], None
    for window in windows:
        joined = stitch(torch.from_numpy(window)[:, None], kept)
        parts.append(joined[:STEP])
        kept = joined[STEP:]
    return torch.cat([*parts, kept])[:, 0].numpy()


def error(disparity):
    """The largest after the best scale and shift of all frames together."""
    known = np.stack([disparity.ravel(), np.ones(disparity.size)], axis=1)
    found, *_ = np.linalg.lstsq(known, TRUE.ravel(), rcond=None)
    return np.abs(known @ found - TRUE.ravel()).max()


def pair_of(first, second, p, q):
    """A pair whose samples are all of one part."""
    return Pair(first, second, p, q, np.zeros((2, len(p)), int))


def test_windows_of_other_scales_and_shifts_become_one_steady_shot():
    windows = [seen(index) for index in range(COUNT)]
    found, shot = align(overlaps(windows), len(TRUE)), stitched(windows)
    steady = np.stack([found(frame, each) for frame, each in enumerate(shot)])
    assert error(shot) > 0.1 and error(steady) < 1e-4
    assert found.seams.windows == COUNT and found.seams.before > 0.1 and found.seams.after < 1e-4


def alike(count):
    """Windows that see the same, but that each part of the picture errs by itself at each seam."""
    rng = np.random.default_rng(0)
    for start in range(STEP, count * STEP, STEP):
        first = rng.uniform(0.1, 0.9, (SHARED, 16, 16))
        errors = rng.normal(0, 0.02, (4, 4)).repeat(4, 0).repeat(4, 1)
        yield Overlap(start, tuple(range(start, start + SHARED)), first, first + errors)


def test_what_seams_err_by_does_not_add_up_over_many_windows():
    kept = list(alike(60))
    added_up = np.cumsum([(each.second - each.first).mean() for each in kept])
    assert np.ptp(added_up) > 0.03
    maps = align(kept, STEP * 60 + SHARED).maps
    assert np.ptp(0.5 * maps[:, 0] + maps[:, 1]) < np.ptp(added_up) / 3


@pytest.mark.parametrize("noise", [0, 1e-3])
@pytest.mark.parametrize("wrong", ["constant", "off", "anything", "inverted"])
def test_a_third_of_the_pixels_may_be_wrong_where_least_squares_fail(wrong, noise):
    rng = np.random.default_rng(2)
    p = rng.uniform(0.1, 0.9, 3000)
    q = (p - 0.05) / 1.4
    third = q[:1000]
    third[:] = {
        "constant": 0.95, "off": third + 0.4, "anything": rng.uniform(0, 1, 1000),
        "inverted": 1 - third,
    }[wrong]  # fmt: skip
    pair = pair_of(0, 1, p + rng.normal(0, noise, 3000), q + rng.normal(0, noise, 3000))
    ratios = [np.divide(*fit_windows([pair], 2, robust=each)[::-1, 0]) for each in (True, False)]
    assert ratios[0] == pytest.approx(1.4, rel=2e-3) and ratios[1] < 1.3


def test_the_middle_window_keeps_its_scale_and_its_shift():
    pairs = [
        pair_of(0, 1, TRUE[0].ravel(), TRUE[0].ravel() / 2),
        pair_of(1, 2, TRUE[1].ravel(), TRUE[1].ravel() / 2),
    ]
    maps = fit_windows(pairs, 3)
    assert maps[:, 0] == pytest.approx([0.5, 1, 2], rel=1e-3)
    assert np.median(maps[:, 1]) == 0


def test_a_window_that_something_near_has_left_may_have_many_times_the_scale():
    pair = pair_of(0, 1, TRUE[0].ravel(), 9 * TRUE[0].ravel() - 0.8)
    assert np.divide(*fit_windows([pair], 2)[:, 0]) == pytest.approx(9, rel=1e-3)


def test_flat_or_contradicting_overlaps_tell_a_shift_and_no_scale():
    noise = np.random.default_rng(1).normal(0, 1e-3, (2, 500))
    flat = pair_of(0, 1, 0.5 + noise[0], 0.6 + noise[1])
    contradicting = pair_of(0, 1, TRUE[0].ravel(), 1.1 - TRUE[0].ravel())
    steep = pair_of(0, 1, TRUE[0].ravel(), TRUE[0].ravel() / 60)
    for pair in (flat, contradicting, steep):
        maps = fit_windows([pair], 2)
        assert maps[:, 0] == pytest.approx([1, 1], abs=0.05)
    shift = fit_windows([flat], 2)[:, 1]
    assert shift[0] - shift[1] == pytest.approx(0.1, abs=2e-3)


def test_samples_that_the_decoder_cut_off_do_not_count():
    windows = [np.clip(seen(index, 1.2 * TRUE), 0, 1) for index in range(COUNT)]
    assert any((window == 1).mean() > 0.05 for window in windows)
    found = align(overlaps(windows), len(TRUE))
    assert found.seams.after < 1e-4


def test_without_anything_in_common_nothing_changes():
    flat = Overlap(STEP, (STEP,), np.ones((1, 2, 2)), np.zeros((1, 2, 2)))
    for found in (align([], 9), align([flat], 9)):
        assert np.array_equal(found.maps, np.tile([1.0, 0.0], (9, 1)))
        assert (found.seams.before, found.seams.after) == (0, 0)


def test_a_skeleton_tells_the_scale_of_windows_whose_seams_mislead():
    windows = [seen(index) for index in range(COUNT)]
    misled = [replace(each, second=each.second * 0.9) for each in overlaps(windows)]
    frames = (1, 3)
    pins = [
        Overlap(index * STEP, tuple(index * STEP + f for f in frames),
                TRUE[[index * STEP + f for f in frames]] * 0.8, window[list(frames)])
        for index, window in enumerate(windows)
    ]  # fmt: skip
    shot = stitched(windows)
    for kept, most in ((misled, None), ([*misled, *pins], 1e-4)):
        found = align(kept, len(TRUE))
        steady = np.stack([found(frame, each) for frame, each in enumerate(shot)])
        assert error(steady) < most if most else error(steady) > 0.05
