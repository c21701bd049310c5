"""The metrics: equal to the reference program, and with the properties they promise."""

import json
import tracemalloc
from dataclasses import astuple, fields
from pathlib import Path

import numpy as np
import pytest

from depthcrafter_cli.errors import InputError
from depthcrafter_cli.evaluation.alignment import align_clip
from depthcrafter_cli.evaluation.metrics import (
    DepthMetrics,
    evaluate_clip,
    mean_metrics,
    pixel_metrics,
)

REFERENCE = Path(__file__).parents[1] / "data" / "metrics" / "metrics.npz"
CASES = (
    "sintel_like",
    "kitti_like_f64",
    "indoor_down",
    "disp_domain",
    "anticorrelated",
    "single_frame",
    "constant_pred",
    "perframe_scale",
    "noisy",
)
# The published names in our words, and how closely each is met; the reference counts deltas
# and takes some roots in float32.
NAMES = {
    "abs_relative_difference": ("abs_rel", 1e-6),
    "rmse_linear": ("rmse", 1e-5),
    "delta1_acc": ("delta1", 1e-6),
    "squared_relative_difference": ("sq_rel", 1e-6),
    "rmse_log": ("rmse_log", 1e-6),
    "log10": ("log10", 1e-6),
    "delta2_acc": ("delta2", 1e-6),
    "delta3_acc": ("delta3", 1e-6),
    "i_rmse": ("i_rmse", 1e-6),
    "silog_rmse": ("silog", 1e-5),
}


def values(metrics):
    return [getattr(metrics, field.name) for field in fields(DepthMetrics)]


@pytest.fixture
def clip():
    """A prediction in [0.2, 1] with errors, and its depth with holes, at another size."""
    rng = np.random.default_rng(3)
    depth = rng.uniform(1, 9, (5, 18, 26))
    pred = 0.2 + 0.8 * rng.random((5, 12, 16), dtype=np.float32)
    depth[rng.random(depth.shape) < 0.2] = -1
    return pred, depth


@pytest.mark.parametrize("case", CASES)
def test_equals_the_published_program(case):
    with np.load(REFERENCE) as arrays:
        options = json.loads(str(arrays[f"{case}/args_json"]))
        result = evaluate_clip(
            align_clip(
                arrays[f"{case}/pred"],
                arrays[f"{case}/gt"][:, 0],
                max_depth=options["dataset_max_depth"],
                domain=options["domain"],
                max_frames=options["seq_len"],
            )
        )
        assert result.n_valid == arrays[f"{case}/n_valid"]
        expected = arrays[f"{case}/scale_shift"]
        np.testing.assert_allclose([result.scale, result.shift], expected, atol=1e-7)
        for published, value in zip(arrays["metric_names"], arrays[f"{case}/result"], strict=True):
            name, tolerance = NAMES[published]
            assert getattr(result, name) == pytest.approx(value, rel=0, abs=tolerance), name


def test_every_reference_case_is_covered():
    with np.load(REFERENCE) as arrays:
        assert {name.split("/")[0] for name in arrays.files if "/" in name} == set(CASES)


@pytest.mark.parametrize(("gain", "offset"), [(3.0, 0.5), (0.01, 0.0), (-0.5, 2.0)])
def test_an_affine_change_of_the_prediction_changes_nothing(clip, gain, offset):
    pred, depth = clip
    plain = evaluate_clip(align_clip(pred, depth, max_depth=10))
    changed = evaluate_clip(align_clip(gain * pred + offset, depth, max_depth=10))
    # One pixel may cross a delta threshold by rounding; the depths themselves agree closely.
    np.testing.assert_allclose(values(changed), values(plain), rtol=1e-4)
    assert changed.abs_rel == pytest.approx(plain.abs_rel, rel=1e-6)
    assert changed.scale * gain == pytest.approx(plain.scale, rel=1e-5)


def test_a_scale_per_frame_is_not_forgiven(clip):
    _, depth = clip
    disparity = 1 / np.abs(depth)
    drift = np.linspace(0.5, 1.5, len(depth))[:, np.newaxis, np.newaxis]
    assert evaluate_clip(align_clip(disparity, depth, max_depth=10)).abs_rel < 1e-6
    assert evaluate_clip(align_clip(disparity * drift, depth, max_depth=10)).abs_rel > 0.1


def test_a_frame_without_valid_pixels_is_dropped(clip):
    pred, depth = clip
    holed = np.insert(depth, 2, -1, axis=0)
    padded = np.insert(pred, 2, 0.5, axis=0)
    assert evaluate_clip(align_clip(padded, holed, max_depth=10)) == evaluate_clip(
        align_clip(pred, depth, max_depth=10)
    )


def test_max_frames_and_longer_truth_cut_the_clip(clip):
    pred, depth = clip
    short = evaluate_clip(align_clip(pred[:3], depth[:3], max_depth=10))
    assert evaluate_clip(align_clip(pred, depth, max_depth=10, max_frames=3)) == short
    assert evaluate_clip(align_clip(pred[:3], depth, max_depth=10)) == short


def test_pixel_metrics_by_hand():
    metrics = pixel_metrics(np.array([2.0, 4.0, 5.0]), np.array([2.0, 5.0, 4.0]))
    assert metrics.abs_rel == pytest.approx((0.2 + 0.25) / 3)
    assert metrics.rmse == pytest.approx((2 / 3) ** 0.5)
    assert metrics.delta1 == pytest.approx(1 / 3), "1.25 itself is outside"
    assert metrics.delta2 == metrics.delta3 == 1
    assert metrics.log10 == pytest.approx(np.log10(1.25) * 2 / 3)
    assert metrics.silog == pytest.approx(100 * metrics.rmse_log), "the mean log error is 0"


def test_mean_weighs_clips_alike(clip):
    pred, depth = clip
    clips = [evaluate_clip(align_clip(pred, depth, max_depth=limit)) for limit in (5, 10)]
    expected = np.mean([values(each) for each in clips], axis=0)
    np.testing.assert_allclose(astuple(mean_metrics(clips)), expected)
    with pytest.raises(InputError, match="no clip"):
        mean_metrics([])


def test_memory_does_not_grow_with_the_clip(clip):
    pred, depth = clip
    peaks = []
    for repeats in (2, 40):
        long = np.tile(pred, (repeats, 1, 1)), np.tile(depth, (repeats, 1, 1))
        tracemalloc.start()
        evaluate_clip(align_clip(*long, max_depth=10))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    grown = peaks[1] - peaks[0]
    assert grown < 0.2 * long[1].nbytes, "only ten numbers are kept of each frame"
