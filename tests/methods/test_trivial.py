"""The predictors that look at nothing."""

import numpy as np
import pytest

from depthcrafter_cli.evaluation.alignment import align_clip
from depthcrafter_cli.evaluation.metrics import evaluate_clip
from depthcrafter_cli.methods.trivial import constant, mean_image, vertical_gradient

SHAPE = (3, 24, 40)


@pytest.fixture
def predictions():
    mean = np.random.default_rng(2).random((6, 10), dtype=np.float32)
    return {
        "constant": constant(SHAPE),
        "vertical gradient": vertical_gradient(SHAPE),
        "mean image": mean_image(SHAPE, mean),
    }


def test_all_have_the_shape_asked_for_and_never_change_over_time(predictions):
    for prediction in predictions.values():
        assert prediction.shape == SHAPE
        assert prediction.dtype == np.float32
        assert (prediction == prediction[0]).all()


def test_gradient_is_near_at_the_bottom_and_exact_for_a_floor(predictions):
    rows = predictions["vertical gradient"][0, :, 0]
    assert (np.diff(rows) > 0).all()
    disparity = np.linspace(0.1, 0.9, SHAPE[1])[:, np.newaxis]  # a plane seen in perspective
    floor = np.broadcast_to(1 / disparity, SHAPE)
    scores = {
        name: evaluate_clip(align_clip(p, floor, max_depth=80)) for name, p in predictions.items()
    }
    assert scores["vertical gradient"].abs_rel < 1e-5
    assert scores["constant"].abs_rel > 0.3


def test_mean_image_is_exact_where_every_picture_is_the_mean(predictions):
    depth = 1 / (0.1 + predictions["mean image"].astype(np.float64))
    assert evaluate_clip(align_clip(predictions["mean image"], depth, max_depth=80)).abs_rel < 1e-5


def test_constant_gives_the_depth_of_the_mean_disparity(predictions):
    depth = np.random.default_rng(4).uniform(1, 5, SHAPE)
    flat = np.full(SHAPE, 1 / np.mean(1 / depth))
    expected = np.mean(np.abs(flat - depth) / depth)
    result = evaluate_clip(align_clip(predictions["constant"], depth, max_depth=80))
    assert result.abs_rel == pytest.approx(expected, rel=1e-6)
