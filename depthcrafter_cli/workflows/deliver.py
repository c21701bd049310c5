"""The second pass: choose the range, write every output. It needs no model."""

from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from itertools import count, repeat
from typing import Any

from depthcrafter_cli.depth.normalize import normalize, value_range
from depthcrafter_cli.errors import InputError
from depthcrafter_cli.media.identity import require_unchanged
from depthcrafter_cli.media.images import is_picture
from depthcrafter_cli.media.published import Published
from depthcrafter_cli.media.reader import carried_by, frame_numbers, read_frames
from depthcrafter_cli.media.scale import resize_disparity
from depthcrafter_cli.media.selection import ReadOptions
from depthcrafter_cli.media.sinks.base import DepthFrame, SinkSettings
from depthcrafter_cli.media.sinks.registry import are_numbered, may_sound, sink_for
from depthcrafter_cli.media.spool import DisparitySpool
from depthcrafter_cli.media.timestamps import common_unit
from depthcrafter_cli.progress import Observer, Progress, Warn, ignore
from depthcrafter_cli.types import RgbImage, Size, ValueRange
from depthcrafter_cli.workflows.hand_off import labels_for
from depthcrafter_cli.workflows.provenance import Provenance
from depthcrafter_cli.workflows.request import FROM_SOURCE, RunRequest


def deliver(
    request: RunRequest,
    reading: ReadOptions,
    provenance: Provenance,
    spool: DisparitySpool,
    end: Fraction | None,
    observer: Observer,
    published: Published,
    warn: Warn = ignore,
) -> dict[str, Any]:
    """Normalise, scale and hand each frame to every sink; returns the outputs' metadata.

    ``reading`` selects the source's frames again where they are shown; ``end`` is when the last
    frame ends, in seconds, None if only the rate tells. ``warn`` is told of sound that is left out.

    Raises:
        OutputError: an output cannot be written, or the spool not be read.
        InputError: the source's pictures, where they are shown, cannot be read, or it changed.
    """
    shape = provenance.anamorphic
    size = request.output_size(provenance.source_size, provenance.model_size, shape)
    reads_all = request.normalization.mode == "percentile"
    if reads_all:
        observer(Progress("normalize", 0, 1, unit="pass"))
    values = value_range(request.normalization, spool)
    if request.invert:
        values = ValueRange(values.high, values.low)
    if reads_all:
        observer(Progress("normalize", 1, 1, unit="pass"))
    metadata = {
        **provenance.to_json(),
        "frames": len(spool),
        "output_size": str(size),
        "normalize": request.normalization.mode,
        "value_range": [values.low, values.high],
    }
    settings = SinkSettings(
        size=size,
        frame_count=len(spool),
        rate=provenance.rate,
        time_base=spool.time_base if end is None else common_unit(spool.time_base, end),
        end=end,
        value_range=values,
        pixel_aspect=request.pixel_aspect(shape),
        look=request.look,
        metadata=metadata,
        published=published,
        labels=labels_for(request, values),
        **_carried(request, reading, provenance, warn),
    )
    sinks = [sink_for(out, settings) for out in request.outputs]
    wants_source = any(sink.needs_rgb for sink in sinks)
    beside = request.side_by_side or request.overlay
    picture_size = size if beside else provenance.source_size
    pictures = _source_pictures(request, reading, picture_size) if wants_source else repeat(None)
    reads_numbers = numbers_from_source(request, provenance)
    reads_source = wants_source or reads_numbers
    if reads_source:
        require_unchanged(request.video, provenance.input)
    numbers = frame_numbers(request.video, reading) if reads_numbers else None
    with ExitStack() as stack:
        for sink in sinks:
            stack.enter_context(sink)
        observer(Progress("write", 0, len(spool)))
        frames = enumerate(zip(spool.frames(), pictures, strict=False))
        counted = numbers or count(request.first_number)
        for (index, ((raw, shown), rgb)), number in zip(frames, counted, strict=False):
            disparity = resize_disparity(raw, size)
            frame = DepthFrame(number, shown, disparity, normalize(disparity, values), rgb)
            for sink in sinks:
                sink.write(frame)
            observer(Progress("write", index + 1, len(spool)))
        if reads_source:
            require_unchanged(request.video, provenance.input)
    return metadata


def _carried(
    request: RunRequest, reading: ReadOptions, provenance: Provenance, warn: Warn
) -> dict[str, Any]:
    """The sound and timecode of the source, for videos of the depth.

    Not of a source that is gone or has changed, which only is told, nor for the reference, whose
    frames have other times.
    """
    if request.reference or not may_sound(request.outputs):
        return {}
    try:
        require_unchanged(request.video, provenance.input)
        carried = carried_by(request.video, reading, warn)
    except InputError as error:
        warn(f"Sound and timecode are left out: {error}")
        return {}
    same_count = round(provenance.rate) == round(carried.rate)
    return {
        "sound": carried.sound if request.audio == "copy" else None,
        "timecode": carried.timecode if same_count else "",
    }


def numbers_from_source(request: RunRequest, provenance: Provenance) -> bool:
    """Whether the names of the source's images are read, to number those of the results."""
    images = "files" in provenance.input or is_picture(request.video)
    return images and request.start_number == FROM_SOURCE and are_numbered(request.outputs)


def _source_pictures(request: RunRequest, reading: ReadOptions, size: Size) -> Iterator[RgbImage]:
    """The same frames once more, at the output's size, to stand beside their depth."""
    for frame in read_frames(request.video, size, reading):
        yield frame.rgb
