"""Depth as video, with the source's exact timestamps."""

import os
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from io import BytesIO
from operator import attrgetter
from pathlib import Path
from typing import Any, BinaryIO

import av
import av.error
import av.video.plane
import numpy as np
import numpy.typing as npt
from av.video.reformatter import ColorRange, Colorspace

from depthcrafter_cli.depth.colorize import opaque_colours
from depthcrafter_cli.depth.dither import dithered
from depthcrafter_cli.errors import OutputError, UsageError
from depthcrafter_cli.media.look import Codec, Look, check_codec, codec_for, encoder_options
from depthcrafter_cli.media.packets import PacketFile, read_packets, shown_at
from depthcrafter_cli.media.resize import as_shown
from depthcrafter_cli.media.sinks.base import RANGE, SHAPE, DepthFrame, FileSink, ShotRange
from depthcrafter_cli.media.sinks.matroska import amend_track
from depthcrafter_cli.media.sinks.shown import shown, shows_source
from depthcrafter_cli.media.sound import SoundCopy
from depthcrafter_cli.media.timestamps import common_unit
from depthcrafter_cli.types import Disparity, Size

_BT709 = 1  # the same code for primaries, transfer and matrix, ITU-T H.273
_FORMATS = {".mkv": "matroska"}  # FFmpeg's names, where they are not the suffix
_OPTIONS = {
    ".mkv": {"fflags": "+bitexact"},  # identifiers would be drawn by lot
    ".mp4": {"movflags": "+faststart"},  # so that browsers begin before they have all of it
}
# Threads of swscale write past the ends of their rows, into those of others; PyAV 16 has none.
_ONE_THREAD = {} if int(av.__version__.split(".")[0]) < 17 else {"threads": 1}
_RGB = {3: "rgb24", 4: "rgba"}  # by bytes of a pixel

# SVT-AV1 tells its settings on stderr otherwise.
os.environ.setdefault("SVT_LOG", "1")


class VideoSink(FileSink):
    """``.mp4``, ``.mov`` and ``.mkv``, encoded as :mod:`~depthcrafter_cli.media.look` says.

    A matte is normalised depth as it is, in one channel. All others are pictures in BT.709: in
    any matplotlib colormap, of which ``gray`` has all levels of the codec; with ``side_by_side``
    the source stands to the left. Where colour is stored at half the size, sides are even: an odd
    one is extended by repeating its last row or column. Each shot is encoded as if it were alone,
    and begins with a key frame.
    """

    carries_more = waits = keeps_shots = True
    held_per_pixel = 18.0  # measured at 1920x1080: frames that x264 looks ahead at
    _sound: SoundCopy | None = None

    @classmethod
    def check_look(cls, out: Path, look: Look) -> None:
        check_codec(out, codec_for(out, look), look)

    @classmethod
    def reads(cls, out: Path, look: Look) -> frozenset[str]:
        return SHAPE | RANGE | codec_for(out, look).reads | {"audio"}

    @classmethod
    def picture_size(cls, out: Path, size: Size, look: Look) -> Size:
        pictures = Size(size.height, size.width * (2 if look.side_by_side else 1))
        return codec_for(out, look).extended(pictures)

    @classmethod
    def frame_bytes(cls, out: Path, size: Size, look: Look) -> float:
        pictures = cls.picture_size(out, size, look)
        return codec_for(out, look).bytes_per_pixel * pictures.height * pictures.width

    @classmethod
    def check_size(cls, out: Path, size: Size, look: Look) -> None:
        """Ask the encoder whether it takes pictures of this size."""
        pictures, codec = cls.picture_size(out, size, look), codec_for(out, look)
        try:
            with av.open(BytesIO(), "w", format=_format_of(out)) as container:
                stream = _add_stream(container, codec, pictures, Fraction(24), Fraction(1, 24))
                context = stream.codec_context
                context.open()
                unread = sorted({*context.options} & {*encoder_options(look.encoder_option)})
        except (av.error.FFmpegError, ValueError) as error:
            raise OutputError(
                f"{out} would be {pictures} pixels, expected a size that {codec.encoder} encodes "
                "(sides up to 16384): pass a smaller `size`, leave `side_by_side` out, or write "
                ".npz or PNGs."
            ) from error
        if unread:
            raise UsageError(
                f"got `encoder_option` {unread[0]} for {out}, expected an option of "
                f"{codec.encoder}: see `ffmpeg -h encoder={codec.encoder}`."
            )

    @property
    def needs_rgb(self) -> bool:
        return shows_source(self.settings.look)

    def _begin(self) -> None:
        settings = self.settings
        self._codec = codec_for(self.path, settings.look)
        self._first_decoded: int | None = None
        self._waiting: list[av.Packet] = []
        self._encoder: av.VideoStream | None = None  # of the shot under way
        self._alone: av.container.OutputContainer | None = None  # holds it, if no other shot's
        self._kept: PacketFile | None = None  # what it gave
        # When the coming packets are decoded, in a film of several shots: encoders know their own.
        self._decoded = deque[int]() if settings.kept or len(settings.shots) > 1 else None
        self._file.name = f"output{self.path.suffix}"  # PyAV hands it on, and reads it as UTF-8
        self._container = av.open(
            self._file,
            "w",
            format=_format_of(self.path),
            container_options=_OPTIONS.get(self.path.suffix.lower(), {}),
            io_open=self._reopened,
        )
        told = "has a range of its own in each shot"
        if not settings.own_ranges:
            told = f"is raw {settings.whole_range.low:g} to {settings.whole_range.high:g}"
        self._container.metadata["comment"] = f"Relative disparity, larger is nearer; 0 to 1 {told}"
        self._stream = self._stream_in(self._container)
        if settings.timecode:
            self._stream.metadata["timecode"] = settings.timecode
        if settings.sound is not None:
            sound = replace(settings.sound, start=settings.sound.start - settings.offset)
            self._sound = sound.into(self._container, self.path)

    def _reopened(self, _name: str, _flags: int, _options: object) -> BinaryIO:
        """The file once more, to be read while its index goes before the pictures."""
        return self._part.open("rb")

    def _stream_in(self, container: av.container.OutputContainer) -> av.VideoStream:
        settings = self.settings
        pictures = self.picture_size(self.path, settings.size, settings.look)
        stream = _add_stream(container, self._codec, pictures, settings.rate, self._unit)
        if settings.pixel_aspect != 1:
            stream.codec_context.sample_aspect_ratio = settings.pixel_aspect
        return stream

    def _write(self, frame: DepthFrame) -> None:
        if self._encoder is None:
            self._begin_shot(frame.shot)
        picture = self._picture(frame)
        if not self._codec.matte:
            _tag(picture)
        picture.time_base = self._unit
        picture.pts = self._moment(frame.time)
        picture.duration = max(self._units(1 / self.settings.rate), 1)
        packets = self._encoded(picture)
        if self._kept is not None:
            self._kept.write(packets)
            return
        if self._sound is not None:
            self._sound.copy(until=self.settings.offset + frame.time)
        self._ends = frame.time + 1 / self.settings.rate
        self._decode_at([picture.pts])
        self._mux(packets)

    def _begin_shot(self, shot: ShotRange | None) -> None:
        """Begin to encode; by the stream's own encoder if it has not encoded another shot."""
        if self._written == 0 and not self.settings.kept:
            self._encoder = self._stream
            return
        self._alone = av.open(BytesIO(), "w", format=_format_of(self.path))
        self._encoder = self._stream_in(self._alone)
        if self.settings.kept:
            assert shot is not None
            self._kept = PacketFile(self.settings.kept[shot.index])

    def _end_shot(self) -> None:
        packets = self._encoded(None)
        self._encoder = None
        if self._alone is not None:
            self._alone.close()
        if self._kept is None:
            self._mux(packets, is_end=self._written == self.settings.frame_count)
            return
        self._kept.write(packets, at_end=True)
        self._kept.keep()
        self._kept = None

    def holds(self, shot: ShotRange, numbers: Sequence[int]) -> bool:
        return self.settings.kept[shot.index].is_file()

    def _encoded(self, picture: av.VideoFrame | None) -> list[av.Packet]:
        """The packets that come with a picture, with None those that are left."""
        assert self._encoder is not None
        packets: list[av.Packet] = self._encoder.encode(picture)
        if self.settings.end is not None:
            # FFmpeg writes an MP4 to be as long as its packets say, those without a word as long as
            # an average one, which at a variable rate may lead past the end.
            end, usual = self._moment(self.settings.end), self._units(1 / self.settings.rate)
            for packet in packets:
                if packet.pts + max(packet.duration, usual) > end:
                    packet.duration = max(1, end - packet.pts)
        return packets

    def _decode_at(self, shown: Sequence[int]) -> None:
        """Note when the next packets are decoded, by when the next pictures are shown, in order.

        Where frames are reordered, that is two pictures before, as far as x264 and x265 go.
        """
        if self._decoded is None:
            return
        reorders = self._stream.codec_context.codec.reorder
        if self._first_decoded is None and not self._decoded and reorders:
            usual = max(self._units(1 / self.settings.rate), 1)
            self._decoded.extend((shown[0] - 2 * usual, shown[0] - usual))
        self._decoded.extend(shown)

    def _mux(self, packets: list[av.Packet], *, is_end: bool = False) -> None:
        """Add packets, the last ones with the rest of the sound; the newest waits for the next."""
        # Encoders without delay give the last one before it is known to be that.
        packets = [*self._waiting, *packets]
        known = len(packets) if is_end else max(len(packets) - 1, 0)
        packets, self._waiting = packets[:known], packets[known:]
        for packet in packets:
            packet.stream = self._stream
            if self._decoded is not None:
                packet.dts = self._decoded.popleft()
        if is_end and packets and self.settings.end is not None:
            self._show_until(self.settings.end, packets)
        if is_end and self._sound is not None:
            self._sound.end(self.settings.offset + (self.settings.end or self._ends))
        if packets and self._first_decoded is None:
            self._first_decoded = packets[0].dts
        try:
            self._container.mux(packets)
        except av.error.PatchWelcomeError as error:
            raise OutputError(
                f"{self.path} would have a pause between two frames that is longer than this kind "
                "of file can hold, expected hours at most: make .npz or PNGs of what is computed, "
                "with `depthcrafter finish`."
            ) from error

    def _picture(self, frame: DepthFrame) -> av.VideoFrame:
        """A frame in the codec's pixel format."""
        codec, look = self._codec, self.settings.look
        is_gray = look.colormap == "gray" and not shows_source(look)
        if codec.matte or (is_gray and (codec.bits > 8 or self.settings.dither)):
            return _gray_picture(codec, self._padded(frame.normalized))
        colours = self._padded(self._colours(frame))
        picture = av.VideoFrame.from_ndarray(colours, format=_RGB[colours.shape[-1]])
        return picture.reformat(
            format=codec.pix_fmt,
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
            **_ONE_THREAD,
        )

    def _colours(self, frame: DepthFrame) -> npt.NDArray[np.uint8]:
        """What is seen of a frame in a video of colours, uint8 [H, W, 3 or 4], without the last."""
        look = self.settings.look
        if shows_source(look):
            return shown(frame, self.settings)
        return opaque_colours(frame.normalized, look.colormap, dither=self.settings.dither)

    def _padded(self, picture: npt.NDArray[Any]) -> npt.NDArray[Any]:
        height, width = picture.shape[:2]
        whole = self._codec.extended(Size(height, width))
        if whole == Size(height, width):
            return picture
        more = ((0, whole.height - height), (0, whole.width - width), (0, 0))
        return np.pad(picture, more[: picture.ndim], mode="edge")

    @property
    def _unit(self) -> Fraction:
        """The unit of time of the video, in seconds."""
        unit, offset = self.settings.time_base, self.settings.offset
        return common_unit(unit, offset) if offset else unit

    def _units(self, seconds: Fraction) -> int:
        return round(seconds / self._unit)

    def _moment(self, time: Fraction) -> int:
        return self._units(self.settings.offset + time)

    def _end(self) -> None:
        if self._encoder is not None:
            self._end_shot()
        for path in self.settings.kept:
            self._mux_kept(path, is_last=path == self.settings.kept[-1])
        self._container.close()
        if _format_of(self.path) == "matroska":
            self._amend()

    def _amend(self) -> None:
        """Say what FFmpeg does not, and not what is wrong: one rate where it varies."""
        aspect, stored = self.settings.pixel_aspect, Size(self._stream.height, self._stream.width)
        size, is_variable = as_shown(stored, aspect), 1 / self.settings.rate % self._unit != 0
        try:
            amend_track(self._file, size if aspect != 1 else None, is_variable=is_variable)
        except ValueError as error:
            told = "expected some: pass `square`, or write .mp4 or .mov, with `depthcrafter finish`"
            raise OutputError(f"{self.path} {error}, {told}.") from error

    def _mux_kept(self, path: Path, *, is_last: bool) -> None:
        """Add the packets of a shot that waited for the others."""
        self._decode_at(shown_at(path))
        ends = []
        for packet, at_end in read_packets(path, self._unit):
            if at_end:
                ends.append(packet)
                continue
            if self._sound is not None:
                self._sound.copy(until=packet.pts * self._unit)
            self._mux([packet])
        self._mux(ends, is_end=is_last)

    def _show_until(self, end: Fraction, packets: list[av.Packet]) -> None:
        """Gives the last picture its own duration; the others' follow from the next one's time.

        ``packets`` are the last ones, in the order of decoding, which begins before time 0 if it is
        not that of showing.
        """
        shown_last = max(packets, key=attrgetter("pts"))
        shown_last.duration = self._moment(end) - shown_last.pts
        if _format_of(self.path) != "matroska":  # which tells how long each picture is shown
            begun = packets[0].dts if self._first_decoded is None else self._first_decoded
            packets[-1].duration = self._units(end) - (packets[-1].dts - begun)

    def _release(self) -> None:
        if self._sound is not None:
            self._sound.close()
        if hasattr(self, "_container"):
            if self._kept is not None:
                self._kept.drop()
            with suppress(av.error.FFmpegError):
                self._container.close()


def _gray_picture(codec: Codec, normalized: Disparity) -> av.VideoFrame:
    """Depth as luma: of full range in a matte, else of video's, ITU-R BT.709.

    It is written sample by sample: swscale is off by up to 4 levels of 10 bits on this way, and
    from 8 bits would round twice, which draws edges into slopes again.
    """
    black, span = 16 << codec.bits - 8, 219 << codec.bits - 8
    if codec.matte:
        black, span = 0, (1 << codec.bits) - 1
    height, width = normalized.shape
    picture = av.VideoFrame(width, height, codec.pix_fmt)
    luma, *chroma = picture.planes
    samples = np.multiply(normalized, span, dtype=np.float64)
    samples += black
    kind = "u1" if codec.bits == 8 else "<u2"
    _fill(luma, dithered(samples) if codec.bits == 8 else np.rint(samples, out=samples), kind)
    for plane in chroma:
        _fill(plane, 1 << codec.bits - 1, kind)
    return picture


def _fill(plane: av.video.plane.VideoPlane, samples: npt.NDArray[Any] | int, kind: str) -> None:
    """Write samples of a ``kind`` that NumPy knows; rows may be longer in memory."""
    rows = np.zeros((plane.height, plane.line_size // np.dtype(kind).itemsize), kind)
    rows[:, : plane.width] = samples
    plane.update(rows)


def _add_stream(
    container: av.container.OutputContainer,
    codec: Codec,
    size: Size,
    rate: Fraction,
    time_base: Fraction,
) -> av.VideoStream:
    stream = container.add_stream(codec.encoder, rate=rate.limit_denominator(65535))
    stream.height, stream.width = size.height, size.width
    stream.pix_fmt = codec.pix_fmt
    stream.time_base = time_base
    stream.options = dict(codec.options)
    context = stream.codec_context
    context.time_base = time_base
    if codec.tag and container.format.name != "matroska":
        context.codec_tag = codec.tag
    if codec.matte:
        context.color_range = ColorRange.JPEG
    else:
        context.color_range = ColorRange.MPEG
        context.colorspace = context.color_primaries = context.color_trc = _BT709
    return stream


def _tag(picture: av.VideoFrame) -> None:
    """Name the colours in the picture itself, where ProRes takes them from; PyAV 16 cannot."""
    for name in ("colorspace", "color_primaries", "color_trc"):
        if hasattr(picture, name):
            setattr(picture, name, _BT709)
    picture.color_range = ColorRange.MPEG


def _format_of(path: Path) -> str:
    return _FORMATS.get(path.suffix.lower(), path.suffix.lower()[1:])
