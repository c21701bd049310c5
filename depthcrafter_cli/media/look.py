"""How depth is shown, and the codecs for it: to add one, add an entry to :data:`CODECS`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from depthcrafter_cli.errors import OutputError, UsageError


@dataclass(frozen=True)
class Codec:
    """How FFmpeg encodes the pictures of a video.

    ``suffixes`` are the containers that hold it, ``bits`` those of a sample. A ``matte`` is one
    channel: normalised depth itself, in full range, without a colormap and without the source
    beside it. ``quality`` says that ``crf`` acts. ``tag`` is what QuickTime calls it, where
    FFmpeg chooses a name that Apple's players do not know.

    Raises ValueError for pixels that are neither gray nor YUV, and a matte that is not gray of more
    than 8 bits: others cannot hold luma as it is written.
    """

    encoder: str
    pix_fmt: str
    suffixes: tuple[str, ...]
    bits: int = 8
    matte: bool = False
    quality: bool = True
    tag: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    bytes_per_pixel: float = 0.1  # measured: 0.01 to 0.07, and 0.3 without loss

    def __post_init__(self) -> None:
        gray = self.pix_fmt.startswith("gray")
        if not (gray or self.pix_fmt.startswith("yuv")) or self.matte > (gray and self.bits > 8):
            raise ValueError(f"{self.encoder} with {self.pix_fmt} cannot hold depth")

    @property
    def columns(self) -> int:
        """What the width must be a multiple of: colours may be stored at half of it."""
        return 2 if "420" in self.pix_fmt or "422" in self.pix_fmt else 1

    @property
    def rows(self) -> int:
        """What the height must be a multiple of."""
        return 2 if "420" in self.pix_fmt else 1


# x264's macroblock tree reads memory it has not set: the same pictures gave another file each time.
_X264 = {"preset": "veryfast", "x264-params": "mbtree=0"}
# x265 gives the last packets of a short video times that no MP4 can hold where it reorders frames.
_X265 = {"preset": "fast", "x265-params": "log-level=error:pools=1:frame-threads=1:bframes=0"}
_APPLE = {"vendor": "apl0"}  # without it some editors refuse ProRes

CODECS: Mapping[str, Codec] = {
    "h264": Codec("libx264", "yuv420p", (".mp4", ".mov", ".mkv"), options=_X264),
    "h264-10": Codec("libx264", "yuv420p10le", (".mp4", ".mov", ".mkv"), 10, options=_X264),
    "h264-444": Codec("libx264", "yuv444p", (".mp4", ".mov", ".mkv"), options=_X264),
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
        quality=False,
        options={"profile": "hq", **_APPLE},
        bytes_per_pixel=0.8,
    ),
    "prores-4444": Codec(
        "prores_ks",
        "yuv444p10le",
        (".mov",),
        10,
        quality=False,
        options={"profile": "4444", **_APPLE},
        bytes_per_pixel=1.2,
    ),
    "ffv1": Codec(
        "ffv1",
        "gray16le",
        (".mkv",),
        16,
        matte=True,
        quality=False,
        # Version 3 with a checksum in every slice, as archives ask for.
        options={"level": "3", "slicecrc": "1", "slices": "4"},
        bytes_per_pixel=1.5,
    ),
}

_DEFAULTS = {".mp4": "h264", ".mov": "h264", ".mkv": "ffv1"}


@dataclass(frozen=True)
class Look:
    """How depth is shown where it is a picture; each format takes what it has.

    Attributes:
        colormap: one of matplotlib's.
        side_by_side: whether the source stands to the left of the depth.
        crf: the quality of codecs that have one, 0 is the best.
        codec: one of :data:`CODECS`; None is the usual one of the container.
    """

    colormap: str = "inferno"
    side_by_side: bool = False
    crf: int = 18
    codec: str | None = None


def codec_for(out: Path, name: str | None) -> Codec:
    """The codec called ``name``, or the usual one of the container; None means that.

    Raises UsageError for one that there is not, or that the container cannot hold.
    """
    suffix = out.suffix.lower()
    codec = CODECS.get(name or _DEFAULTS[suffix])
    if codec is None:
        raise UsageError(f"got `codec` {name}, expected one of {', '.join(CODECS)}: choose one.")
    if suffix not in codec.suffixes:
        fitting = " or ".join(codec.suffixes)
        raise UsageError(
            f"got {out} with `codec` {name}, expected {fitting} for it: rename the output."
        )
    return codec


def check_codec(out: Path, codec: Codec, *, side_by_side: bool) -> None:
    """Raises UsageError for a picture beside a matte, OutputError without the codec's encoder."""
    import av

    if side_by_side and codec.matte:
        raise UsageError(
            f"got {out} as {codec.pix_fmt} with `side_by_side`, expected a codec with colours, for "
            "a matte is depth alone: choose another `codec`."
        )
    if codec.encoder not in av.codec.codecs_available:
        raise OutputError(
            f"{out} needs the encoder {codec.encoder}, which this build of PyAV lacks, expected "
            "the one from PyPI: pip install --force-reinstall av, or write .npz or .png."
        )
