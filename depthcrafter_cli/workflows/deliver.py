"""The second pass: choose the range, write every output. It needs no model."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from itertools import count, repeat
from typing import Any

from depthcrafter_cli.depth.normalize import normalize, value_range
from depthcrafter_cli.media.published import Published
from depthcrafter_cli.media.reader import frame_numbers, read_frames
from depthcrafter_cli.media.scale import resize_disparity
from depthcrafter_cli.media.selection import ReadOptions
from depthcrafter_cli.media.sinks.base import DepthFrame, SinkSettings
from depthcrafter_cli.media.sinks.registry import sink_for
from depthcrafter_cli.media.spool import DisparitySpool
from depthcrafter_cli.media.timestamps import common_unit
from depthcrafter_cli.progress import Observer, Progress
from depthcrafter_cli.types import RgbImage, Size
from depthcrafter_cli.workflows.record import require_unchanged
from depthcrafter_cli.workflows.request import FROM_SOURCE, RunRequest


@dataclass(frozen=True)
class Delivery:
    """What becomes of a clip's disparity.

    ``reading`` selects the source's frames again where they are shown, ``rate`` labels them,
    ``size`` is the result's, ``facts`` say how the disparity was made.
    """

    request: RunRequest
    reading: ReadOptions
    rate: Fraction
    size: Size
    facts: dict[str, Any]


def deliver(
    delivery: Delivery,
    spool: DisparitySpool,
    end: Fraction | None,
    observer: Observer,
    published: Published,
) -> dict[str, Any]:
    """Normalise, scale and hand each frame to every sink; returns the outputs' metadata.

    ``end`` is when the last frame ends, in seconds, None if only the rate tells.

    Raises:
        OutputError: an output cannot be written, or the spool not be read.
        InputError: the source's pictures, where they are shown, cannot be read, or it changed.
    """
    request = delivery.request
    reads_all = request.normalization.mode == "percentile"
    if reads_all:
        observer(Progress("normalize", 0, 1, unit="pass"))
    values = value_range(request.normalization, spool)
    if reads_all:
        observer(Progress("normalize", 1, 1, unit="pass"))
    metadata = {
        **delivery.facts,
        "frames": len(spool),
        "output_size": str(delivery.size),
        "normalize": request.normalization.mode,
        "value_range": [values.low, values.high],
    }
    settings = SinkSettings(
        size=delivery.size,
        frame_count=len(spool),
        rate=delivery.rate,
        time_base=spool.time_base if end is None else common_unit(spool.time_base, end),
        end=end,
        value_range=values,
        colormap=request.colormap,
        side_by_side=request.side_by_side,
        crf=request.crf,
        metadata=metadata,
        published=published,
    )
    sinks = [sink_for(out, settings) for out in request.outputs]
    wants_source = any(sink.needs_rgb for sink in sinks)
    pictures = _source_pictures(delivery) if wants_source else repeat(None)
    reads_source = wants_source or request.start_number == FROM_SOURCE
    if reads_source:
        require_unchanged(request.source, delivery.facts)
    numbers = _numbers(delivery)
    with ExitStack() as stack:
        for sink in sinks:
            stack.enter_context(sink)
        observer(Progress("write", 0, len(spool)))
        frames = enumerate(zip(spool.frames(), pictures, strict=False))
        for (index, ((raw, shown), rgb)), number in zip(frames, numbers, strict=False):
            disparity = resize_disparity(raw, delivery.size)
            frame = DepthFrame(number, shown, disparity, normalize(disparity, values), rgb)
            for sink in sinks:
                sink.write(frame)
            observer(Progress("write", index + 1, len(spool)))
        if reads_source:
            require_unchanged(request.source, delivery.facts)
    return metadata


def _numbers(delivery: Delivery) -> Iterable[int]:
    """Those of the frames, without end where they are counted."""
    request = delivery.request
    if request.start_number != FROM_SOURCE:
        return count(request.first_number)
    return frame_numbers(request.source, delivery.reading) or count()


def _source_pictures(delivery: Delivery) -> Iterator[RgbImage]:
    """The same frames once more, at the output's size, to stand beside their depth."""
    for frame in read_frames(delivery.request.source, delivery.size, delivery.reading):
        yield frame.rgb
