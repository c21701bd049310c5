"""Decoding of video files with PyAV: pictures with exact timestamps, one pass, streaming."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from errno import EINVAL
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path

import av
import av.error
from av.codec.context import Flags as DecoderFlags
from av.container import Flags
from av.stream import Disposition

from depthcrafter_cli.errors import InputError, UsageError
from depthcrafter_cli.media.decoding import (
    Decoder,
    cropped,
    measured,
    progressive,
    require_readable,
    require_regular,
)
from depthcrafter_cli.media.hdr import hdr_of
from depthcrafter_cli.media.resize import MOST_PIXELS, as_shown, require_sane
from depthcrafter_cli.media.scale import swaps_sides, upright_filters
from depthcrafter_cli.media.selection import Timed
from depthcrafter_cli.media.timestamps import (
    REORDERED,
    expected_seconds,
    length_of,
    on_grid,
    peak_rate_of,
    picture_count,
    rate_of,
    seconds_of,
    timed,
    with_durations,
)
from depthcrafter_cli.media.track_facts import is_whole_matroska, track_facts
from depthcrafter_cli.progress import Warn, ignore
from depthcrafter_cli.types import Anamorphic, Hdr, Size, VideoInfo

# Containers whose index makes a seek to a time exact; others are read from the beginning.
_INDEXED_FORMATS = ("mov", "matroska")
_EDITED_FORMAT = "mov"  # its edit lists say what is shown when
# FFmpeg's demuxers of videos and single pictures. Left out are those that open what a file names
# (playlists, sessions), devices, text, subtitles, sound, and what hardly anybody has any more.
_CONTAINERS = (
    "mov,matroska,webm,avi,asf,asf_o,flv,live_flv,kux,ogg,rm,nut,mpegts,mpeg,mpegvideo,mpegtsraw,wtv,"
    "mxf,mxg,gxf,lxf,dv,dhav,r3d,cine,mlv,ifv,ser,nsv,nuv,pva,pmp,ty,ivf,obu,lmlm4,moflex,dnxhd,dirac,"
    "h261,h263,h264,hevc,vvc,evc,apv,av1,avs2,avs3,cavsvideo,m4v,vc1,vc1test,mjpeg,mjpeg_2000,smjpeg,"
    "yuv4mpegpipe,gif,apng,webp_anim,jpegxl_anim,flic,swf,film_cpk,filmstrip,rpl,roq,smk,bink,"
    "image2,bmp_pipe,dds_pipe,dpx_pipe,exr_pipe,gif_pipe,hdr_pipe,j2k_pipe,jpeg_pipe,jpegls_pipe,"
    "jpegxl_pipe,jpegxs_pipe,pam_pipe,pbm_pipe,pcx_pipe,pfm_pipe,pgm_pipe,pgmyuv_pipe,phm_pipe,png_pipe,"
    "cri_pipe,ppm_pipe,psd_pipe,qoi_pipe,sgi_pipe,sunrast_pipe,tiff_pipe,webp_pipe"
)
_OPTIONS = {
    "format_whitelist": _CONTAINERS,
    "protocol_whitelist": "file",
    "pattern_type": "none",  # a picture called a%d.tga is itself, not a sequence
}
# Titles need not be UTF-8. PyAV keeps such bytes by itself from 19 on, where the argument is gone.
_ANY_TITLE = {} if int(av.__version__.split(".")[0]) >= 19 else {"metadata_errors": "ignore"}
_INDEX_BYTES = 1 << 22  # at a file's end
_STILLS = ("png", "mjpeg", "bmp", "gif", "webp", "tiff")  # codecs that covers have, too
_IMAGES = ("avif", "avis")  # brands of MP4
_OTHER_KINDS = ("attachments", "audio", "data", "subtitles")  # of streams, beside video
# Threads that share one picture. By FFmpeg's own choice each begins another one, all of which are
# decoded before the first one is there: waste where no other is wanted.
_ONE_PICTURE = "SLICE"
_LATEST = Fraction(60)  # seconds
_SEEK_FROM = Fraction(2)  # seconds: below this, decoding is quicker than seeking


class VideoFile:
    """A video file; opened anew by each method, closed when it returns or is abandoned."""

    def __init__(self, path: Path, stream: int | None = None) -> None:
        self.path = path
        self.number = stream

    def info(self) -> VideoInfo:
        """Size, rate and length; decodes one frame, so that an undecodable file fails here.

        Raises InputError, and UsageError for a stream that there is not.
        """
        with self._opened(_ONE_PICTURE) as (container, stream):
            self._require_no_encryption(container, stream)
            first = next(Decoder(container, stream).pictures(), None)
            if first is None:
                raise InputError(
                    f"No frame of {self.path} can be decoded, expected a complete video file: "
                    "check that its download or copy finished."
                )
            count = picture_count(stream, length_of(container, stream, seconds_of(first)))
            rates = rate_of(stream), peak_rate_of(stream)
            facts = track_facts(self.path, container, stream)
            first = next(cropped(iter([first]), facts.crop))
            size, anamorphic = _shape(stream, first)
            require_sane(self.path, size)
            context = stream.codec_context
            hdr = hdr_of(context.color_trc, context.color_primaries)
            hdr = Hdr("dolby") if facts.only_by_dolby else hdr
            return VideoInfo(self.path, size, *rates, count, hdr, anamorphic)

    def measured(self, info: VideoInfo) -> VideoInfo:
        """``info`` with the rate and number of frames by its packets. Raises InputError."""
        with self._opened() as (container, stream):
            count, rate = measured(container, stream, info.frame_count, info.rate)
        return replace(info, rate=rate, peak_rate=max(rate, info.peak_rate), frame_count=count)

    def first_shown(self) -> tuple[Fraction, str]:
        """When the first picture is shown, in seconds on the file's clock, and its timecode.

        The timecode is empty where the file has none. Raises InputError.
        """
        with self._opened(_ONE_PICTURE) as (container, stream):
            first = next(Decoder(container, stream).pictures(), None)
            named = (stream, *container.streams.data, container)
            codes = (each.metadata.get("timecode", "") for each in named)
            return seconds_of(first) or Fraction(0), next(filter(None, codes), "")

    def begins_late_by(self) -> Fraction:
        """How many seconds the file shows nothing before its first picture.

        MP4 and MOV tell that from 0 on, other files from their first sound or picture on. Less than
        a picture is taken for none, and so is more than a minute and than the video lasts: so
        begins what was cut out of a recording. Raises InputError.
        """
        with self._opened(_ONE_PICTURE) as (container, stream):
            zero = seconds_of(next(Decoder(container, stream).pictures(), None)) or Fraction(0)
            begin = Fraction(0)
            if not container.format.name.startswith(_EDITED_FORMAT):
                begin = Fraction(container.start_time or 0, av.time_base)
            longest = max(length_of(container, stream, zero) or 0, _LATEST)
            is_meant = 1 / rate_of(stream) <= zero - begin <= longest
            return zero - begin if is_meant else Fraction(0)

    def first_times(self, count: int) -> list[Fraction]:
        """When the first so many pictures are shown, in seconds from the first one, about.

        Fewer where there are fewer. A container with an index tells it without decoding.
        """
        with self._opened() as (container, stream):
            if not _is_indexed(container):
                shown = islice(self.pictures(Fraction(0), ignore), count)
                return [time for time, _duration, _picture in shown]
            zero, _timecode = self.first_shown()
            packets = (each for each in container.demux(stream) if each.pts is not None)
            stored = (
                each.pts * Fraction(each.time_base) for each in packets if not each.is_discard
            )
            times = islice((time - zero for time in stored if time >= zero), count + REORDERED)
            return sorted(times)[:count]

    def clock(self) -> tuple[Fraction, int]:
        """The unit of its time stamps in seconds, and the first picture's, in that unit.

        Raises InputError.
        """
        with self._opened(_ONE_PICTURE) as (container, stream):
            first = next(Decoder(container, stream).pictures(), None)
            return Fraction(stream.time_base or 1), (first and first.pts) or 0

    def stored_size(self) -> Size:
        """The size of the pictures as they are stored, from the header alone. Raises InputError."""
        with self._opened() as (_container, stream):
            return Size(stream.height, stream.width)

    def pictures(
        self, start: Fraction, warn: Warn, threads: str = "AUTO"
    ) -> Iterator[Timed[av.VideoFrame]]:
        """(seconds from the first frame, seconds it is shown, picture) in order.

        They may begin before ``start``. Damage never ends the reading early without a word: what
        can be decoded is handed out, then ``warn`` gets one sentence.
        """
        with self._opened(threads) as (container, stream):
            decoder = Decoder(container, stream)
            pictures = decoder.pictures()
            first = next(pictures, None)
            if first is None:
                if threads != _ONE_PICTURE:  # by which damage in the first packets loses less
                    yield from self.pictures(start, warn, _ONE_PICTURE)
                return
            self._tell_choice(container, stream, warn)
            zero = seconds_of(first) or Fraction(0)
            if start > _SEEK_FROM and _is_indexed(container):
                # Merging fields needs the picture before.
                earlier = 1 / rate_of(stream) if first.interlaced_frame else 0
                pictures = decoder.pictures_from(zero + start - earlier, zero)
            else:
                pictures = chain([first], pictures)
            length, read = length_of(container, stream, zero), Fraction(0)
            is_whole = is_whole_matroska(self.path, container)

            def last(time: Fraction) -> Fraction:
                nonlocal read
                told = decoder.last_shown
                if is_whole and length is not None:
                    told = max(told, length - time)  # what some files tell only so
                duration = _last_duration(stream, told, time, length)
                read = time + duration
                return duration

            crop = track_facts(self.path, container, stream).crop
            whole = cropped(progressive(self._with_the_last(pictures, decoder, zero)), crop)
            end = expected_seconds(container, stream)
            placed = timed(whole, zero, 1 / rate_of(stream), end, decoder.jumped)
            yield from with_durations(on_grid(placed, stream), last)
            if complaint := decoder.complaint(read, length, is_cut=is_whole is False):
                warn(f"{self.path} is damaged: {complaint}.")

    def _with_the_last(
        self, pictures: Iterator[av.VideoFrame], decoder: Decoder, zero: Fraction
    ) -> Iterator[av.VideoFrame]:
        """The pictures, and those at the end that decoding in threads loses where it fails.

        PyAV drops what other threads hold when one meets damage in the last packets.
        """
        picture = None
        for picture in pictures:
            yield picture
        time = seconds_of(picture)
        if time is None or not decoder.pictures_missing:
            return
        with self._opened(_ONE_PICTURE) as (container, stream):
            again = Decoder(container, stream)
            if _is_indexed(container):
                following = again.pictures_from(time, zero)
            elif decoder.ended_damaged:
                following = again.pictures()
            else:
                return
            for picture in following:
                if (seconds_of(picture) or time) > time:
                    decoder.decoded += 1
                    yield picture

    def _tell_choice(
        self, container: av.container.InputContainer, stream: av.VideoStream, warn: Warn
    ) -> None:
        videos = [
            video
            for video in container.streams.video
            if not _is_cover(video) and (video is stream or video.frames != 1)
        ]
        is_image = container.metadata.get("major_brand") in _IMAGES  # beside it lies its alpha
        if self.number is None and len(videos) > 1 and not is_image:
            number = container.streams.video.index(stream)
            others = [f"`stream={container.streams.video.index(video)}`" for video in videos]
            others.remove(f"`stream={number}`")
            warn(
                f"{self.path} has {len(videos)} videos in it, and this is number {number}, of "
                f"{stream.width}x{stream.height} pixels: choose another one with "
                f"{' or '.join(others)}."
            )

    @contextmanager
    def _opened(
        self, threads: str = "AUTO"
    ) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
        container = self.open()
        with container:
            stream = self._video_stream(container)
            stream.thread_type = threads
            yield container, stream

    def open(self) -> av.container.InputContainer:
        """The file, to be closed by the caller. Raises InputError."""
        try:
            size = require_regular(self.path).st_size
            if not size:
                raise InputError(
                    f"{self.path} is empty (0 bytes), expected a video: check its download or copy."
                )
            # An absolute path is never taken for a protocol's name, whatever the file's name is.
            place = str(self.path.absolute())
            # Not `options`, which go to the streams as well: PyAV 16 and 17 crash by that where
            # streams are found only while reading, as in MPEG program streams and FLV.
            container = av.open(place, container_options=_OPTIONS, **_ANY_TITLE)
            # PyAV lets FFmpeg make up the times that AVI lacks, and these are of another order.
            container.flags &= ~Flags.gen_pts.value
            return container
        except FileNotFoundError:
            raise InputError(
                f"There is no {self.path}, expected a video file or a folder of images: "
                "check the path."
            ) from None
        except PermissionError as error:
            raise InputError(
                f"{self.path} cannot be opened (permission denied), expected a readable file: "
                "check its permissions."
            ) from error
        except av.error.FFmpegError as error:
            require_readable(self.path, 0, max(0, size - _INDEX_BYTES))
            # What FFmpeg says of a kind of file that it was not allowed to open, among others.
            refused = error.errno == EINVAL
            reason = "damaged, a playlist or of another kind" if refused else error.strerror
            raise InputError(
                f"{self.path} cannot be read as a video ({reason}), expected a complete "
                "file such as MP4, MOV or MKV: check that it is one."
            ) from error
        except OSError as error:
            raise InputError(
                f"{self.path} cannot be opened ({error.strerror}), expected a readable file: "
                "check its permissions."
            ) from error

    def _video_stream(self, container: av.container.InputContainer) -> av.VideoStream:
        stream = self._chosen_stream(container)
        context = stream.codec_context
        if context is None:
            self._require_no_encryption(container, stream)
            raise InputError(
                f"{self.path} holds video of a kind that cannot be decoded here, expected a "
                "common codec: convert it to H.264 first."
            )
        require_sane(self.path, Size(context.height, context.width))
        context.options = {"max_pixels": str(MOST_PIXELS)}  # for frames of another size
        context.flags |= DecoderFlags.unaligned.value  # else what is cut off at the left is shown
        return stream

    def _require_no_encryption(
        self, container: av.container.InputContainer, stream: av.VideoStream
    ) -> None:
        if track_facts(self.path, container, stream).is_encrypted:
            raise InputError(
                f"{self.path} is encrypted (DRM), expected a video without copy protection: choose "
                "another file."
            )

    def _chosen_stream(self, container: av.container.InputContainer) -> av.VideoStream:
        videos = container.streams.video
        shown = [video for video in videos if not _is_cover(video)]
        if not shown:
            # Not their `type`, on which PyAV 16 crashes for a kind that FFmpeg does not know.
            kinds = [kind for kind in _OTHER_KINDS if getattr(container.streams, kind)]
            kinds += ["a cover picture"] if videos else []
            raise InputError(
                f"{self.path} has no video stream (it holds {', '.join(kinds) or 'nothing'}), "
                "expected a video: choose another file."
            )
        if self.number is None:
            return max(shown, key=_prominence)
        if self.number >= len(videos) or videos[self.number] not in shown:
            numbers = ", ".join(str(videos.index(video)) for video in shown)
            raise UsageError(
                f"got `stream` {self.number} for {self.path}, expected the number of one of its "
                f"videos: choose {numbers}."
            )
        return videos[self.number]


def _is_cover(stream: av.VideoStream) -> bool:
    return bool(stream.disposition & Disposition.attached_pic)


def _prominence(stream: av.VideoStream) -> tuple[bool, bool, bool, bool, int]:
    """What players go by where there are several: the largest is what they show."""
    context = stream.codec_context
    if context is None:
        return False, False, False, False, 0
    moves, is_default = stream.frames != 1, bool(stream.disposition & Disposition.default)
    return True, moves, is_default, context.name not in _STILLS, context.width * context.height


def _is_indexed(container: av.container.InputContainer) -> bool:
    return bool(container.format.name.startswith(_INDEXED_FORMATS))


def _last_duration(
    stream: av.VideoStream, told: Fraction, time: Fraction, length: Fraction | None
) -> Fraction:
    """How many seconds the last picture, shown at ``time``, stays.

    ``told`` is what the file says of it, ``length`` what it says of the whole.
    """
    tick, usual = Fraction(stream.time_base), 1 / rate_of(stream)
    if length is not None and told > length - time + 1:
        told = length - time
    return usual if told <= tick or abs(told - usual) <= 2 * tick else told


def _shape(stream: av.VideoStream, picture: av.VideoFrame) -> tuple[Size, Anamorphic | None]:
    """The size at which a picture is shown, and how it is stored if its pixels are not square."""
    aspect = Fraction(stream.sample_aspect_ratio or 1)
    stored = Size(picture.height, picture.width)
    turned = swaps_sides(upright_filters(picture))
    shown = as_shown(stored, aspect)
    if turned:
        stored, shown = (Size(size.width, size.height) for size in (stored, shown))
        aspect = 1 / aspect
    return shown, None if aspect == 1 else Anamorphic(stored, aspect)
