"""Colourised depth as H.264 video, with the source's exact timestamps."""

from contextlib import suppress
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import av
import av.error
import numpy as np
from av.video.reformatter import ColorRange, Colorspace

from depthcrafter_cli.depth.colorize import colorize
from depthcrafter_cli.errors import OutputError
from depthcrafter_cli.media.sinks.base import DepthFrame, FileSink
from depthcrafter_cli.types import RgbImage, Size

ENCODER = "libx264"
_BT709 = 1  # the same code for primaries, transfer and matrix, ITU-T H.273
_LIMITED_RANGE = 1
# x264's macroblock tree reads memory it has not set: the same pictures gave another file each time.
_EXACT = "mbtree=0"


class VideoSink(FileSink):
    """``.mp4`` and ``.mov``: 8-bit yuv420p, BT.709, any matplotlib colormap.

    With ``side_by_side`` the source stands to the left of the depth. H.264 in 4:2:0 has even
    sides only: an odd one is extended by repeating its last row or column.
    """

    bytes_per_pixel = 0.1  # measured: 0.01 to 0.07, and 0.3 without loss

    @classmethod
    def check(cls, out: Path) -> None:
        if ENCODER not in av.codec.codecs_available:
            raise OutputError(
                f"{out} needs the encoder {ENCODER}, which this build of PyAV lacks, expected the "
                "one from PyPI: pip install --force-reinstall av, or write .npz or .png."
            )

    @classmethod
    def picture_size(cls, size: Size, *, side_by_side: bool) -> Size:
        return Size(_even(size.height), _even(size.width * (2 if side_by_side else 1)))

    @classmethod
    def check_size(cls, out: Path, size: Size) -> None:
        """Asks the encoder."""
        container_format = out.suffix[1:].lower()
        try:
            with av.open(BytesIO(), "w", format=container_format) as container:
                stream = _add_stream(container, size, Fraction(24), Fraction(1, 24), crf=18)
                stream.codec_context.open()
        except av.error.FFmpegError as error:
            raise OutputError(
                f"{out} would be {size} pixels, expected a size that {ENCODER} encodes (sides up "
                "to 16384): pass a smaller `size`, leave `side_by_side` out, or write .npz or PNGs."
            ) from error

    @property
    def needs_rgb(self) -> bool:
        return self.settings.side_by_side

    def _begin(self) -> None:
        settings = self.settings
        self._first_decoded: int | None = None
        self._container = av.open(self._file, "w", format=self.path.suffix[1:].lower())
        values = settings.value_range
        self._container.metadata["comment"] = (
            f"Relative disparity, larger is nearer; 0 to 1 is raw {values.low:g} to {values.high:g}"
        )
        self._stream = _add_stream(
            self._container,
            self.picture_size(settings.size, side_by_side=settings.side_by_side),
            settings.rate,
            settings.time_base,
            settings.crf,
        )

    def _write(self, frame: DepthFrame) -> None:
        picture = av.VideoFrame.from_ndarray(self._picture(frame), format="rgb24").reformat(
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
        )
        picture.time_base = self.settings.time_base
        picture.pts = self._units(frame.time)
        picture.duration = max(self._units(1 / self.settings.rate), 1)
        self._mux(self._encoded(picture))

    def _encoded(self, picture: av.VideoFrame | None) -> list[av.Packet]:
        """The packets that come with a picture, with None those that are left."""
        packets = self._stream.encode(picture)
        if self.settings.end is not None:
            # FFmpeg writes an MP4 to be as long as its packets say, those without a word as long as
            # an average one, which at a variable rate may lead past the end.
            end, usual = self._units(self.settings.end), self._units(1 / self.settings.rate)
            for packet in packets:
                if packet.pts + max(packet.duration, usual) > end:
                    packet.duration = max(1, end - packet.pts)
        return packets

    def _mux(self, packets: list[av.Packet]) -> None:
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

    def _picture(self, frame: DepthFrame) -> RgbImage:
        depth = colorize(frame.normalized, self.settings.colormap)
        if self.settings.side_by_side:
            if frame.rgb is None:
                raise ValueError("side by side needs the source picture of every frame")
            depth = np.concatenate([frame.rgb, depth], axis=1)
        height, width = depth.shape[:2]
        padding = ((0, height % 2), (0, width % 2), (0, 0))
        return np.pad(depth, padding, mode="edge") if height % 2 or width % 2 else depth

    def _units(self, seconds: Fraction) -> int:
        return round(seconds / self.settings.time_base)

    def _end(self) -> None:
        packets = self._encoded(None)
        if packets and self.settings.end is not None:
            self._show_until(self._units(self.settings.end), packets)
        self._mux(packets)
        self._container.close()

    def _show_until(self, end: int, packets: list[av.Packet]) -> None:
        """Gives the last picture its own duration; the others' follow from the next one's time.

        ``packets`` are the last ones, in the order of decoding, which begins before time 0 if it is
        not that of showing.
        """
        shown_last, first = max(packets, key=_shown_at), self._first_decoded
        shown_last.duration = end - shown_last.pts
        packets[-1].duration = end - (
            packets[-1].dts - (packets[0].dts if first is None else first)
        )

    def _release(self) -> None:
        if hasattr(self, "_container"):
            with suppress(av.error.FFmpegError):
                self._container.close()


def _add_stream(
    container: av.container.OutputContainer,
    size: Size,
    rate: Fraction,
    time_base: Fraction,
    crf: int,
) -> av.VideoStream:
    stream = container.add_stream(ENCODER, rate=rate.limit_denominator(65535))
    stream.height, stream.width = size.height, size.width
    stream.pix_fmt = "yuv420p"
    stream.time_base = time_base
    stream.options = {"crf": str(crf), "preset": "veryfast", "x264-params": _EXACT}
    context = stream.codec_context
    context.time_base = time_base
    context.color_range = _LIMITED_RANGE
    context.colorspace = context.color_primaries = context.color_trc = _BT709
    return stream


def _shown_at(packet: av.Packet) -> int:
    return int(packet.pts)


def _even(side: int) -> int:
    return side + side % 2
