"""How depth is shown, and the codecs for it: to add one, add an entry to :data:`CODECS`."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from depthcrafter_cli.errors import OutputError, UsageError
from depthcrafter_cli.options import documented, option, settle_options
from depthcrafter_cli.text import expanded

if TYPE_CHECKING:
    from depthcrafter_cli.types import Size


@dataclass(frozen=True)
class Codec:
    """How FFmpeg encodes the pictures of a video.

    ``suffixes`` are the containers that hold it, ``bits`` those of a sample. A ``matte`` is one
    channel: normalised depth itself, in full range, without a colormap and without the source
    beside it. ``quality`` is the encoder's name for ``crf``, empty where it has none. ``tag`` is
    what QuickTime calls it, where FFmpeg chooses a name that Apple's players do not know.
    ``instead`` is the codec to take on machines that lack what the encoder needs.

    Raises ValueError for pixels that are neither gray nor YUV, and a matte that is not gray of more
    than 8 bits: others cannot hold luma as it is written.
    """

    encoder: str
    pix_fmt: str
    suffixes: tuple[str, ...]
    bits: int = 8
    matte: bool = False
    quality: str = "crf"
    tag: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    bytes_per_pixel: float = 0.1  # measured: 0.01 to 0.07, and 0.3 without loss
    instead: str = ""

    def __post_init__(self) -> None:
        gray = self.pix_fmt.startswith("gray")
        if not (gray or self.pix_fmt.startswith("yuv")) or self.matte > (gray and self.bits > 8):
            raise ValueError(f"{self.encoder} with {self.pix_fmt} cannot hold depth")

    @property
    def reads(self) -> frozenset[str]:
        """The options of :class:`Look` that decide on a video of this codec, or are refused."""
        some = {"crf": bool(self.quality), "colormap": not self.matte}
        every = {"codec", "pix_fmt", "encoder_option", "side_by_side", "overlay"}
        return frozenset(every | {name for name, is_read in some.items() if is_read})

    def extended(self, size: "Size") -> "Size":
        """The size with sides that are even where colours are stored at half of them."""
        rows = 2 if "420" in self.pix_fmt else 1
        columns = 2 if "420" in self.pix_fmt or "422" in self.pix_fmt else 1
        height, width = size.height + -size.height % rows, size.width + -size.width % columns
        return replace(size, height=height, width=width)


# x264's macroblock tree reads memory it has not set: the same pictures gave another file each time.
_X264 = {"preset": "veryfast", "x264-params": "mbtree=0"}
# x265 gives the last packets of a short video times that no MP4 can hold where it reorders frames.
_X265 = {"preset": "fast", "x265-params": "log-level=error:pools=1:frame-threads=1:bframes=0"}
_NVENC = {"rc": "vbr", "preset": "p5"}  # with `cq` a constant quality
_APPLE = {"vendor": "apl0"}  # without it some editors refuse ProRes

CODECS: Mapping[str, Codec] = {
    "h264": Codec("libx264", "yuv420p", (".mp4", ".mov", ".mkv"), options=_X264),
    "h264-10": Codec("libx264", "yuv420p10le", (".mp4", ".mov", ".mkv"), 10, options=_X264),
    "h264-444": Codec("libx264", "yuv444p", (".mp4", ".mov", ".mkv"), options=_X264),
    "h264-nvenc": Codec(
        "h264_nvenc",
        "yuv420p",
        (".mp4", ".mov", ".mkv"),
        quality="cq",
        options=_NVENC,
        instead="h264",
    ),
    "hevc-10": Codec(
        "libx265", "gray10le", (".mp4", ".mov", ".mkv"), 10, matte=True, tag="hvc1", options=_X265
    ),
    "hevc-12": Codec(
        "libx265", "gray12le", (".mp4", ".mov", ".mkv"), 12, matte=True, tag="hvc1", options=_X265
    ),
    "av1": Codec(
        "libsvtav1",
        "yuv420p10le",
        (".mp4", ".mkv"),
        10,
        options={"preset": "8", "svtav1-params": "lp=1"},
    ),
    "prores": Codec(
        "prores_ks",
        "yuv422p10le",
        (".mov",),
        10,
        quality="",
        options={"profile": "hq", **_APPLE},
        bytes_per_pixel=0.8,
    ),
    "prores-4444": Codec(
        "prores_ks",
        "yuv444p10le",
        (".mov",),
        10,
        quality="",
        options={"profile": "4444", **_APPLE},
        bytes_per_pixel=1.2,
    ),
    "ffv1": Codec(
        "ffv1",
        "gray16le",
        (".mkv",),
        16,
        matte=True,
        quality="",
        # Version 3 with a checksum in every slice, as archives ask for.
        options={"level": "3", "slicecrc": "1", "slices": "4"},
        bytes_per_pixel=1.5,
    ),
}

_DEFAULTS = {".mp4": "h264", ".mov": "h264", ".mkv": "ffv1"}


def _is_channel(text: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*", text) is not None


def _are_numbers(text: str) -> bool:
    return re.fullmatch(r"(\d{1,9}(,\d{1,9})*)?", text) is not None


def numbers_in(text: str) -> set[int]:
    """Numbers as typed, such as ``0,24,48``."""
    return {int(number) for number in text.split(",") if number}


def _are_options(text: str) -> bool:
    return all(name and equals for name, equals, _value in _pairs(text))


@documented
@dataclass(frozen=True, kw_only=True)
class Look:
    """How depth is shown where it is a picture; each format takes what it has.

    Of several videos those whose container cannot hold ``codec`` have their usual one.

    Raises UsageError for a value outside its range.
    """

    colormap: str = option(
        "inferno",
        help="Any matplotlib colormap for videos. Default: {default}.",
        part="look",
    )
    side_by_side: bool = option(False, help="Video: the source left of the depth.", part="look")
    overlay: bool = option(
        False, help="Video: the depth over the source, half of each.", part="look"
    )
    crf: int = option(
        18,
        help="Quality of H.264, HEVC and AV1, 0 (the best) to 51. Default: {default}.",
        part="look",
        minimum=0,
        maximum=51,
    )
    codec: str | None = option(
        None,
        help=f"Video: {', '.join(CODECS)}. Default: h264, in .mkv ffv1 (16 bits of gray, no loss).",
        part="look",
        choices=tuple(CODECS),
    )
    pix_fmt: str | None = option(
        None,
        help="Video: pixel format of the encoder by FFmpeg's name, such as yuv422p10le. Default: "
        "the codec's.",
        part="look",
    )
    encoder_option: str = option(
        "",
        help="Video: NAME=VALUE for the encoder, such as preset=slow; may be given several times.",
        part="look",
        many=True,
        accepts=_are_options,
        form="NAME=VALUE: write preset=slow",
    )
    invert: bool = option(
        False,
        help="Far is 1 (white) and near 0 where depth is normalised. Default: near is white.",
        part="look",
    )
    exr_half: bool = option(False, help="OpenEXR: floats of 16 bits, not 32.", part="look")
    exr_channel: str = option(
        "Z",
        help="OpenEXR: name of the channel. Default: {default}; or depth.Z, Y ...",
        part="look",
        accepts=_is_channel,
        form="letters, digits, dots and underscores, such as depth.Z",
    )
    exr_normalized: bool = option(
        False, help="OpenEXR: depth from 0 to 1, not raw disparity.", part="look"
    )
    metric: Path | None = option(
        None,
        help="Write metres where disparity would be, and millimetres into 16 bits (0: beyond "
        "65.535 m): by a and b of this file, which 'fit' has written.",
        part="metric",
        read=expanded,
    )
    fov: float | None = option(
        None,
        help="Angle that the picture's width shows, for .ply.",
        part="metric",
        unit="degrees",
        above=0,
        maximum=179,
    )
    ply_frames: str = option(
        "",
        help="Numbers of the frames that .ply is written of, such as 0,24,48. Default: all.",
        part="metric",
        accepts=_are_numbers,
        form="numbers with commas between: write 0,24,48",
    )

    def __post_init__(self) -> None:
        settle_options(self)


_PIXELS = re.compile(r"(?:gray|yuv4(?:20|22|44)p)(?:(9|10|12|14|16)le)?")


def codec_for(out: Path, look: Look) -> Codec:
    """How the pictures of a video are encoded: by ``codec`` if that can be.

    Its options are those of the look, too.

    Raises UsageError for pixels that the codec has not, or that cannot hold depth.
    """
    codec = CODECS[codec_instead(out, look) or look.codec or _DEFAULTS[out.suffix.lower()]]
    quality = {codec.quality: str(look.crf)} if codec.quality else {}
    asked = encoder_options(look.encoder_option)
    codec = replace(codec, options={**codec.options, **quality, **asked})
    if look.pix_fmt is None or look.pix_fmt == codec.pix_fmt:
        return codec
    offered = [name for name in _pixels_of(codec.encoder) if _PIXELS.fullmatch(name)]
    offered = [name for name in offered if name != "gray"]  # which would not be a matte
    if look.pix_fmt not in offered:
        raise UsageError(
            f"got `pix_fmt` {look.pix_fmt} for {out} by {codec.encoder}, expected one of "
            f"{', '.join(offered)}: choose one, or another `codec`."
        )
    bits = int(_PIXELS.fullmatch(look.pix_fmt).group(1) or 8)  # type: ignore[union-attr]
    is_matte = look.pix_fmt.startswith("gray")
    return replace(codec, pix_fmt=look.pix_fmt, bits=bits, matte=is_matte)


def _pixels_of(encoder: str) -> list[str]:
    import av

    formats = av.Codec(encoder, "w").video_formats or []
    return [each.name for each in formats]


def require_holder(outputs: Iterable[Path], look: Look) -> None:
    """Raises UsageError if there are videos, and none of them can hold the codec asked for."""
    videos = [out for out in outputs if out.suffix.lower() in _DEFAULTS]
    asked = CODECS.get(look.codec or "")
    if videos and asked and not any(out.suffix.lower() in asked.suffixes for out in videos):
        raise UsageError(
            f"got {videos[0]} with `codec` {look.codec}, expected {' or '.join(asked.suffixes)} "
            "for it: rename the output."
        )


def codec_instead(out: Path, look: Look) -> str:
    """The codec of a video in place of the one asked for; empty if that can be.

    It cannot where the container does not hold it, or this machine lacks what it needs.
    """
    asked, suffix = CODECS.get(look.codec or ""), out.suffix.lower()
    if asked is None or suffix not in _DEFAULTS:
        return ""
    if suffix not in asked.suffixes:
        return _DEFAULTS[suffix]
    return asked.instead if asked.instead and not can_encode(asked.encoder, asked.pix_fmt) else ""


@cache
def can_encode(encoder: str, pix_fmt: str) -> bool:
    """Whether the encoder is there, and begins: some need a certain GPU and its driver."""
    import av
    import av.error

    try:
        trial = av.CodecContext.create(encoder, "w")
        trial.width = trial.height = 256  # some cards encode nothing smaller
        trial.pix_fmt, trial.time_base = pix_fmt, Fraction(1, 24)
        trial.open()
    except (av.error.FFmpegError, ValueError):
        return False
    return True


def encoder_options(text: str) -> dict[str, str]:
    """Options as typed, such as ``preset=slow tune=film``."""
    return {name: value for name, _equals, value in _pairs(text)}


def _pairs(text: str) -> list[tuple[str, str, str]]:
    return [part.partition("=") for part in text.split()]


def check_codec(out: Path, codec: Codec, look: Look) -> None:
    """Raises UsageError for a source shown in a matte, OutputError without the encoder."""
    import av

    if codec.matte and (look.side_by_side or look.overlay):
        asked = "side_by_side" if look.side_by_side else "overlay"
        raise UsageError(
            f"got {out} as {codec.pix_fmt} with `{asked}`, expected a codec with colours, for a "
            "matte is depth alone: choose another `codec`."
        )
    if codec.encoder not in av.codec.codecs_available:
        raise OutputError(
            f"{out} needs the encoder {codec.encoder}, which this build of PyAV lacks, expected "
            "the one from PyPI: pip install --force-reinstall av, or write .npz or .png."
        )
