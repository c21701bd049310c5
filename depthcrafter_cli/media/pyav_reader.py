"""Decoding of video files with PyAV: pictures with exact timestamps, one pass, streaming."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import av.error
from av.stream import Disposition

from depthcrafter_cli.errors import InputError
from depthcrafter_cli.media.decoding import Decoder, progressive, require_readable, require_regular
from depthcrafter_cli.media.resize import MOST_PIXELS, require_sane
from depthcrafter_cli.media.scale import swaps_sides
from depthcrafter_cli.media.timestamps import (
    expected_seconds,
    picture_count,
    rate_of,
    seconds_of,
    timed,
)
from depthcrafter_cli.types import Size, VideoInfo

# Containers whose index makes a seek to a time exact; others are read from the beginning.
_INDEXED_FORMATS = ("mov", "matroska")
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
            first = next(Decoder(container, stream).pictures(), None)
            if first is None:
                raise InputError(
                    f"No frame of {self.path} can be decoded, expected a complete video file: "
                    "check that its download or copy finished."
                )
            count = picture_count(stream, _length(container, stream, seconds_of(first)))
            size = _displayed_size(stream, first)
            require_sane(self.path, size)
            return VideoInfo(self.path, size, rate_of(stream), count)

    def pictures(
        self, start: Fraction, warn: Callable[[str], None]
    ) -> Iterator[tuple[Fraction, av.VideoFrame]]:
        """(seconds from the first frame, picture) in order; may begin before ``start``.

        Damage never ends the reading early without a word: what can be decoded is handed out,
        then ``warn`` gets one sentence.
        """
        with self._opened() as (container, stream):
            decoder = Decoder(container, stream)
            pictures = decoder.pictures()
            first = next(pictures, None)
            if first is None:
                return
            zero, time = seconds_of(first) or Fraction(0), Fraction(0)
            if start > _SEEK_FROM and container.format.name.startswith(_INDEXED_FORMATS):
                offset = int((zero + start) / Fraction(stream.time_base))
                container.seek(offset, stream=stream, backward=True)  # the keyframe before it
                pictures = decoder.pictures()
            else:
                pictures = chain([first], pictures)
            if stream.codec_context.color_trc in _HDR_TRANSFERS:
                warn(
                    f"{self.path} is HDR, and the model, which knows SDR only, sees it as it is "
                    "stored, rather flat: convert it to SDR first if the depth disappoints."
                )
            shown = 1 / rate_of(stream)
            end = expected_seconds(container, stream)
            whole = progressive(pictures)
            for time, picture in timed(whole, zero, shown, end, decoder.jumped):
                yield time, picture
            read = time + max(shown, decoder.last_shown)
            if complaint := decoder.complaint(read, _length(container, stream, zero)):
                warn(f"{self.path} is damaged: {complaint}.")

    @contextmanager
    def _opened(self) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
        container = self._open()
        with container:
            yield container, self._video_stream(container)

    def _open(self) -> av.container.InputContainer:
        try:
            size = require_regular(self.path).st_size
            if not size:
                raise InputError(
                    f"{self.path} is empty (0 bytes), expected a video: check its download or copy."
                )
            # An absolute path is never taken for a protocol's name, whatever the file's name is.
            place = str(self.path.absolute())
            return av.open(place, options=_OPTIONS, **_ANY_TITLE)
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
            refused = isinstance(error, av.error.ArgumentError)
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


def _length(
    container: av.container.InputContainer, stream: av.VideoStream, zero: Fraction | None
) -> Fraction | None:
    """As :func:`expected_seconds`, counted from the first picture, at ``zero``."""
    end = expected_seconds(container, stream)
    # FFmpeg writes into a Matroska file when it ends, which for a part of a recording is later.
    if end and zero and 0 < zero < end and container.format.name.startswith("matroska"):
        return end - zero
    return end


def _displayed_size(stream: av.VideoStream, picture: av.VideoFrame) -> Size:
    """With the pixel aspect ratio and the rotation applied."""
    aspect = Fraction(stream.sample_aspect_ratio or 1)
    height, width = picture.height, max(round(picture.width * aspect), 1)
    if swaps_sides(picture):
        height, width = width, height
    return Size(height, width)
