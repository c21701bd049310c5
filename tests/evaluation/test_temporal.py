"""Steadiness over time."""

import numpy as np
import pytest

from depthcrafter_cli.errors import InputError
from depthcrafter_cli.evaluation.alignment import align_clip
from depthcrafter_cli.evaluation.metrics import evaluate_clip
from depthcrafter_cli.evaluation.temporal import temporal_score

FLICKER = np.array([0.99, 1.01] * 4)[:, np.newaxis, np.newaxis]


@pytest.fixture
def depth():
    """A scene that comes nearer frame by frame, [8, 20, 30]."""
    scene = np.random.default_rng(5).uniform(2, 8, (20, 30))
    return scene * np.linspace(1, 0.7, 8)[:, np.newaxis, np.newaxis]


def test_a_true_prediction_of_a_moving_scene_is_steady(depth):
    assert temporal_score(align_clip(0.3 / depth + 0.1, depth, max_depth=10)) < 1e-5


def test_an_error_that_stays_costs_nothing_but_flicker_does(depth):
    still = np.repeat(depth[:1], 8, axis=0)
    wrong = 1 / still + np.random.default_rng(6).uniform(0, 0.3, still.shape[1:])
    assert evaluate_clip(align_clip(wrong, still, max_depth=10)).abs_rel > 0.1
    assert temporal_score(align_clip(wrong, still, max_depth=10)) == pytest.approx(0, abs=1e-12)
    assert temporal_score(align_clip(wrong * FLICKER, still, max_depth=10)) > 1e-3


def test_score_has_the_size_of_the_flicker(depth):
    score = temporal_score(align_clip(FLICKER / depth, depth, max_depth=10))
    assert score == pytest.approx(np.log(1.01 / 0.99), rel=0.05)


def test_only_pixels_valid_in_both_frames_count(depth):
    pred = FLICKER / depth
    depth[1::2, :, :15] = -1
    depth[::2, :, 15:] = -1
    with pytest.raises(InputError, match="in common"):
        temporal_score(align_clip(pred, depth, max_depth=10))


def test_one_frame_has_no_score(depth):
    with pytest.raises(InputError, match="longer clip"):
        temporal_score(align_clip(1 / depth, depth, max_depth=10, max_frames=1))
