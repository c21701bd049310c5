"""How much waits between what reads, what computes and what writes a run's frames."""

from collections.abc import Sequence
from pathlib import Path

from depthcrafter_cli.media.sinks.registry import held_per_pixel
from depthcrafter_cli.memory.budget import shares_memory
from depthcrafter_cli.types import Size

FRAMES_AHEAD = 8  # as many as are encoded together
READ_AHEAD = 128 << 20  # bytes of frames that wait for a GPU
CHUNKS_BEHIND = 1  # whose disparity is not on the disk yet
DEPTH_AHEAD = 1  # frames on their way to the outputs
WRITES_BEHIND = 1  # frames that an output has not taken yet

# Bytes of a pixel: in colour, of noise and of disparity; on its way out disparity is there twice.
_COLOUR, _NOISE, _DISPARITY = 3, 12, 4
# Measured at 1920x1080: what FFmpeg keeps of a video to decode it, and to scale a picture of it.
_DECODED = 55


def frames_ahead(device: str, size: Size) -> int:
    """How many frames of the model's size are read before they are asked for.

    Where their memory is not the model's, so many that a GPU waits less for what reads: it asks for
    a window's frames one after another, and then for none while it denoises and decodes them.
    """
    if shares_memory(device):
        return FRAMES_AHEAD
    return max(FRAMES_AHEAD, READ_AHEAD // (_COLOUR * size.height * size.width))


def queued_bytes(
    source: Size, model: Size, written: Size, batch: int, chunk: int, outputs: Sequence[Path]
) -> int:
    """Bytes of host memory beside the networks' own, at most, with full queues, on a CPU.

    ``batch`` frames are encoded and ``chunk`` decoded together. ``written`` is the outputs' size;
    without outputs there is one video.
    """
    read, inside, out = (size.height * size.width for size in (source, model, written))
    # What threads have drawn is there twice while they put it into the order of frames.
    to_model = _COLOUR * (FRAMES_AHEAD + batch) + _NOISE * 3 * batch
    from_model = _DISPARITY * chunk * (CHUNKS_BEHIND + 1)
    # One more is made, and one more is written, than waits.
    on_its_way = 2 * _DISPARITY * (DEPTH_AHEAD + 1 + WRITES_BEHIND + 1)
    held = sum(map(held_per_pixel, outputs or [Path("depth.mp4")]))
    return int(read * _DECODED + inside * (to_model + from_model) + out * (on_its_way + held))
