"""The resize, the affine fit and the aligned clip."""

import numpy as np
import pytest
import torch

from depthcrafter_cli.errors import InputError, UsageError
from depthcrafter_cli.evaluation.alignment import (
    AffineFit,
    align_clip,
    fit_scale_shift,
    resize_bilinear,
)
from depthcrafter_cli.types import Size


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.mark.parametrize("size", [Size(20, 33), Size(7, 5), Size(10, 32), Size(1, 1), Size(5, 40)])
def test_resize_agrees_with_torch_interpolate(rng, size):
    image = rng.random((2, 10, 16), dtype=np.float32)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(image)[None], (size.height, size.width), mode="bilinear"
    )[0].numpy()
    resized = resize_bilinear(image, size)
    assert resized.dtype == np.float32
    np.testing.assert_allclose(resized, expected, atol=1e-6)


def test_resize_leaves_a_constant_exactly_constant():
    image = np.full((24, 40), 0.37, dtype=np.float32)
    assert np.unique(resize_bilinear(image, Size(31, 57))).tolist() == [image[0, 0]]


def test_fit_agrees_with_lstsq_over_valid_pixels_only(rng):
    pred = 100 + rng.random((3, 9, 11))  # far from 0: plain sums of squares would lose digits
    target = -2.5 * pred + 0.3 + 0.1 * rng.standard_normal(pred.shape)
    valid = rng.random(pred.shape) < 0.6
    target[~valid] = np.nan
    matrix = np.stack([pred[valid], np.ones(valid.sum())], axis=1)
    expected = np.linalg.lstsq(matrix, target[valid], rcond=None)[0]
    np.testing.assert_allclose(fit_scale_shift(pred, target, valid), expected, rtol=1e-9)


def test_fit_in_pieces_equals_fit_at_once(rng):
    pred, target = rng.random(500), rng.random(500)
    pieces, whole = AffineFit(), AffineFit()
    for part in np.split(np.arange(500), [0, 1, 40, 40, 333]):
        pieces.add(pred[part], target[part])
    whole.add(pred, target)
    assert pieces.count == whole.count == 500
    np.testing.assert_allclose(pieces.solve(), whole.solve(), rtol=1e-12)


@pytest.mark.parametrize("value", [0.37, 0.0, -4.0])
def test_constant_prediction_takes_the_least_norm_fit(rng, value):
    pred, target = np.full((2, 5, 6), value), rng.random((2, 5, 6))
    matrix = np.stack([pred.ravel(), np.ones(pred.size)], axis=1)
    expected = np.linalg.lstsq(matrix, target.ravel(), rcond=None)[0]
    fit = fit_scale_shift(pred, target, np.ones(pred.shape, dtype=bool))
    np.testing.assert_allclose(fit, expected, atol=1e-12)


def test_no_valid_pixel_is_an_input_error():
    pred = np.ones((1, 4, 4))
    with pytest.raises(InputError, match="no valid depth pixel"):
        fit_scale_shift(pred, pred, np.zeros(pred.shape, dtype=bool))


def test_aligned_clip_recovers_depth_from_affine_disparity(rng):
    depth = rng.uniform(1, 9, (3, 8, 8))
    clip = align_clip(-0.2 / depth + 0.5, depth, max_depth=10)
    assert clip.n_valid == depth.size
    for frame in clip:
        np.testing.assert_allclose(frame.estimate, frame.truth, rtol=1e-5)
    assert len(list(clip)) == 3, "a clip can be iterated again"


def test_depth_outside_the_open_range_and_nan_are_unknown():
    depth = np.array([[[0.0, -1.0, 1e-3, np.nan, 10.0, np.inf, 2.0, 9.99]]])
    pred = np.linspace(0.1, 0.9, depth.size).reshape(depth.shape)
    (frame,) = align_clip(pred, depth, max_depth=10)
    assert frame.valid.tolist() == [[False] * 6 + [True] * 2]


@pytest.mark.parametrize(
    ("pred", "depth", "message"),
    [
        (np.ones((2, 4, 4)), np.full((2, 4, 4), -1.0), "no valid depth pixel"),
        (np.ones((3, 4, 4)), np.ones((2, 4, 4)), "3 predicted frames but 2 depth maps"),
        (np.ones((2, 4, 4)), np.ones((2, 1, 4, 4)), "depth of shape"),
        (np.ones((4, 4)), np.ones((2, 4, 4)), "prediction of shape"),
        (np.ones((0, 4, 4)), np.ones((2, 4, 4)), "empty axis"),
        (np.stack([np.ones((4, 4)), np.full((4, 4), np.nan)]), np.ones((2, 4, 4)), "frame 1"),
    ],
)
def test_arrays_that_cannot_be_compared_are_input_errors(pred, depth, message):
    with pytest.raises(InputError, match=message):
        align_clip(pred, depth, max_depth=10)


@pytest.mark.parametrize(
    "options",
    [
        {"max_depth": 0},
        {"max_depth": float("nan")},
        {"max_depth": 10, "max_frames": 0},
        {"max_depth": 10, "domain": "inverse"},
    ],
)
def test_options_out_of_range_are_usage_errors(options):
    with pytest.raises(UsageError):
        align_clip(np.ones((2, 4, 4)), np.ones((2, 4, 4)), **options)
