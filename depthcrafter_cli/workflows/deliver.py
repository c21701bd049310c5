"""The second pass: choose the range, write every output. It needs no model."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import count, repeat
from typing import Any

from depthcrafter_cli.depth.metric import MetricFit, metres, read_fits
from depthcrafter_cli.depth.normalize import normalize, value_range
from depthcrafter_cli.errors import InputError
from depthcrafter_cli.media.identity import require_unchanged
from depthcrafter_cli.media.images import is_picture
from depthcrafter_cli.media.published import Published
from depthcrafter_cli.media.reader import carried_by, frame_numbers, read_frames
from depthcrafter_cli.media.scale import resize_disparity
from depthcrafter_cli.media.selection import ReadOptions
from depthcrafter_cli.media.sinks.base import DepthFrame, DisparitySink, ShotRange, SinkSettings
from depthcrafter_cli.media.sinks.per_shot import PerShotSink
from depthcrafter_cli.media.sinks.registry import are_numbered, carry_more, sink_for
from depthcrafter_cli.media.spool import SpooledFilm
from depthcrafter_cli.media.timestamps import common_unit
from depthcrafter_cli.progress import Observer, Progress, Warn, ignore
from depthcrafter_cli.types import Disparity, RgbImage, Size, ValueRange
from depthcrafter_cli.workflows.hand_off import labels_for
from depthcrafter_cli.workflows.provenance import Provenance
from depthcrafter_cli.workflows.request import FROM_SOURCE, RunRequest
from depthcrafter_cli.workflows.shot_state import ShotState


def deliver(
    request: RunRequest,
    reading: ReadOptions,
    provenance: Provenance,
    states: Sequence[ShotState],
    observer: Observer,
    published: Published,
    warn: Warn = ignore,
) -> dict[str, Any]:
    """Normalise, scale and hand each frame to every sink; returns the outputs' metadata.

    ``reading`` selects the source's frames again where they are shown; ``states`` are the complete
    shots of the video. ``warn`` is told of sound that is left out.

    Raises:
        OutputError: an output cannot be written, or a spool not be read.
        InputError: the source's pictures, where they are shown, cannot be read, or it changed.
    """
    shape = provenance.anamorphic
    size = request.output_size(provenance.source_size, provenance.model_size, shape)
    film, end = SpooledFilm([state.spool for state in states]), states[-1].end()
    shots = _shots(request, film, observer)
    named = shots if request.per_shot or len(shots) > 1 else []
    values = _extremes([shot.values for shot in shots], inverted=request.invert)
    fits = _fits(request, shots)
    metadata = _metadata(request, provenance, size, values, shots, fits)
    settings = SinkSettings(
        size=size,
        frame_count=len(film),
        rate=provenance.rate,
        time_base=film.time_base if end is None else common_unit(film.time_base, end),
        end=end,
        value_range=values,
        pixel_aspect=request.pixel_aspect(shape),
        look=request.look,
        shots=named,
        metadata=metadata,
        published=published,
        labels_of=partial(labels_for, request),
        dither=not request.reference,
        **_carried(request, reading, provenance, warn),
    )
    make = PerShotSink if request.per_shot else sink_for
    sinks: list[PerShotSink | DisparitySink] = [make(out, settings) for out in request.outputs]
    by_edges = request.upsample == "edges"
    wants_source = by_edges or any(sink.needs_rgb for sink in sinks)
    at_source = not by_edges and all(sink.any_size for sink in sinks if sink.needs_rgb)
    picture_size = request.picture_size(provenance.source_size, shape) if at_source else size
    pictures = _source_pictures(request, reading, picture_size) if wants_source else repeat(None)
    reads_numbers = numbers_from_source(request, provenance)
    reads_source = wants_source or reads_numbers
    if reads_source:
        require_unchanged(request.video, provenance.input)
    numbers = frame_numbers(request.video, reading) if reads_numbers else None
    resize = _resizer(request, size)
    with ExitStack() as stack:
        for sink in sinks:
            stack.enter_context(sink)
        observer(Progress("write", 0, len(film)))
        shot_of = (shot for shot in shots for _ in range(shot.frames))
        frames = enumerate(zip(film.frames(), pictures, shot_of, strict=False))
        counted = numbers or count(request.first_number)
        for (index, ((raw, shown), rgb, shot)), number in zip(frames, counted, strict=False):
            disparity = resize(raw, rgb)
            depth = metres(disparity, fits[shot.index]) if fits else None
            normalized, own = normalize(disparity, shot.values), shot if named else None
            frame = DepthFrame(number, shown, disparity, normalized, rgb, own, depth)
            for sink in sinks:
                sink.write(frame)
            observer(Progress("write", index + 1, len(film)))
        if reads_source:
            require_unchanged(request.video, provenance.input)
    return metadata


def _shots(request: RunRequest, film: SpooledFilm, observer: Observer) -> list[ShotRange]:
    """The shots, each with a range of its own, or with that of the whole film."""
    alone = [SpooledFilm([spool]) for spool in film.shots]
    ranged = alone if request.range_of == "shot" else [film]
    reads_all = request.normalization.mode == "percentile"
    if reads_all:
        observer(Progress("normalize", 0, len(ranged), unit="pass"))
    values = []
    for done, each in enumerate(ranged, 1):
        found = value_range(request.normalization, each)
        values.append(ValueRange(found.high, found.low) if request.invert else found)
        if reads_all:
            observer(Progress("normalize", done, len(ranged), unit="pass"))
    shots, start = [], 0
    for index, spool in enumerate(alone):
        first = next(spool.frames())[1]
        own = values[index if len(values) > 1 else 0]
        shots.append(ShotRange(index, start, len(spool), first, own))
        start += len(spool)
    return shots


def _fits(request: RunRequest, shots: Sequence[ShotRange]) -> list[MetricFit]:
    """What makes metres of each shot's disparity; nothing where these are not asked for."""
    if request.metric is None:
        return []
    fits = read_fits(request.metric)
    starts, expected = [fit.first_frame for fit in fits], [shot.start for shot in shots]
    if starts != expected:
        raise InputError(
            f"{request.metric} is for shots that begin at the frames {starts}, and this film has "
            f"them at {expected}, expected the same: fit a result of this very run."
        )
    return fits


def _metadata(
    request: RunRequest,
    provenance: Provenance,
    size: Size,
    values: ValueRange,
    shots: Sequence[ShotRange],
    fits: Sequence[MetricFit],
) -> dict[str, Any]:
    """What outputs and the record say of the disparity, and of how it is shown."""
    return {
        **provenance.to_json(),
        **({"metric": [fit.to_json() for fit in fits], "disparity": "metres"} if fits else {}),
        "frames": sum(shot.frames for shot in shots),
        "output_size": str(size),
        "normalize": request.normalization.mode,
        "value_range": [values.low, values.high],
        **({"shots": [shot.to_json() for shot in shots]} if len(shots) > 1 else {}),
    }


def _extremes(ranges: Sequence[ValueRange], *, inverted: bool) -> ValueRange:
    """The range that holds all others, from its nearest on where they are ``inverted``."""
    least, most = (max, min) if inverted else (min, max)
    return ValueRange(least(each.low for each in ranges), most(each.high for each in ranges))


def _carried(
    request: RunRequest, reading: ReadOptions, provenance: Provenance, warn: Warn
) -> dict[str, Any]:
    """The sound and timecode of the source, for videos of the depth.

    Not of a source that is gone or has changed, which only is told, nor for the reference, whose
    frames have other times.
    """
    if request.reference or not carry_more(request.outputs):
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


def _resizer(request: RunRequest, size: Size) -> Callable[[Disparity, Any], Disparity]:
    """What makes disparity ``size``, given the picture of its frame too: only to enlarge by it."""
    if request.upsample != "edges":
        return lambda disparity, _picture: resize_disparity(disparity, size)
    from depthcrafter_cli.models.devices import pick_device
    from depthcrafter_cli.models.upsample import upsample_by_edges

    device = pick_device(request.device)

    def enlarged(disparity: Disparity, picture: RgbImage) -> Disparity:
        height, width = disparity.shape
        if height >= size.height or width >= size.width:
            return resize_disparity(disparity, size)
        return upsample_by_edges(disparity, picture, device)

    return enlarged


def _source_pictures(request: RunRequest, reading: ReadOptions, size: Size) -> Iterator[RgbImage]:
    """The same frames once more, at the output's size, to stand beside their depth."""
    for frame in read_frames(request.video, size, reading):
        yield frame.rgb
