"""Awkward videos and images, made with real encoders, and what is to be read of each.

python tests/awkward.py FOLDER   makes all of them.
"""

import struct
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from PIL import Image

from depthcrafter_cli.types import RgbImage, Size

FRAMES, SIZE, RATE = 12, Size(48, 64), Fraction(24)
NTSC = Fraction(24000, 1001)
X265 = ("-c:v", "libx265", "-x265-params", "log-level=none:crf=8")
X264 = ("-c:v", "libx264", "-crf", "8", "-preset", "veryfast")


def truth(index: int, size: Size = SIZE) -> RgbImage:
    """The picture uint8 [H, W, 3] of a number: red grows to the right, green downwards.

    Its blue tells the number, and no turn or mirror leaves it as it is.
    """
    rows, columns = np.mgrid[: size.height, : size.width]
    red = 40 + 160 * columns / (size.width - 1)
    green = 40 + 160 * rows / (size.height - 1)
    blue = np.full(red.shape, 30 + 12 * index)
    return np.rint(np.stack([red, green, blue], axis=-1)).astype(np.uint8)


def number_of(rgb: RgbImage) -> int:
    """The number that :func:`truth` was made with."""
    return round((float(rgb[..., 2].mean()) - 30) / 12)


Make = Callable[[Path], None]


@dataclass(frozen=True)
class Case:
    """How a video is made, and what is to be read of it.

    ``coded`` are the arguments of the ffmpeg program, which reads :data:`FRAMES` pictures, or a
    function that makes the file of the path it is given. ``numbers`` are the pictures that come
    out, at ``times`` (default: at the ``rate``), ``shown`` what becomes of each. Where colours are
    lost, the mean error may be up to ``error`` levels. ``told`` is a part of the one warning, and
    ``refused`` one of the error that comes instead of frames.
    """

    coded: Sequence[str] | Make
    rate: Fraction = RATE
    size: Size = SIZE
    numbers: Sequence[int] = tuple(range(FRAMES))
    times: Sequence[Fraction] | None = None
    shown: Callable[[RgbImage], RgbImage] = field(default=lambda rgb: rgb)
    error: float = 2.5
    told: str = ""
    refused: str = ""

    @property
    def expected_times(self) -> list[Fraction]:
        """When the pictures are to be shown, in seconds."""
        return list(self.times or [Fraction(k) / self.rate for k in range(len(self.numbers))])


def ffmpeg(*arguments: object, data: bytes | None = None) -> None:
    """Runs the ffmpeg program."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-threads", "1"]
    subprocess.run([*command, *map(str, arguments)], check=True, input=data)


def encode(path: Path, *coded: object, rate: Fraction = RATE, size: Size = SIZE) -> Path:
    """The pictures, by the ffmpeg program."""
    data = b"".join(truth(index, size).tobytes() for index in range(FRAMES))
    raw = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-r", rate, "-i", "-")
    ffmpeg(*raw, *coded, path, data=data)
    return path


def make(name: str, folder: Path) -> Path:
    """The file, folder or pattern of a case."""
    case, path = CASES[name], folder / name
    if callable(case.coded):
        case.coded(path)
    else:
        encode(path, *case.coded, rate=case.rate, size=case.size)
    return path


def _again(*arguments: str, before: Sequence[str] = (), suffix: str = ".mp4") -> Make:
    """A copy of a plain video with other things said of it."""

    def made(path: Path) -> None:
        plain = encode(path.with_name(f"plain-of-{path.stem}{suffix}"), *X264, "-bf", "2")
        ffmpeg(*before, "-i", plain, "-c", "copy", *arguments, path)

    return made


def _rotated(turn: str, *more: str) -> Make:
    return _again(before=("-display_rotation", turn, *more))


def _said(what: str) -> tuple[str, ...]:
    """Written into an H.264 stream itself."""
    return (*X264, "-bf", "0", "-bsf:v", f"h264_metadata={what}")


def _by_pillow(**settings: object) -> Make:
    def made(path: Path) -> None:
        first, *rest = (Image.fromarray(truth(index)) for index in range(FRAMES))
        first.save(path, save_all=True, append_images=rest, **settings)

    return made


def _images(pattern: str, *coded: str, first: int = 1001, without: Sequence[int] = ()) -> Make:
    """A folder of images."""

    def made(path: Path) -> None:
        path.mkdir()
        encode(path / pattern, *coded, "-start_number", str(first))
        for number in without:
            (path / (pattern % number)).unlink()

    return made


def _cut(share: float, *coded: str, rate: Fraction = RATE) -> Make:
    def made(path: Path) -> None:
        encode(path, *coded, rate=rate)
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])

    return made


def _joined(path: Path) -> None:
    """Two recordings, of which the second begins 0.3 s before the first one ends."""
    first = encode(path.with_name("first.ts"), *X264, "-bf", "0")
    second = path.with_name("second.ts")
    ffmpeg("-i", first, "-c", "copy", "-output_ts_offset", "0.2", second)
    path.write_bytes(first.read_bytes() + second.read_bytes())


def _twice(path: Path) -> None:
    """Two files behind each other."""
    path.write_bytes(2 * encode(path, *LOSSLESS).read_bytes())


def _of_two_sizes(path: Path) -> None:
    """The second half is larger, and shown at the size of the first one."""
    parts = [
        encode(path.with_name(f"{width}.264"), *X264, "-vf", f"scale={width}:-1").read_bytes()
        for width in (SIZE.width, 2 * SIZE.width)
    ]
    path.write_bytes(b"".join(parts))


def _after_garbage(path: Path) -> None:
    path.write_bytes(bytes(1000) + encode(path, *X264).read_bytes())


def _two_videos(path: Path) -> None:
    video = encode(path.with_name("video.mp4"), *X264)
    still = path.with_name("still.png")
    Image.new("RGB", (32, 32)).save(still)
    flags = ("-disposition:v:0", "0", "-disposition:v:1", "default")
    ffmpeg("-i", still, "-i", video, "-map", "0", "-map", "1", "-c", "copy", *flags, path)


def _with_sound(path: Path) -> None:
    video = encode(path.with_name("silent.mp4"), *X264)
    sound = ("-f", "lavfi", "-i", "sine=duration=0.5")
    ffmpeg(*sound, "-i", video, "-map", "0", "-map", "1", "-c:v", "copy", "-c:a", "aac", path)


def _sound_alone(path: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "sine=duration=0.2", "-c:a", "aac", path)


def _lying_photo(path: Path) -> None:
    """Stored upside down."""
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(truth(0)).save(path, exif=exif, quality=98)


def _with_box(name: bytes, content: bytes, *coded: str) -> Make:
    """MP4 or MOV with one more box in the description of its pictures."""

    def made(path: Path) -> None:
        data = bytearray(encode(path, *coded).read_bytes())
        box = _box(name, content)
        at = data.index(b"moov") - 4
        assert data.index(b"mdat") < at  # else the places of pictures would change
        for outer in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd"):
            at = data.index(outer, at) - 4
            _grow(data, at, len(box))
        entry = at + 16
        _grow(data, entry, len(box))
        end = entry + int.from_bytes(data[entry : entry + 4], "big") - len(box)
        data[end:end] = box
        path.write_bytes(data)

    return made


def _cropped_behind_a_cover(path: Path) -> None:
    """MOV whose cover is told before its video, which FFmpeg counts as the second one by that."""
    _with_box(b"clap", _aperture(52, 40, 2, -1), *X264)(path)
    data = bytearray(path.read_bytes())
    cover = BytesIO()
    Image.fromarray(truth(0)).save(cover, "JPEG")
    box = _box(b"data", struct.pack(">II", 13, 0) + cover.getvalue())
    for name in (b"covr", b"ilst"):
        box = _box(name, box)
    handler = _box(b"hdlr", bytes(8) + b"mdirappl" + bytes(9))
    box = _box(b"udta", _box(b"meta", bytes(4) + handler + box))
    movie = data.index(b"moov") - 4
    _grow(data, movie, len(box))
    track = data.index(b"trak", movie) - 4
    data[track:track] = box
    path.write_bytes(data)


def _box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), name) + content


def _grow(data: bytearray, at: int, by: int) -> None:
    size = int.from_bytes(data[at : at + 4], "big") + by
    data[at : at + 4] = size.to_bytes(4, "big")


def _aperture(*numbers: int) -> bytes:
    """Width, height and how far the middle is right of and below that of what is stored."""
    return struct.pack(">8i", *(part for number in numbers for part in (number, 1)))


def _dolby_vision(profile: int, base_layer: int) -> bytes:
    """A configuration record."""
    return bytes([1, 0, profile << 1, 0x0D, base_layer << 4]) + bytes(19)


def _with_elements(elements: bytes, *coded: str, of_pictures: bool = False) -> Make:
    """Matroska that says more of its track, or of its pictures, in place of the track's title."""

    def made(path: Path) -> None:
        title = "n" * (len(elements) - 3)
        told = (
            "-metadata:s:v",
            f"title={title}",
            "-fflags",
            "+bitexact",
        )  # or tracks are named by lot
        data = bytearray(encode(path, *coded, *told).read_bytes())
        at = data.index(b"\x53\x6e" + bytes([0x80 | len(title)]))
        del data[at : at + len(elements)]
        if of_pictures:
            at = data.index(b"\xe0", data.index(b"\x16\x54\xae\x6b")) + 1
            length = 9 - data[at].bit_length()
            size = int.from_bytes(data[at : at + length], "big") + len(elements)
            data[at : at + length] = size.to_bytes(length, "big")
            at += length
        data[at:at] = elements
        path.write_bytes(data)

    return made


def _holding(text: bytes) -> Make:
    def made(path: Path) -> None:
        path.write_bytes(text)

    return made


def _hdr(transfer: str) -> tuple[str, ...]:
    sdr = "format=gbrp,setparams=color_primaries=bt709:color_trc=bt709:colorspace=gbr:range=pc"
    linear = "zscale=t=linear:npl=203,format=gbrpf32le,zscale=p=2020"
    coded = f"zscale=t={transfer}:m=2020_ncl:r=limited:npl=203,format=yuv420p10le"
    return ("-vf", f"{sdr},{linear},{coded}", "-c:v", "ffv1")


def _matrix(name: str, *coded: str, levels: str = "tv") -> tuple[str, ...]:
    """With a colour matrix that is named."""
    tags = f"setparams=colorspace={name}:range={levels}"
    scale = f"scale=out_color_matrix={name}:out_range={levels}:flags=accurate_rnd+full_chroma_int"
    return ("-vf", f"{scale},format=yuv444p,{tags}", *coded)


def _exr(
    storage: str = "scanlineimage",
    compression: str = "ZIP",
    order: str = "INCREASING_Y",
    *,
    layer: str = "",
    names: str = "RGB",
    beyond: int = 0,
    passes: Sequence[str] = (),
) -> Make:
    """One OpenEXR image, which stores so many pixels beyond each side of what is shown.

    ``passes`` are parts of one channel that lie before it; beside a ``layer`` lies another.
    """

    def made(path: Path) -> None:
        import OpenEXR

        header = {
            "type": getattr(OpenEXR, storage),
            "compression": getattr(OpenEXR, f"{compression}_COMPRESSION"),
            "lineOrder": getattr(OpenEXR, order),
            "displayWindow": _corners(0),
            "dataWindow": _corners(beyond),
        }
        if "tile" in storage:
            header["tiles"] = OpenEXR.TileDescription()
        levels = truth(0) / 255
        light = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
        rows, columns = (np.arange(-beyond, side + beyond) for side in light.shape[:2])
        stored = light.astype(np.float32)[rows.clip(0, 47)][:, columns.clip(0, 63)]
        planes = {layer + name: stored[..., at].copy() for at, name in enumerate(names)}
        if layer:
            planes["Depth.Z"] = stored[..., 0].copy()
        if "deep" in storage:
            planes = {name: _samples(plane) for name, plane in planes.items()}
        parts = [OpenEXR.Part({**header}, {name: stored[..., 0].copy()}, name) for name in passes]
        with OpenEXR.File([*parts, OpenEXR.Part(header, planes, "beauty")]) as image:
            image.write(str(path))

    return made


def _corners(beyond: int) -> tuple[np.ndarray, np.ndarray]:
    """The first and the last pixel, as x and y."""
    last = (SIZE.width - 1 + beyond, SIZE.height - 1 + beyond)
    return np.array([-beyond, -beyond], np.int32), np.array(last, np.int32)


def _samples(plane: np.ndarray) -> np.ndarray:
    """As a deep image holds them: here one a pixel."""
    deep = np.empty(plane.shape, object)
    for at in np.ndindex(plane.shape):
        deep[at] = plane[at].reshape(1)
    return deep


def _framed(rgb: RgbImage) -> RgbImage:
    """Black at its edges."""
    return np.pad(rgb[1:-1, 1:-1], ((1, 1), (1, 1), (0, 0)))


def _turned(times: int) -> Callable[[RgbImage], RgbImage]:
    return lambda rgb: np.rot90(rgb, times)


PALETTES = ("-vf", "split[a][b];[a]palettegen=stats_mode=single[p];[b][p]paletteuse=new=1")
LOSSLESS = ("-c:v", "ffv1", "-pix_fmt", "bgr0")
RAW = ("-pix_fmt", "yuv444p")
ENCRYPTED = (
    "-encryption_scheme", "cenc-aes-ctr", "-encryption_key", "01" * 16, "-encryption_kid", "02" * 16
)  # fmt: skip
CASES = {
    # Codecs and containers
    "h264.mp4": Case(X264),
    "h264-444.mov": Case((*X264, "-pix_fmt", "yuv444p")),
    "h264-10.mkv": Case((*X264, "-pix_fmt", "yuv420p10le")),
    "hevc.mp4": Case(X265),
    "hevc-12.mkv": Case((*X265, "-pix_fmt", "yuv422p12le")),
    "vp8.webm": Case(("-c:v", "libvpx", "-crf", "4", "-b:v", "4M", "-deadline", "realtime")),
    "vp9.webm": Case(("-c:v", "libvpx-vp9", "-lossless", "1", "-cpu-used", "8")),
    "mpeg4.avi": Case(("-c:v", "mpeg4", "-q:v", "1")),
    "mpeg2.mpg": Case(("-c:v", "mpeg2video", "-q:v", "1"), rate=Fraction(25)),
    "mpeg2.ts": Case(("-c:v", "mpeg2video", "-q:v", "1"), rate=Fraction(25)),
    "mpeg2.mxf": Case(("-c:v", "mpeg2video", "-q:v", "1"), rate=Fraction(25)),
    "mjpeg.mov": Case(("-c:v", "mjpeg", "-q:v", "1", "-pix_fmt", "yuvj444p")),
    "prores.mov": Case(("-c:v", "prores_ks", "-profile:v", "3")),
    "cineform.mov": Case(("-c:v", "cfhd", "-quality", "film1")),
    "jpeg2000.mov": Case(("-c:v", "jpeg2000", "-q:v", "1")),
    "v210.mov": Case(("-c:v", "v210")),
    "ffv1-16.mkv": Case(("-c:v", "ffv1", "-pix_fmt", "gbrp16le"), error=1),
    "huffyuv.avi": Case(("-c:v", "huffyuv", "-pix_fmt", "rgb24"), error=0),
    "utvideo.avi": Case(("-c:v", "utvideo", "-pix_fmt", "gbrp"), error=0),
    "raw.nut": Case(("-c:v", "rawvideo", "-pix_fmt", "rgb24"), error=0),
    "raw.y4m": Case(RAW),
    "flash.flv": Case(("-c:v", "flv1", "-q:v", "1")),
    "windows.wmv": Case(("-c:v", "wmv2", "-q:v", "1")),
    "theora.ogv": Case(("-c:v", "libtheora", "-q:v", "10")),
    "fragments.mp4": Case((*X264, "-movflags", "frag_keyframe+empty_moov", "-g", "4")),
    "stream.264": Case((*X264, "-bf", "2")),
    "stream.drc": Case(("-c:v", "vc2", "-b:v", "40M", "-strict", "-1"), error=6),
    "stream.265": Case((*X265, "-f", "hevc"), rate=NTSC),
    # Films in pictures
    "film.gif": Case(
        PALETTES, rate=Fraction(25), error=6,
    ),
    "film.png": Case(("-f", "apng"), rate=Fraction(25), error=0),
    "film.webp": Case(_by_pillow(duration=40, lossless=True), rate=Fraction(25), error=0),
    "pages.tif": Case(_by_pillow(), error=0),
    # Time
    "ntsc.mkv": Case(X264, rate=NTSC),
    "ntsc.flv": Case(X264, rate=NTSC),
    "sixty.mov": Case(X264, rate=Fraction(60000, 1001)),
    "slow.mp4": Case(X264, rate=Fraction(1, 2)),
    "variable.mp4": Case(
        ("-vf", "settb=1/1000,setpts='N*N*10'", "-fps_mode", "vfr", "-enc_time_base", "1/1000",
         *X264, "-video_track_timescale", "1000"),
        times=[Fraction(k * k, 100) for k in range(FRAMES)],
    ),
    "late.ts": Case(_again("-output_ts_offset", "1.5")),
    "late.mov": Case(_again("-output_ts_offset", "1.5")),
    "cut.mp4": Case(
        _again(before=("-ss", "0.21")), numbers=tuple(range(6, FRAMES)),
    ),
    # It knows when pictures are decoded, not when they are shown, and this one counts fields.
    "h264.avi": Case(_again()),
    "open-groups.ts": Case(
        ("-c:v", "libx265", "-x265-params", "log-level=none:crf=8:open-gop=1:keyint=4:bframes=3")
    ),
    "half-rates.mp4": Case((*X264, "-bf", "2"), rate=Fraction(25, 2)),
    "drop-frame.mov": Case((*X264, "-timecode", "00:59:59;28"), rate=Fraction(30000, 1001)),
    "rgb.mp4": Case(("-c:v", "libx264rgb", "-crf", "1"), error=1),
    "alpha.mov": Case(("-c:v", "qtrle", "-pix_fmt", "argb"), error=0),
    "five-bits.avi": Case(("-c:v", "rawvideo", "-pix_fmt", "rgb555le"), error=5),
    "twelve.mkv": Case(("-c:v", "ffv1", "-pix_fmt", "yuv422p12le")),
    "turned-mirrored.mov": Case(
        _rotated("90", "-display_hflip"), shown=lambda rgb: rgb[::-1, ::-1].transpose(1, 0, 2)
    ),
    "fields.mov": Case(
        ("-c:v", "prores_ks", "-flags", "+ildct", "-vf", "setfield=tff"), rate=Fraction(25)
    ),
    "one.mp4": Case(("-frames:v", "1", *X264), numbers=(0,)),
    "joined.ts": Case(_joined, numbers=(*range(FRAMES), *range(FRAMES)), told="clock jumps 1"),
    # Shape
    "turned-90.mp4": Case(_rotated("90"), shown=_turned(1)),
    "turned-180.mov": Case(_rotated("180"), shown=_turned(2)),
    "turned-270.mp4": Case(_rotated("270"), shown=_turned(3)),
    "mirrored.mp4": Case(_rotated("0", "-display_hflip"), shown=lambda rgb: rgb[:, ::-1]),
    # The stream says it itself, once for all of its pictures.
    "turned.264": Case(_said("display_orientation=insert:rotate=90"), shown=_turned(1)),
    "turned.mkv": Case(_said("display_orientation=insert:rotate=270"), shown=_turned(3)),
    "mirrored.ts": Case(
        _said("display_orientation=insert:flip=horizontal"), shown=lambda rgb: rgb[:, ::-1]
    ),
    "cut-at-the-left.mp4": Case(
        _said("crop_left=8:crop_top=4:crop_right=2"), shown=lambda rgb: rgb[4:, 8:-2]
    ),
    # What the container alone says is not to be shown.
    "clean-aperture.mov": Case(
        _with_box(b"clap", _aperture(52, 40, 2, -1), *X264), shown=lambda rgb: rgb[3:-5, 8:-4]
    ),
    "behind-a-cover.mp4": Case(_cropped_behind_a_cover, shown=lambda rgb: rgb[3:-5, 8:-4]),
    "aperture-between-pixels.mov": Case(
        _with_box(b"clap", struct.pack(">8i", 105, 2, 81, 2, 1, 2, 0, 1), *X264),
        shown=lambda rgb: rgb[3:-4, 6:-6],
    ),
    "aperture-beyond.mov": Case(_with_box(b"clap", _aperture(60, 44, 10, 0), *X264)),
    "cropped.mkv": Case(
        _with_elements(
            b"\x54\xcc\x81\x05\x54\xdd\x81\x03\x54\xbb\x81\x04\x54\xaa\x81\x02",
            *LOSSLESS, of_pictures=True,
        ),
        shown=lambda rgb: rgb[4:-2, 5:-3], error=0,
    ),
    "wide.mkv": Case(("-vf", "setsar=2", *X264), shown=lambda rgb: np.repeat(rgb, 2, axis=1)),
    "odd.mkv": Case(LOSSLESS, size=Size(49, 65), error=0),
    "odd.mp4": Case((*X264, "-pix_fmt", "yuv444p"), size=Size(49, 65)),
    "interlaced.mpg": Case(
        ("-vf", "setfield=tff", "-c:v", "mpeg2video", "-q:v", "1", "-flags", "+ildct+ilme"),
        rate=Fraction(25), error=3,
    ),
    # Colour
    "bt601.mp4": Case((*_matrix("smpte170m"), *X264)),
    "bt709.mp4": Case((*_matrix("bt709"), *X264)),
    "bt2020.mkv": Case(_matrix("bt2020nc", "-c:v", "ffv1")),
    "full-range.mkv": Case(_matrix("bt709", "-c:v", "ffv1", levels="pc")),
    "untagged-hd.mkv": Case(
        ("-vf", "scale=out_color_matrix=bt709:flags=accurate_rnd+full_chroma_int,format=yuv444p,"
         "setparams=colorspace=unknown", "-frames:v", "2", "-c:v", "ffv1"),
        size=Size(720, 16), numbers=(0, 1),
    ),
    "ycgco.mp4": Case(
        _said("matrix_coefficients=8"), error=9, told="names colours that cannot be converted"
    ),
    "dolby-vision-5.mp4": Case(
        _with_box(b"dvcC", _dolby_vision(5, 0), *X265),
        refused="Dolby's metadata alone tell (profile 5)",
    ),
    "early-dolby-vision-5.mp4": Case(
        _with_box(b"dvcC", _dolby_vision(5, 0)[:4], *X265),
        refused="Dolby's metadata alone tell (profile 5)",
    ),
    "dolby-vision-8.mp4": Case(_with_box(b"dvvC", _dolby_vision(8, 1), *X265)),
    "dolby-vision-5.mkv": Case(
        _with_elements(
            b"\x41\xe4\xa2\x41\xe7\x84dvcC\x41\xed\x98" + _dolby_vision(5, 0), *X265
        ),
        refused="Dolby's metadata alone tell (profile 5)",
    ),
    "pq.mkv": Case(_hdr("smpte2084"), told="HDR (PQ)"),
    "hlg.mkv": Case(_hdr("arib-std-b67"), told="HDR (HLG)"),
    # Streams
    "two-videos.mkv": Case(_two_videos, told="has 2 videos in it"),
    "sound-first.mp4": Case(_with_sound),
    # Images
    "pngs": Case(_images("p.%04d.png"), error=0),
    "pngs-16": Case(_images("p.%04d.png", "-pix_fmt", "rgb48be"), error=1),
    "tiffs": Case(_images("p.%04d.tif"), error=0),
    "jpegs": Case(_images("p_%d.jpg", "-q:v", "1", first=8)),
    "ppms": Case(_images("p.%04d.ppm"), error=0),
    "light.hdr": Case(
        ("-vf", "format=gbrp,setparams=color_trc=iec61966-2-1:colorspace=gbr:range=pc,"
         "zscale=t=linear,format=gbrpf32le", "-frames:v", "1", "-update", "1"),
        numbers=(0,), error=1,
    ),
    "dpxs": Case(_images("p.%06d.dpx", "-pix_fmt", "gbrp10be"), error=1),
    **{
        f"{name}.exr": Case(made, numbers=(0,), error=1)
        for name, made in {
            **{
                each.lower(): _exr(compression=each)
                for each in ("NO", "RLE", "ZIPS", "PIZ", "PXR24", "B44", "B44A", "DWAA", "DWAB")
            },
            "tiles": _exr("tiledimage"),
            "lines-from-below": _exr(order="DECREASING_Y"),
            "tiles-as-they-come": _exr("tiledimage", order="RANDOM_Y"),
            "parts": _exr(passes=("Z", "A")),
            "layers": _exr(layer="ViewLayer.Combined."),
            "more-than-shown": _exr(beyond=5),
            "more-tiles-than-shown": _exr("tiledimage", beyond=5),
        }.items()
    },
    "less-than-shown.exr": Case(_exr(beyond=-1), numbers=(0,), shown=_framed, error=1),
    "normals.exr": Case(_exr(names="XYZ", layer="N."), refused="holds no colours"),
    "deep.exr": Case(_exr("deepscanline", "ZIPS"), refused="is a deep image"),
    "deep-tiles.exr": Case(_exr("deeptile", "ZIPS"), refused="is a deep image"),
    "lying.jpg": Case(_lying_photo, numbers=(0,), shown=_turned(2)),
    # Others that nobody thinks of
    "av1.obu": Case(
        ("-c:v", "libaom-av1", "-crf", "10", "-cpu-used", "8", "-b:v", "0", "-pix_fmt", "yuv444p"),
        rate=Fraction(25),
    ),
    "joined.mkv": Case(
        _twice, numbers=(*range(FRAMES), *range(FRAMES)), told="clock jumps 1", error=0
    ),
    "size-changes.264": Case(_of_two_sizes, numbers=(*range(FRAMES), *range(FRAMES))),
    "garbage-first.ts": Case(_after_garbage),
    # Damage
    "cut-off.mkv": Case(
        _cut(0.7, "-c:v", "ffv1", "-pix_fmt", "bgr0"), numbers=tuple(range(8)), error=0,
        told="is damaged",
    ),
    "cut-off.mp4": Case(_cut(0.4, *X264), refused="cannot be read as a video"),
    "gap": Case(_images("p.%04d.png", without=[1004]), refused="lacks 1004 of 1001 to 1012"),
    "cut-off.y4m": Case(_cut(0.7, *RAW), numbers=tuple(range(8)), told="is damaged"),
    "cut-off.gif": Case(
        _cut(0.6, *PALETTES, rate=Fraction(25)), rate=Fraction(25), numbers=tuple(range(7)),
        error=9, told="is damaged",
    ),
    "cut-off.png": Case(
        _cut(0.6, "-f", "apng", rate=Fraction(25)), rate=Fraction(25), numbers=tuple(range(7)),
        error=0, told="is damaged",
    ),
    "nearly-all-lost.mp4": Case(
        _cut(0.7, *X264, "-movflags", "faststart"), numbers=(0,), told="is damaged"
    ),
    "encrypted.mp4": Case(_again(*ENCRYPTED), refused="is encrypted (DRM)"),
    "empty.mp4": Case(_holding(b""), refused="is empty"),
    "text.mp4": Case(_holding(b"no video\n" * 99), refused="cannot be read as a video"),
    "playlist.m3u8": Case(_holding(b"#EXTM3U\nfile.ts\n"), refused="cannot be read as a video"),
    "sound.m4a": Case(_sound_alone, refused="has no video stream (it holds audio)"),
}  # fmt: skip


if __name__ == "__main__":
    for each in CASES:
        print(make(each, Path(sys.argv[1])))
