"""From packets to whole pictures: damage is survived and counted, fields are merged."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path

import av
import av.error
import av.filter

from depthcrafter_cli.errors import InputError
from depthcrafter_cli.media.timestamps import (
    BARE,
    FASTEST,
    REORDERED,
    exact_rate,
    rate_of,
    seconds_of,
)
from depthcrafter_cli.media.track_facts import Crop
from depthcrafter_cli.types import Size

_TRIED_BYTES = 1 << 24  # more than FFmpeg reads ahead

_SAMPLED, _SAMPLED_BYTES = 1000, 1 << 25  # packets at most that are looked at, not decoded
_TAIL = 2  # seconds
# How far from those that a rate promises pictures may be before it is called another one.
_STEPS_OFF, _SHARE_OFF = Fraction(5, 2), Fraction(1, 20)
_TRAILERS = {"gif": b"\0;", "apng": b"IEND"}  # how files of some kinds end
_TRAILER_BYTES = 1024  # with what programs may have put behind them
_IN_FLIGHT = 64  # packets at most that decoding threads work on at once


class Decoder:
    """Decoding that survives damaged packets and counts them."""

    def __init__(self, container: av.container.InputContainer, stream: av.VideoStream) -> None:
        self._container = container
        self._stream = stream
        self.decoded = 0
        """How many pictures there were since the last seek."""
        self._damaged = 0
        self._jumps = 0
        self._packets_taken = self._last_damage = 0
        self.last_shown = Fraction(0)
        """How many seconds the latest picture is shown, 0 where the file does not say."""

    def jumped(self) -> None:
        """A picture's time makes no sense after the one before it."""
        self._jumps += 1

    def pictures(self) -> Iterator[av.VideoFrame]:
        """All pictures from the container's present position to its end.

        Raises InputError where it is the disk or the share that cannot be read, not the video.
        """
        self.decoded = self._damaged = self._jumps = self._packets_taken = 0
        self._last_damage = -_IN_FLIGHT
        is_bare, has_clock = self._stream.time_base == BARE, _has_clock(self._stream)
        for packet in self.packets():
            self._packets_taken += packet is not None and packet.size > 0
            if packet is not None and packet.is_corrupt:
                self._is_damaged()
            try:
                decoded = packet.decode() if packet else self._stream.codec_context.decode(None)
            except av.error.FFmpegError:
                self._is_damaged()
                continue
            for picture in decoded:
                if not has_clock:
                    picture.pts = None
                elif is_bare or picture.pts is None:  # as of a container that knows no other
                    picture.pts = picture.dts
                if picture.time_base is None:  # it was in the decoder when reading broke off
                    picture.time_base = self._stream.time_base
                self.decoded += 1
                self._damaged += picture.is_corrupt
                self.last_shown = (picture.duration or 0) * Fraction(picture.time_base)
                yield picture

    def pictures_from(self, time: Fraction, zero: Fraction) -> Iterator[av.VideoFrame]:
        """The pictures from a keyframe at or before ``time`` on, both by the file's clock.

        ``zero`` is the time of the first one. The container must have an index. Raises as
        :meth:`pictures` does.
        """
        target, step = time, 1 / rate_of(self._stream)
        while target > zero:
            self._seek(target)
            pictures = self.pictures()
            # Those of an open group that are shown before its keyframe lack what they refer to.
            keyframe = next((one for one in islice(pictures, 2 * REORDERED) if one.key_frame), None)
            if keyframe is not None and (seconds_of(keyframe) or zero) <= time:
                return chain([keyframe], pictures)
            target, step = target - step, 2 * step
        self._seek(zero)
        return self.pictures()

    def _seek(self, time: Fraction) -> None:
        offset = int(time / Fraction(self._stream.time_base))
        self._container.seek(offset, stream=self._stream, backward=True)

    def packets(self) -> Iterator[av.Packet | None]:
        """The stream's packets; None in place of the final one where reading broke off."""
        position = 0
        while True:
            try:
                for packet in self._container.demux(self._stream):
                    position = max(position, (packet.pos or 0) + packet.size)
                    yield packet
                if _is_cut_off(self._container, position):
                    self._is_damaged()
                return
            except IndexError:
                continue  # of a stream that begins midway, which PyAV knows from the next call on
            except av.error.FFmpegError:
                require_readable(Path(self._container.name), position)
                self._is_damaged()
                yield None
                return

    def _is_damaged(self) -> None:
        self._damaged += 1
        self._last_damage = self._packets_taken

    @property
    def ended_damaged(self) -> bool:
        """Whether the last packets were damaged, of which the threads may still hold some."""
        return self._packets_taken - self._last_damage < _IN_FLIGHT

    @property
    def pictures_missing(self) -> bool:
        """Whether fewer pictures came than packets went in, for whatever reason."""
        return self.decoded < self._packets_taken

    def complaint(
        self, read: Fraction, expected: Fraction | None, *, is_cut: bool = False
    ) -> str | None:
        """What is wrong with a file read to its end, None if nothing.

        ``read`` and ``expected`` are seconds. Not all files tell their length exactly; one that
        ``is_cut`` is known to lack its end, be it of the index alone.
        """
        shown = 1 / rate_of(self._stream)
        tolerance = shown / 2 if is_cut else max(Fraction(1, 2), 2 * shown)
        told = []
        if expected is not None and read < expected - tolerance:
            told.append(
                f"only {float(read):.1f} of {float(expected):.1f} s ({self.decoded} frames) can "
                "be decoded, and the result ends there; copy or download the file again"
            )
        elif self._damaged:
            told.append(
                f"{self._damaged} of its packets or frames are corrupt, and the depth around them "
                "may be wrong; copy or download the file again"
            )
        if self._jumps:
            told.append(
                f"its clock jumps {self._jumps} times, and the frames there are placed one after "
                "the other; check the times of the result"
            )
        return "; ".join(told) or None


def _is_cut_off(container: av.container.InputContainer, read_to: int) -> bool:
    """Whether a file ends within a picture, of those kinds of which FFmpeg does not tell it."""
    kind = container.format.name
    if kind not in _TRAILERS:
        return bool(kind == "yuv4mpegpipe" and read_to < container.size)
    with Path(container.name).open("rb") as file:
        file.seek(max(0, container.size - _TRAILER_BYTES))
        return _TRAILERS[kind] not in file.read()


def _repeats_fields(stream: av.VideoStream) -> bool:
    return bool(stream.codec_context.name in ("mpeg1video", "mpeg2video"))


def _has_clock(stream: av.VideoStream) -> bool:
    """Whether times mean anything: of bare streams FFmpeg makes them up, at first by another rate.

    Those at which MPEG is decoded do, as they follow from the fields that it repeats.
    """
    return stream.time_base != BARE or _repeats_fields(stream)


def measured(
    container: av.container.InputContainer,
    stream: av.VideoStream,
    count: int | None,
    rate: Fraction,
) -> tuple[int | None, Fraction]:
    """How many pictures a video holds that was just opened, and how many a second, by its packets.

    The number is exact where these are few. The first ones tell whether ``count`` and ``rate``,
    which are the container's own or guessed by FFmpeg, are right: at a variable rate and where film
    is telecined guesses are not.
    """
    stamps, shown, is_whole = _sampled(container, stream)
    if stream.frames and count == stream.frames and rate <= FASTEST:
        return (shown if is_whole and shown else count), rate
    known = [stamp for stamp in stamps if stamp is not None]
    steps = len(known) - 1
    span = known[-1] - known[0] if steps > 0 else Fraction(0)
    told, off = rate, max(_STEPS_OFF, steps * _SHARE_OFF)
    if span > 0 and abs(span * rate - steps) > off and known == sorted(known):
        # Where fields are repeated half a one may be missing at both ends.
        unsure = Fraction(1, 5000)
        if _repeats_fields(stream):
            unsure = max(Fraction(1, 1000), Fraction(1, 4 * steps))
        rate = exact_rate(steps / span, unsure)
    if is_whole:
        return shown or None, rate
    if container.format.name == "mpeg" and span and container.duration:
        # It tells when its last pack begins, at most.
        seconds = Fraction(container.duration, av.time_base)
        container.seek(int((known[0] + max(seconds - _TAIL, Fraction(0))) * av.time_base))
        ends = [stamp for stamp in _sampled(container, stream)[0] if stamp is not None]
        last = max(ends, default=known[0] + seconds - 1 / rate)
        return round((last - known[0]) * steps / span) + 1, rate
    return None if count is None else round(count * rate / told), rate


def _sampled(
    container: av.container.InputContainer, stream: av.VideoStream
) -> tuple[list[Fraction | None], int, bool]:
    """When the next pictures are decoded, as far as known, how many are shown, if none follows."""
    stamps: list[Fraction | None] = []
    shown, first, read = 0, None, 0
    has_begun, has_clock, codec = False, _has_clock(stream), stream.codec_context.name
    for packet in Decoder(container, stream).packets():
        if packet is None or len(stamps) >= _SAMPLED or read >= _SAMPLED_BYTES:
            return stamps, shown, False
        if not packet.size:
            break
        read += packet.size
        told = has_clock and packet.dts is not None
        stamps.append(packet.dts * Fraction(stream.time_base) if told else None)
        if not has_begun and packet.is_keyframe:
            # What a stream that begins midway has before it cannot be decoded.
            shown, first, has_begun = int(not packet.is_discard), packet.pts, True
            continue
        # Nor can what is stored after it and shown before it, except in VVC as it is usually coded.
        shown += not packet.is_discard and (not _is_before(packet, first) or codec == "vvc")
    return stamps, shown, True


def _is_before(packet: av.Packet, first: int | None) -> bool:
    """Whether a packet is shown before the first time of a video, which Matroska cannot tell."""
    if first is None or packet.pts is None:
        format_name = packet.stream.container.format.name
        return first is not None and bool(format_name.startswith("matroska"))
    return bool(packet.pts <= first)


def require_regular(path: Path) -> os.stat_result:
    """The status of a regular file, which neither waits for a writer nor goes on for ever.

    Raises InputError for a pipe, a device, a socket or a folder, OSError if there is nothing.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise InputError(
            f"{path} is a pipe, a device, a socket or a folder, expected a regular file: save what "
            "it holds in one."
        )
    return status


@contextmanager
def image_errors(file: Path, kinds: tuple[type[Exception], ...] = (Exception,)) -> Iterator[None]:
    """Inside, what a library of images raises, of such ``kinds``, becomes InputError."""
    try:
        yield
    except InputError:
        raise
    except kinds as error:
        raise InputError(
            f"{file} cannot be read as an image ({str(error) or type(error).__name__}), expected "
            "a complete one: replace or remove it."
        ) from error


def require_readable(path: Path, *positions: int) -> None:
    """Raises InputError, caused by the system's OSError, if a file cannot be read from there on.

    FFmpeg takes that for damage as well, and may say so in the same words.
    """
    try:
        with path.open("rb") as file:
            for position in positions:
                file.seek(position)
                file.read(_TRIED_BYTES)
    except OSError as error:
        raise InputError(
            f"{path} cannot be read any further ({error.strerror}), expected its disk or share to "
            "answer: check that, and try again."
        ) from error


def progressive(pictures: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    """Interlaced video with its two fields merged into whole pictures, one per frame.

    Combed edges would be read as texture. Progressive video passes untouched.
    """
    merge: _Filter | None = None
    for picture in pictures:
        if merge is not None and merge.shape != _shape(picture):
            yield from merge.rest()
            merge = None
        if merge is None and picture.interlaced_frame:
            merge = _Filter(picture, "bwdif", "mode=send_frame:deint=interlaced")
        if merge is None:
            yield picture
        else:
            yield from merge.filtered(picture)
    if merge is not None:
        yield from merge.rest()


def cropped(pictures: Iterator[av.VideoFrame], crop: Crop | None) -> Iterator[av.VideoFrame]:
    """Pictures without what a ``crop`` takes away, which copies nothing.

    Those that are too small for it pass untouched.
    """
    cut: _Filter | None = None
    for picture in pictures:
        named = crop and crop.filter(Size(picture.height, picture.width))
        if not named:
            yield picture
            continue
        if cut is None or cut.shape != _shape(picture):
            cut = _Filter(picture, *named)
        yield from cut.filtered(picture)


class _Filter:
    """One of FFmpeg's filters for pictures of one shape."""

    def __init__(self, first: av.VideoFrame, name: str, arguments: str) -> None:
        self.shape = _shape(first)
        self._graph = av.filter.Graph()
        source = self._graph.add_buffer(
            width=first.width, height=first.height, format=first.format, time_base=first.time_base
        )
        node = self._graph.add(name, arguments)
        self._graph.link_nodes(source, node, self._graph.add("buffersink")).configure()

    def filtered(self, picture: av.VideoFrame) -> Iterator[av.VideoFrame]:
        """Those that are ready with this one."""
        self._graph.push(picture)
        yield from self._pulled()

    def rest(self) -> Iterator[av.VideoFrame]:
        """Those that are ready because nothing follows."""
        self._graph.push(None)
        yield from self._pulled()

    def _pulled(self) -> Iterator[av.VideoFrame]:
        while True:
            try:
                yield self._graph.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return


def _shape(picture: av.VideoFrame) -> tuple[int, int, str]:
    return picture.width, picture.height, picture.format.name
