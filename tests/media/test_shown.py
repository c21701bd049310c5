"""Depth as people see it: smooth slopes stay smooth, in previews as in videos."""

from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from depthcrafter_cli.depth.colorize import colorize
from depthcrafter_cli.media.sinks import DepthFrame, Look, SinkSettings, sink_for
from depthcrafter_cli.types import Size, ValueRange

SIZE = Size(180, 320)


def slope(index):
    """A floor that comes nearer, and a ball above it that moves to the right."""
    rows, columns = np.mgrid[: SIZE.height, : SIZE.width]
    ball = np.exp(-((columns - 100 - 2 * index) ** 2 + (rows - 60) ** 2) / 2500)
    return (0.15 + 0.5 * (rows / SIZE.height) ** 2 + 0.25 * ball).astype(np.float32)


def write(out, frames, **changes):
    settings = SinkSettings(
        size=Size(*frames[0].shape),
        frame_count=len(frames),
        rate=Fraction(24),
        time_base=Fraction(1, 24),
        value_range=ValueRange(0, 1),
        **changes,
    )
    with sink_for(out, settings) as sink:
        for index, depth in enumerate(frames):
            sink.write(DepthFrame(index, Fraction(index, 24), depth, depth))
    return out


@pytest.mark.parametrize(
    ("changes", "least", "most"),
    [
        ({"look": Look(colormap="gray")}, 0, 0.15),
        ({"look": Look(colormap="gray", codec="h264-444")}, 0, 0.15),
        ({"look": Look(colormap="gray"), "dither": False}, 0.5, 1),  # as the reference cuts it off
    ],
    ids=["dithered", "4:4:4", "reference"],
)
def test_a_slope_in_eight_bits_has_no_bands(tmp_path, changes, least, most):
    rows, columns = np.mgrid[: SIZE.height, : SIZE.width]
    depth = (0.2 + 0.03 * columns / SIZE.width + 0.02 * rows / SIZE.height).astype(np.float32)
    with av.open(str(write(tmp_path / "d.mp4", [depth], **changes))) as container:
        luma = next(container.decode(video=0)).to_ndarray().reshape(-1, SIZE.width)[: SIZE.height]
    off = (luma - 16) / 219 - depth
    seen = off[:176, :].reshape(11, 16, 20, 16).mean(axis=(1, 3))  # from afar
    assert least <= 255 * np.sqrt((seen**2).mean()) <= most


def test_no_stripes_are_seen_in_an_animated_webp(tmp_path):
    frames = [slope(index) for index in range(3)]
    with Image.open(write(tmp_path / "d.webp", frames)) as film:
        for index, depth in enumerate(frames):
            film.seek(index)
            off = np.asarray(film.convert("RGB")).astype(float) - colorize(depth, "inferno")
            assert max(np.abs(off.mean(axis=axis)).max() for axis in (0, 1)) < 2.6
