"""Depth as a picture for people: in colours, beside its source or over it."""

import numpy as np

from depthcrafter_cli.depth.colorize import colorize
from depthcrafter_cli.media.look import Look
from depthcrafter_cli.media.sinks.base import DepthFrame, SinkSettings
from depthcrafter_cli.types import RgbImage


def shows_source(look: Look) -> bool:
    """Whether the source is seen in pictures of depth."""
    return look.side_by_side or look.overlay


def shown(frame: DepthFrame, settings: SinkSettings) -> RgbImage:
    """A frame uint8 [H, W, 3], twice as wide with the source beside it."""
    look = settings.look
    depth = colorize(frame.normalized, look.colormap, dither=settings.dither)
    if not shows_source(look):
        return depth
    source = source_of(frame)
    if look.overlay:
        depth = ((source.astype(np.uint16) + depth + 1) // 2).astype(np.uint8)
    return np.concatenate([source, depth], axis=1) if look.side_by_side else depth


def source_of(frame: DepthFrame) -> RgbImage:
    """The source's picture of a frame, which a sink that needs it was given."""
    if frame.rgb is None:
        raise ValueError("this output needs the source picture of every frame")
    return frame.rgb
