"""Decoding of video files with PyAV: pictures with exact timestamps, one pass, streaming."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import av.error
import av.filter
from av.stream import Disposition

from depthcrafter_cli.errors import InputError
from depthcrafter_cli.media.resize import MOST_PIXELS, require_sane
from depthcrafter_cli.media.scale import quarter_turns
from depthcrafter_cli.types import Size, VideoInfo

# Containers whose index makes a seek to a time exact; others are read from the beginning.
_INDEXED_FORMATS = ("mov", "matroska")
# These only list other files, which could be any of this machine's.
_PLAYLISTS = {"hls", "concat", "dash", "imf", "webm_dash_manifest", "sdp"}
_LOCAL_ONLY = {"protocol_whitelist": "file"}
_SEEK_FROM = Fraction(2)  # seconds: below this, decoding is quicker than seeking
_HDR_TRANSFERS = (16, 18)  # PQ and HLG, ITU-T H.273 table 3


class VideoFile:
    """A video file; opened anew by each method, closed when it returns or is abandoned."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def info(self) -> VideoInfo:
        """Size, rate and length; decodes one frame, so that an undecodable file fails here.

        Raises InputError.
        """
        with self._opened() as (container, stream):
            first = next(_Decoder(container, stream).pictures(), None)
            if first is None:
                raise InputError(
                    f"No frame of {self.path} can be decoded, expected a complete video file: "
                    "check that its download or copy finished."
                )
            rate = _rate(stream)
            seconds = _expected_seconds(container, stream)
            count = stream.frames or (round(seconds * rate) if seconds else None)
            return VideoInfo(self.path, _displayed_size(stream, first), rate, count)

    def pictures(
        self, start: Fraction, warn: Callable[[str], None]
    ) -> Iterator[tuple[Fraction, av.VideoFrame]]:
        """(seconds from the first frame, picture) in order; may begin before ``start``.

        Damage never ends the reading early without a word: what can be decoded is handed out,
        then ``warn`` gets one sentence.
        """
        with self._opened() as (container, stream):
            decoder = _Decoder(container, stream)
            pictures = decoder.pictures()
            first = next(pictures, None)
            if first is None:
                return
            zero, time = _seconds(first) or Fraction(0), Fraction(0)
            if start > _SEEK_FROM and container.format.name.startswith(_INDEXED_FORMATS):
                offset = int((zero + start) / Fraction(stream.time_base))
                container.seek(offset, stream=stream, backward=True)  # the keyframe before it
                pictures = decoder.pictures()
            else:
                pictures = chain([first], pictures)
            for time, picture in _timed(_progressive(pictures), zero, 1 / _rate(stream)):
                yield time, picture
            read, expected = time + 1 / _rate(stream), _expected_seconds(container, stream)
            if complaint := decoder.complaint(read, expected):
                warn(f"{self.path} is damaged: {complaint}.")

    @contextmanager
    def _opened(self) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
        container = self._open()
        with container:
            yield container, self._video_stream(container)

    def _open(self) -> av.container.InputContainer:
        try:
            if not self.path.stat().st_size:
                raise InputError(
                    f"{self.path} is empty (0 bytes), expected a video: check its download or copy."
                )
            container = av.open(str(self.path), metadata_errors="ignore", options=_LOCAL_ONLY)
        except FileNotFoundError:
            raise InputError(
                f"There is no {self.path}, expected a video file or a folder of images: "
                "check the path."
            ) from None
        except av.error.FFmpegError as error:
            raise InputError(
                f"{self.path} cannot be read as a video ({error.strerror}), expected a complete "
                "file such as MP4, MOV or MKV: check that it is one."
            ) from error
        except OSError as error:
            raise InputError(
                f"{self.path} cannot be opened ({error.strerror}), expected a readable file: "
                "check its permissions."
            ) from error
        if container.format.name in _PLAYLISTS:
            container.close()
            raise InputError(
                f"{self.path} is a playlist ({container.format.name}), expected a video: give one "
                "of the files it names."
            )
        return container

    def _video_stream(self, container: av.container.InputContainer) -> av.VideoStream:
        for stream in container.streams.video:
            if stream.disposition & Disposition.attached_pic:
                continue
            if stream.codec_context is None:
                raise InputError(
                    f"{self.path} holds video of a kind that cannot be decoded here, expected a "
                    "common codec: convert it to H.264 first."
                )
            context = stream.codec_context
            require_sane(self.path, Size(context.height, context.width))
            context.options = {"max_pixels": str(MOST_PIXELS)}  # for frames of another size
            stream.thread_type = "AUTO"
            return stream
        kinds = sorted({stream.type for stream in container.streams}) or ["nothing"]
        raise InputError(
            f"{self.path} has no video stream (it holds {', '.join(kinds)}), expected a video: "
            "choose another file."
        )


class _Decoder:
    """Decoding that survives damaged packets and counts them."""

    def __init__(self, container: av.container.InputContainer, stream: av.VideoStream) -> None:
        self._container = container
        self._stream = stream
        self._decoded = 0
        self._damaged = 0

    def pictures(self) -> Iterator[av.VideoFrame]:
        """All pictures from the container's present position to its end."""
        self._decoded = self._damaged = 0
        for packet in self._packets():
            try:
                decoded = packet.decode() if packet else self._stream.codec_context.decode(None)
            except av.error.FFmpegError:
                self._damaged += 1
                continue
            for picture in decoded:
                self._decoded += 1
                self._damaged += picture.is_corrupt
                yield picture

    def _packets(self) -> Iterator[av.Packet | None]:
        """The stream's packets; None in place of the final one where reading broke off."""
        try:
            yield from self._container.demux(self._stream)
        except av.error.FFmpegError:
            self._damaged += 1
            yield None

    def complaint(self, read: Fraction, expected: Fraction | None) -> str | None:
        """What is wrong with a file read to its end, None if nothing."""
        tolerance = max(Fraction(1, 2), 2 / _rate(self._stream))
        if expected is not None and read < expected - tolerance:
            return (
                f"only {float(read):.1f} of {float(expected):.1f} s ({self._decoded} frames) can "
                "be decoded, and the result ends there; copy or download the file again"
            )
        if self._damaged:
            return (
                f"{self._damaged} of its packets or frames are corrupt, and the depth around them "
                "may be wrong; copy or download the file again"
            )
        return None


def _rate(stream: av.VideoStream) -> Fraction:
    # Unset rates come as None or as 0; a raw stream without any is taken at FFmpeg's own 25.
    return Fraction(stream.average_rate or stream.guessed_rate or 25)


def _seconds(picture: av.VideoFrame | None) -> Fraction | None:
    if picture is None or picture.pts is None:
        return None
    return picture.pts * Fraction(picture.time_base)


def _expected_seconds(
    container: av.container.InputContainer, stream: av.VideoStream
) -> Fraction | None:
    """How long the container says that the video is, None where it does not."""
    whole = Fraction(container.duration, av.time_base) if container.duration else None
    if stream.duration:
        own = stream.duration * Fraction(stream.time_base)
        return min(own, whole) if whole else own  # an edit list may show less than is stored
    if tagged := stream.metadata.get("DURATION"):  # Matroska, per track
        hours, minutes, seconds = tagged.split(":")
        return int(hours) * 3600 + int(minutes) * 60 + Fraction(seconds)
    return whole if len(container.streams) == 1 else None


def _displayed_size(stream: av.VideoStream, picture: av.VideoFrame) -> Size:
    """With the pixel aspect ratio and the rotation applied."""
    aspect = Fraction(stream.sample_aspect_ratio or 1)
    height, width = picture.height, max(round(picture.width * aspect), 1)
    if quarter_turns(picture) in (90, 270):
        height, width = width, height
    return Size(height, width)


def _timed(
    pictures: Iterable[av.VideoFrame], zero: Fraction, frame_duration: Fraction
) -> Iterator[tuple[Fraction, av.VideoFrame]]:
    """Times counted from ``zero``, strictly increasing even where the file's are not."""
    previous: Fraction | None = None
    for picture in pictures:
        stamp = _seconds(picture)
        if stamp is not None:
            time = stamp - zero
        else:
            time = Fraction(0) if previous is None else previous + frame_duration
        if previous is not None and time <= previous:
            time = previous + Fraction(picture.time_base or frame_duration)
        previous = time
        yield time, picture


def _progressive(pictures: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    """Interlaced video with its two fields merged into whole pictures, one per frame.

    Combed edges would be read as texture. Progressive video passes untouched.
    """
    first = next(pictures, None)
    if first is None:
        return
    if not first.interlaced_frame:
        yield first
        yield from pictures
        return
    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=first.width, height=first.height, format=first.format, time_base=first.time_base
    )
    merge = graph.add("bwdif", "mode=send_frame:deint=interlaced")
    graph.link_nodes(source, merge, graph.add("buffersink")).configure()
    graph.push(first)
    for picture in pictures:
        graph.push(picture)
        yield from _pulled(graph)
    graph.push(None)
    yield from _pulled(graph)


def _pulled(graph: av.filter.Graph) -> Iterator[av.VideoFrame]:
    while True:
        try:
            yield graph.pull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
