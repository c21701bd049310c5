"""Picture sizes and the resizing of disparity."""

from fractions import Fraction

import numpy as np
import pytest

from depthcrafter_cli.errors import InputError, UsageError
from depthcrafter_cli.media.resize import model_size, output_size, reference_stride
from depthcrafter_cli.media.scale import resize_disparity
from depthcrafter_cli.types import Size


@pytest.mark.parametrize(
    ("source", "max_res", "expected"),
    [
        (Size(100, 180), 1024, Size(128, 192)),
        (Size(100, 180), 128, Size(64, 128)),
        (Size(40, 130), 1024, Size(64, 128)),
        (Size(1080, 1920), 1024, Size(576, 1024)),
        (Size(1920, 1080), 1024, Size(1024, 576)),
        (Size(1080, 1920), 1000, Size(576, 1024)),  # no multiple of 64: may be exceeded
        (Size(96, 160), 1024, Size(128, 128)),  # 1.5 and 2.5 multiples: both ties go to 2
    ],
)
def test_model_size_follows_the_reference(source, max_res, expected):
    assert model_size(source, max_res) == expected


def test_sides_that_round_to_zero_are_refused():
    with pytest.raises(InputError, match="64x32, expected at least 33"):
        model_size(Size(32, 64), 1024)
    assert model_size(Size(33, 64), 1024) == Size(64, 64)
    with pytest.raises(InputError, match="raise `max_res`"):
        model_size(Size(100, 1000), 256)
    with pytest.raises(UsageError, match="at least 64"):
        model_size(Size(480, 640), 63)


def test_output_size_names_and_numbers():
    source, model = Size(100, 180), Size(128, 192)
    assert output_size("source", source, model) == source
    assert output_size("model", source, model) == model
    assert output_size("1280x720", source, model) == Size(720, 1280)
    for text in ("720p", "0x10", "10x", "-1x5"):
        with pytest.raises(UsageError, match="`size`"):
            output_size(text, source, model)


def test_stride_rounds_ties_to_even_and_is_at_least_one():
    strides = [reference_stride(Fraction(30), Fraction(fps)) for fps in (60, 30, 20, 12, 10)]
    assert strides == [1, 1, 2, 2, 3]


def test_resized_disparity_is_bilinear_and_keeps_float_precision():
    ramp = np.linspace(0, 1, 40, dtype=np.float32)[None].repeat(6, axis=0)
    tripled = resize_disparity(ramp, Size(18, 120))
    # Half-pixel centres: output column x lies at (x + 0.5) / 3 - 0.5 of the source.
    expected = np.interp((np.arange(120) + 0.5) / 3 - 0.5, np.arange(40), ramp[0])
    np.testing.assert_allclose(tripled, expected[None].repeat(18, axis=0), atol=1e-6)
    assert tripled.dtype == np.float32


def test_resized_disparity_stays_in_its_range():
    noise = np.random.default_rng(0).random((9, 13), dtype=np.float32)
    for size in (Size(31, 50), Size(4, 5)):
        resized = resize_disparity(noise, size)
        assert noise.min() <= resized.min() and resized.max() <= noise.max()
