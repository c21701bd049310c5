"""How much waits between what reads, what computes and what writes a run's frames."""

from collections.abc import Sequence
from pathlib import Path

from depthcrafter_cli.media.sinks.registry import held_per_pixel
from depthcrafter_cli.types import Size

FRAMES_AHEAD = 8  # as many as are encoded together
CHUNKS_BEHIND = 1  # whose disparity is not on the disk yet
DEPTH_AHEAD = 1  # frames on their way to the outputs
WRITES_BEHIND = 1  # frames that an output has not taken yet

# Bytes of a pixel: in colour, of noise and of disparity; on its way out disparity is there twice.
_COLOUR, _NOISE, _DISPARITY = 3, 12, 4
# Measured at 1920x1080: what FFmpeg keeps of a video to decode it, and to scale a picture of it.
_DECODED = 55


def queued_bytes(
    source: Size, model: Size, written: Size, batch: int, chunk: int, outputs: Sequence[Path]
) -> int:
    """Bytes of host memory beside the networks' own, at most, with full queues.

    ``batch`` frames are encoded and ``chunk`` decoded together. ``written`` is the outputs' size;
    without outputs there is one video.
    """
    read, inside, out = (size.height * size.width for size in (source, model, written))
    to_model = _COLOUR * (FRAMES_AHEAD + batch) + _NOISE * 2 * batch
    from_model = _DISPARITY * chunk * (CHUNKS_BEHIND + 1)
    # One more is made, and one more is written, than waits.
    on_its_way = 2 * _DISPARITY * (DEPTH_AHEAD + 1 + WRITES_BEHIND + 1)
    held = sum(map(held_per_pixel, outputs or [Path("depth.mp4")]))
    return int(read * _DECODED + inside * (to_model + from_model) + out * (on_its_way + held))
