"""From raw disparity to the outputs: choose the range, write every frame. It needs no model."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from operator import mul
from types import TracebackType
from typing import Any

from depthcrafter_cli.depth.metric import MetricFit, metres, read_fits
from depthcrafter_cli.depth.normalize import normalize, value_range
from depthcrafter_cli.errors import InputError, UsageError
from depthcrafter_cli.media.identity import require_unchanged
from depthcrafter_cli.media.images import is_picture
from depthcrafter_cli.media.look import numbers_in
from depthcrafter_cli.media.published import Published
from depthcrafter_cli.media.reader import carried_by, frame_numbers, read_frames
from depthcrafter_cli.media.scale import resize_disparity
from depthcrafter_cli.media.selection import ReadOptions
from depthcrafter_cli.media.sinks.base import DepthFrame, DisparitySink, ShotRange, SinkSettings
from depthcrafter_cli.media.sinks.per_shot import PerShotSink
from depthcrafter_cli.media.sinks.registry import are_numbered, carry_more, options_read, sink_for
from depthcrafter_cli.media.spool import ShotDisparity, SpooledFilm
from depthcrafter_cli.media.timestamps import common_unit
from depthcrafter_cli.progress import Observer, Progress, Warn, ignore
from depthcrafter_cli.shots.shot import FilmTimes, Shot
from depthcrafter_cli.threads import Behind, ahead
from depthcrafter_cli.types import Disparity, RgbImage, Size, ValueRange
from depthcrafter_cli.workflows.hand_off import labels_for
from depthcrafter_cli.workflows.provenance import Provenance
from depthcrafter_cli.workflows.queues import DEPTH_AHEAD, WRITES_BEHIND
from depthcrafter_cli.workflows.request import FROM_SOURCE, RunRequest
from depthcrafter_cli.workflows.shot_state import ShotState


class Delivery:
    """The outputs of a video, to which its shots are written one after the other.

    A context manager; the outputs are complete, under their names, when it is left. Each is written
    by a thread of its own, and the frames are made by another; no more than two wait. ``film`` says
    when its shots are shown, and ``reading`` selects the source's frames again where they are
    shown. The shots' ranges are ``ranges``, one by one; or, where they are not known before, they
    are written as they finish, and ``states`` keep what must outlast a stop. ``warn`` is told of
    sound that is left out.

    Raises:
        OutputError: an output cannot be written, or a spool not be read.
        UsageError: a frame of ``ply_frames`` is not there.
        InputError: the source's pictures, where they are shown, cannot be read, or it changed.
    """

    def __init__(
        self,
        request: RunRequest,
        reading: ReadOptions,
        provenance: Provenance,
        film: FilmTimes,
        observer: Observer,
        published: Published,
        warn: Warn = ignore,
        *,
        ranges: Sequence[ShotRange] = (),
        states: Sequence[ShotState] = (),
    ) -> None:
        self._request, self._provenance, self._film = request, provenance, film
        self._observer, self._states = observer, states
        self._ranges = {shot.index: shot for shot in ranges}
        self._fits = _fits(request, film)
        self._frames = film.shots[-1].stop
        self._is_given_up = False
        shape, size = provenance.anamorphic, provenance.output_size(request)
        self._resize = _resizer(request, size)
        self._named = request.per_shot or len(film.shots) > 1
        own = request.range_of == "shot" and request.normalization.depends_on_values
        settings = SinkSettings(
            size=size,
            frame_count=self._frames,
            rate=provenance.rate,
            time_base=film.time_base if film.end is None else common_unit(film.time_base, film.end),
            end=film.end,
            value_range=_extremes(ranges, inverted=request.invert) if ranges else None,
            pixel_aspect=request.pixel_aspect(shape),
            look=request.look,
            shots=ranges if self._named else (),
            own_ranges=own and len(film.shots) > 1,
            metadata=self.metadata,
            published=published,
            labels_of=partial(labels_for, request),
            dither=not request.reference,
            **_carried(request, reading, provenance, warn),
        )
        self._sinks = [self._sink(number, settings) for number in range(len(request.outputs))]
        by_edges = request.upsample == "edges"
        self._wants_source = by_edges or any(sink.needs_rgb for sink in self._sinks)
        at_source = not by_edges and all(sink.any_size for sink in self._sinks if sink.needs_rgb)
        reads_numbers = numbers_from_source(request, provenance)
        self._reads_source = self._wants_source or reads_numbers
        if self._reads_source:
            require_unchanged(request.video, provenance.input)
        self._numbers = frame_numbers(request.video, reading) if reads_numbers else None
        self._check_ply_frames()
        self._go_on()
        if self._wants_source:
            pictures = request.picture_size(provenance.source_size, shape) if at_source else size
            first = min((s.start for s in film.shots if s.index not in self._written), default=0)
            self._pictures = read_frames(request.video, pictures, reading, ignore, first)

    def _sink(self, number: int, settings: SinkSettings) -> PerShotSink | DisparitySink:
        kept = tuple(state.kept(number) for state in self._states)
        make = PerShotSink if self._request.per_shot else sink_for
        return make(self._request.outputs[number], replace(settings, kept=kept))

    def _check_ply_frames(self) -> None:
        chosen = numbers_in(self._request.ply_frames)
        read = options_read(self._request.outputs, self._request.look)
        if not chosen or "ply_frames" not in read:
            return
        there = [number for shot in self._film.shots for number in self._numbers_of(shot)]
        if lacking := chosen.difference(there):
            raise UsageError(
                f"got `ply_frames` {min(lacking)} of frames numbered {min(there)} to {max(there)}, "
                "expected some of these: correct it."
            )

    def _go_on(self) -> None:
        """Find what was written before a stop, and is still there."""
        self._written = set[int]()
        for state, shot in zip(self._states, self._film.shots, strict=False):
            if (told := state.delivered) is None:
                continue
            if all(sink.holds(told, self._numbers_of(shot)) for sink in self._sinks):
                self._ranges[shot.index] = told
                self._written.add(shot.index)
            else:
                state.compute_again()
        for sink in self._sinks:
            sink.go_on(self._frames_written)

    @property
    def _frames_written(self) -> int:
        return sum(len(shot) for shot in self._film.shots if shot.index in self._written)

    def __enter__(self) -> "Delivery":
        self._writers = list[tuple[PerShotSink | DisparitySink, Behind]]()
        with ExitStack() as opening:
            for sink in self._sinks:
                opening.enter_context(sink)
                # Ends before the sink is closed.
                self._writers.append((sink, opening.enter_context(Behind(WRITES_BEHIND))))
            self._beside = opening.enter_context(Behind(1))
            self._open = opening.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self._is_given_up = True
            self._open.__exit__(kind, error, trace)
            return
        with self._open:
            self._beside.wait()
            if self._reads_source:
                require_unchanged(self._request.video, self._provenance.input)
            for state in self._states:
                state.require_whole()

    def write_beside(self, index: int, spool: ShotDisparity) -> None:
        """Write a shot as :meth:`write` does, in a thread, without a word.

        Returns when the shot before it is written; raises what it, or another, raised.
        """
        self._beside.do(self._write, index, spool, ignore)

    def write(self, index: int, spool: ShotDisparity) -> None:
        """Write a shot that is complete. Those before it need not be written."""
        self._beside.wait()
        self._write(index, spool, self._observer)

    def _write(self, index: int, spool: ShotDisparity, observer: Observer) -> None:
        shot, film = self._film.shots[index], SpooledFilm([spool])
        if index in self._written:
            return
        if index not in self._ranges:
            values = _range_of(self._request, film)
            self._ranges[index] = _told(self._film, shot, values, spool)
        told, before = self._ranges[index], self._frames_written
        observer(Progress("write", before, self._frames))
        with closing(ahead(self._depth(shot, film, told), DEPTH_AHEAD)) as frames:
            for done, frame in enumerate(frames, 1):
                if self._is_given_up:
                    return
                for sink, writer in self._writers:
                    writer.do(sink.write, frame)
                observer(Progress("write", before + done, self._frames))
        for sink, writer in self._writers:
            writer.do(sink.end_shot)
        for _sink, writer in self._writers:
            writer.wait()
        self._written.add(index)
        if self._states:
            self._states[index].release(told)

    def _depth(self, shot: Shot, film: SpooledFilm, told: ShotRange) -> Iterator[DepthFrame]:
        """The frames of a shot, as sinks want them."""
        numbers, shown_as = self._numbers_of(shot), told if self._named else None
        for done, (raw, moment) in enumerate(film.frames()):
            rgb = self._picture(shot.start + done)
            disparity = self._resize(raw, rgb)
            depth = metres(disparity, self._fits[shot.index]) if self._fits else None
            normalized = normalize(disparity, told.values)
            yield DepthFrame(numbers[done], moment, disparity, normalized, rgb, shown_as, depth)

    def _numbers_of(self, shot: Shot) -> Sequence[int]:
        """The numbers of a shot's frames, where each is a file."""
        if self._numbers is not None:
            return self._numbers[shot.start : shot.stop]
        first = self._request.first_number
        return range(first + shot.start, first + shot.stop)

    def _picture(self, index: int) -> RgbImage | None:
        """The source's picture of a frame, if it is to stand beside its depth."""
        if not self._wants_source:
            return None
        return next(frame.rgb for frame in self._pictures if frame.index == index)

    @property
    def metadata(self) -> dict[str, Any]:
        """What the record says of the disparity that was written, and of how it is shown.

        As far as the shots' ranges are known, all; otherwise what is known without them.
        """
        fits, shots = self._fits, [self._ranges[index] for index in sorted(self._ranges)]
        told = {
            **self._provenance.to_json(),
            **({"metric": [fit.to_json() for fit in fits], "disparity": "metres"} if fits else {}),
            "frames": self._frames,
            "output_size": str(self._provenance.output_size(self._request)),
            "normalize": self._request.normalization.mode,
        }
        if len(shots) < len(self._film.shots):
            return told
        if aligned := [{"shot": s.index, **s.seams.to_json()} for s in shots if s.seams]:
            told["alignment"] = aligned
        values = _extremes(shots, inverted=self._request.invert)
        told["value_range"] = [values.low, values.high]
        return {**told, **({"shots": [s.to_json() for s in shots]} if len(shots) > 1 else {})}


def deliver(
    request: RunRequest,
    reading: ReadOptions,
    provenance: Provenance,
    states: Sequence[ShotState],
    observer: Observer,
    published: Published,
    warn: Warn = ignore,
) -> dict[str, Any]:
    """Write all shots of a video, which are complete, to its outputs; returns what is told of them.

    Raises as :class:`Delivery`.
    """
    film = _times_of(states)
    ranges = _ranges(request, film, [state.disparity for state in states], observer)
    common = request, reading, provenance, film, observer, published, warn
    with Delivery(*common, ranges=ranges) as delivery:
        for shot, state in zip(film.shots, states, strict=True):
            delivery.write(shot.index, state.disparity)
    return delivery.metadata


def seam_residuals(metadata: Mapping[str, Any]) -> tuple[float, float] | None:
    """By how much neighbouring windows disagreed, before and after they were aligned.

    The mean over all that ``metadata`` tells of; None if there are none.
    """
    told = metadata.get("alignment", [])
    seams = [each["windows"] - 1 for each in told]
    if not seams:
        return None
    values = [[each["seam_residual"][when] for each in told] for when in ("before", "after")]
    before, after = (sum(map(mul, seams, each)) / sum(seams) for each in values)
    return before, after


def _times_of(states: Sequence[ShotState]) -> FilmTimes:
    """When the shots of a video are shown, by complete states."""
    shots, start = [], 0
    for index, state in enumerate(states):
        with state.spool as spool:
            _disparity, first = next(spool.frames())
            shots.append(Shot(index, start, start + len(spool), first))
        start += len(spool)
    unit = SpooledFilm([state.spool for state in states]).time_base
    return FilmTimes(tuple(shots), unit, states[-1].end())


def _ranges(
    request: RunRequest, film: FilmTimes, spools: Sequence[ShotDisparity], observer: Observer
) -> list[ShotRange]:
    """Each shot with a range of its own, or with that of the whole film."""
    alone = [SpooledFilm([spool]) for spool in spools]
    by_shot = request.range_of == "shot"
    parts = alone if by_shot else [SpooledFilm(spools)]
    reads_all = request.normalization.mode == "percentile"
    if reads_all:
        observer(Progress("normalize", 0, len(parts), unit="pass"))
    values = []
    for done, part in enumerate(parts, 1):
        values.append(_range_of(request, part))
        if reads_all:
            observer(Progress("normalize", done, len(parts), unit="pass"))
    return [
        _told(film, shot, values[shot.index if by_shot else 0], spool)
        for shot, spool in zip(film.shots, spools, strict=True)
    ]


def _range_of(request: RunRequest, film: SpooledFilm) -> ValueRange:
    found = value_range(request.normalization, film)
    return ValueRange(found.high, found.low) if request.invert else found


def _told(film: FilmTimes, shot: Shot, values: ValueRange, spool: ShotDisparity) -> ShotRange:
    end, seams = film.end_of(shot), spool.seams
    return ShotRange(shot.index, shot.start, len(shot), shot.time, values, end, seams)


def _fits(request: RunRequest, film: FilmTimes) -> list[MetricFit]:
    """What makes metres of each shot's disparity; nothing where these are not asked for."""
    if request.metric is None:
        return []
    fits = read_fits(request.metric)
    starts, expected = [fit.first_frame for fit in fits], [shot.start for shot in film.shots]
    if starts != expected:
        raise InputError(
            f"{request.metric} is for shots that begin at the frames {starts}, and this film has "
            f"them at {expected}, expected the same: fit a result of this very run."
        )
    return fits


def _extremes(shots: Sequence[ShotRange], *, inverted: bool) -> ValueRange:
    """The range that holds those of all shots, from its nearest on where they are ``inverted``."""
    least, most = (max, min) if inverted else (min, max)
    ranges = [shot.values for shot in shots]
    return ValueRange(least(each.low for each in ranges), most(each.high for each in ranges))


def _carried(
    request: RunRequest, reading: ReadOptions, provenance: Provenance, warn: Warn
) -> dict[str, Any]:
    """The sound, the timecode and the start offset of the source, for videos of the depth.

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
        "offset": carried.offset,
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
