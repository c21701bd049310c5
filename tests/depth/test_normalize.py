"""Normalisation modes on a clip whose values are known."""

from dataclasses import dataclass

import numpy as np
import pytest

from depthcrafter_cli.depth.normalize import Normalization, normalize, value_range
from depthcrafter_cli.errors import UsageError
from depthcrafter_cli.types import ValueRange


@dataclass(frozen=True)
class Clip:
    """A whole clip in memory, the statistics straight from numpy."""

    values: np.ndarray

    @property
    def minimum(self):
        return float(self.values.min())

    @property
    def maximum(self):
        return float(self.values.max())

    def percentiles(self, low, high):
        found = np.percentile(self.values, [low, high])
        return float(found[0]), float(found[1])


CLIP = Clip(np.linspace(0.2, 0.7, 101, dtype=np.float32).reshape(1, 1, 101))


@pytest.mark.parametrize(
    ("normalization", "low", "high"),
    [
        (Normalization(), 0.2, 0.7),
        (Normalization("percentile"), 0.21, 0.69),
        (Normalization("percentile", 10, 80), 0.25, 0.6),
        (Normalization("fixed", 0.1, 0.5), 0.1, 0.5),
        (Normalization("none"), 0.0, 1.0),
    ],
)
def test_each_mode_maps_its_range_to_zero_and_one(normalization, low, high):
    values = value_range(normalization, CLIP)
    assert (values.low, values.high) == pytest.approx((low, high))
    expected = np.clip((CLIP.values - low) / (high - low), 0, 1)
    normalized = normalize(CLIP.values, values)
    np.testing.assert_allclose(normalized, expected, atol=1e-6)
    assert normalized.dtype == np.float32


def test_the_clip_mode_reaches_both_ends_exactly():
    normalized = normalize(CLIP.values, value_range(Normalization(), CLIP))
    assert (normalized.min(), normalized.max()) == (0.0, 1.0)


def test_the_mode_none_changes_nothing():
    values = value_range(Normalization("none"), CLIP)
    np.testing.assert_array_equal(normalize(CLIP.values, values), CLIP.values)


def test_a_constant_clip_becomes_zero():
    constant = Clip(np.full((2, 3, 4), 0.3, dtype=np.float32))
    for mode in ("clip", "percentile"):
        normalized = normalize(constant.values, value_range(Normalization(mode), constant))
        assert (normalized == 0).all()


def test_a_range_from_high_to_low_makes_near_black():
    values = ValueRange(0.25, 0.75)
    inverted = normalize(CLIP.values, ValueRange(0.75, 0.25))
    np.testing.assert_allclose(inverted, 1 - normalize(CLIP.values, values), atol=1e-6)


def test_the_input_is_left_alone():
    before = CLIP.values.copy()
    normalize(CLIP.values, ValueRange(0.3, 0.4))
    np.testing.assert_array_equal(CLIP.values, before)


@pytest.mark.parametrize(
    "arguments",
    [
        ("clip", 0.0, 1.0),
        ("none", 0.0, None),
        ("fixed",),
        ("fixed", 0.5),
        ("fixed", 0.5, 0.5),
        ("fixed", float("nan"), 1.0),
        ("fixed", float("-inf"), float("inf")),
        ("percentile", 5.0),
        ("percentile", -1.0, 50.0),
        ("percentile", 50.0, 101.0),
    ],
)
def test_wrong_limits_are_refused(arguments):
    with pytest.raises(UsageError, match="got `normalization`"):
        Normalization(*arguments)


def test_an_unknown_mode_is_refused():
    with pytest.raises(UsageError, match="'log', expected one of clip, percentile, fixed, none"):
        Normalization("log")
