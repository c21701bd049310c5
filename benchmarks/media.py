"""Reading and writing beside the ffmpeg program with the same settings: CPU time a frame.

    python benchmarks/media.py                      # 1024x576 and 1920x1080, some minutes
    python benchmarks/media.py --height 576 --frames 12 --only png h264

What is read is a moving test picture with noise; what is written is depth of a moving scene with a
little noise. Ours and ffmpeg's runs alternate, and the best of each counts, over all threads and
child processes. Ours writes colours from disparity, which ffmpeg is handed as they are; ffmpeg's
includes the start of the program, some ten milliseconds.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import imageio_ffmpeg
import numpy as np

from depthcrafter_cli.depth.colorize import colorize
from depthcrafter_cli.media.look import CODECS, Codec, Look
from depthcrafter_cli.media.published import Published
from depthcrafter_cli.media.reader import read_frames
from depthcrafter_cli.media.sinks.base import DepthFrame, SinkSettings
from depthcrafter_cli.media.sinks.registry import sink_for
from depthcrafter_cli.types import Disparity, Size, ValueRange

HEIGHTS = {576: Size(576, 1024), 1080: Size(1080, 1920)}
RATE = Fraction(24)
LIMIT, IMAGES_LIMIT = 1.15, 1.3
Work = Callable[[], object]
VIDEOS = {"h264": ".mp4", "hevc-10": ".mp4", "prores": ".mov", "ffv1": ".mkv"}
IMAGES = {
    "png": ("-c:v", "png", "-compression_level", "1", "-pred", "mixed"),
    "tif": ("-c:v", "tiff", "-compression_algo", "deflate"),
}
TO_SDR = "zscale=t=linear:npl=203,format=gbrpf32le,zscale=p=709,zscale=t=709:m=gbr:r=full"


def main() -> int:
    parser = argparse.ArgumentParser(description="Reading and writing beside ffmpeg.")
    parser.add_argument(
        "--height", type=int, choices=sorted(HEIGHTS), nargs="+", default=[576, 1080]
    )
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", default=[], help="rows whose names begin so")
    arguments = parser.parse_args()
    print(f"{'CPU time a frame, ms':<34} {'ours':>7} {'ffmpeg':>7} {'ratio':>6} {'limit':>6}")
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for height in arguments.height:
            size = HEIGHTS[height]
            rows = _rows(Path(folder), size, arguments.frames, arguments.only)
            for name, ours, theirs, count, limit in rows:
                times = [(_seconds(ours), _seconds(theirs)) for _ in range(arguments.rounds)]
                best = [1000 * min(each) / count for each in zip(*times, strict=True)]
                ratio = best[0] / best[1]
                failed += ratio > limit
                shown = f"{best[0]:>7.1f} {best[1]:>7.1f} {ratio:>6.2f} {limit:>6.2f}"
                print(f"{f'{name}, {size}':<34} {shown}", flush=True)
    return int(failed > 0)


def _rows(
    folder: Path, size: Size, frames: int, only: list[str]
) -> Iterator[tuple[str, Work, Work, int, float]]:
    """Name, our work, ffmpeg's, of how many frames, and the largest ratio that is fine.

    What is read is longer: before the first frame a few are decoded to know the video.
    """
    long = 4 * frames

    def wanted(name: str) -> bool:
        return not only or any(name.startswith(each) for each in only)

    h264 = ("-c:v", "libx264", "-crf", "18", *_tagged("yuv420p", "bt709", "bt709", "bt709"))
    pq = _tagged("yuv420p10le", "bt2020", "smpte2084", "bt2020nc")
    hevc = ("-c:v", "libx265", "-x265-params", "log-level=none", *pq)
    for name, coded, filters in (("read h264", h264, ""), ("read hdr", hevc, f",{TO_SDR}")):
        if wanted(name):
            source = _source(folder / f"{name.split()[1]}-{size}.mkv", size, long, coded)
            yield name, *_reading(source, HEIGHTS[576], filters), long, LIMIT
    depth = [_depth(index, size) for index in range(frames)]
    for name, suffix in VIDEOS.items():
        if wanted(name):
            yield (
                name,
                *_video(folder / f"ours{suffix}", CODECS[name], name, depth, size),
                frames,
                LIMIT,
            )
    for name, coded in IMAGES.items():
        if wanted(name):
            yield (
                name,
                *_images(folder / f"{name}-{size}", name, coded, depth, size),
                frames,
                IMAGES_LIMIT,
            )


def _tagged(pixels: str, primaries: str, transfer: str, matrix: str) -> tuple[str, ...]:
    """As cameras and editors do: without tags, HD is read by another matrix than ffmpeg's own."""
    tags = f"setparams=color_primaries={primaries}:color_trc={transfer}:colorspace={matrix}"
    return ("-vf", f"format={pixels},{tags}")


def _source(path: Path, size: Size, frames: int, coded: tuple[str, ...]) -> Path:
    picture = f"testsrc2=size={size}:rate=24,noise=alls=12:allf=t"
    _ffmpeg("-f", "lavfi", "-i", picture, "-frames:v", frames, *coded, path)
    return path


def _reading(source: Path, size: Size, filters: str) -> tuple[Work, Work]:
    """To RGB at the size of the model."""
    scale = f"scale={size.width}:{size.height}:flags=bilinear{filters},format=rgb24"

    def ours() -> None:
        for _frame in read_frames(source, size):
            pass

    return ours, lambda: _ffmpeg("-i", source, "-vf", scale, "-f", "rawvideo", "-y", "/dev/null")


def _depth(index: int, size: Size) -> Disparity:
    """A wall, and something before it that moves, 0 to 1."""
    rows, columns = np.mgrid[: size.height, : size.width]
    wall = 0.2 + 0.3 * rows / size.height
    near = np.hypot(rows - size.height / 2, columns - size.width * (0.3 + 0.01 * index))
    noise = np.random.default_rng(index).normal(0, 0.002, wall.shape)
    shown = np.where(near < size.height / 4, 0.8, wall) + noise
    return np.clip(shown, 0, 1).astype(np.float32)


def _write(path: Path, codec: str | None, depth: list[Disparity], size: Size) -> None:
    settings = SinkSettings(
        size=size,
        frame_count=len(depth),
        rate=RATE,
        time_base=1 / RATE,
        value_range=ValueRange(0, 1),
        look=Look(codec=codec),
        published=Published(overwrite=True),
    )
    path.parent.mkdir(exist_ok=True)
    with sink_for(path, settings) as sink:
        for index, each in enumerate(depth):
            sink.write(DepthFrame(index, index / RATE, each, each))


def _video(
    path: Path, codec: Codec, name: str, depth: list[Disparity], size: Size
) -> tuple[Work, Work]:
    raw, pix_fmt = path.with_suffix(".raw"), "gray16le" if codec.matte else "rgb24"
    if codec.matte:
        pictures = [np.rint(each * 65535).astype("<u2") for each in depth]
    else:
        pictures = [colorize(each, "inferno") for each in depth]
    raw.write_bytes(b"".join(each.tobytes() for each in pictures))
    options = [part for key, value in codec.options.items() for part in (f"-{key}", value)]
    quality = ("-crf", "18") if codec.quality else ()
    colours = () if codec.matte else ("-vf", "scale=out_color_matrix=bt709")
    coded = (*colours, "-pix_fmt", codec.pix_fmt, "-c:v", codec.encoder, *options, *quality)
    theirs = path.with_stem("ffmpeg")
    return (
        lambda: _write(path, name, depth, size),
        lambda: _ffmpeg(*_raw(raw, size, pix_fmt), *coded, theirs),
    )


def _images(
    folder: Path, suffix: str, coded: tuple[str, ...], depth: list[Disparity], size: Size
) -> tuple[Work, Work]:
    folder.mkdir()
    raw = folder / "depth.raw"
    raw.write_bytes(b"".join(np.rint(each * 65535).astype("<u2").tobytes() for each in depth))
    ours, theirs = (folder / name / f"d_%05d.{suffix}" for name in ("ours", "ffmpeg"))
    theirs.parent.mkdir()
    return (
        lambda: _write(ours, None, depth, size),
        lambda: _ffmpeg(*_raw(raw, size, "gray16le"), *coded, theirs),
    )


def _raw(path: Path, size: Size, pix_fmt: str) -> tuple[object, ...]:
    return ("-f", "rawvideo", "-pix_fmt", pix_fmt, "-s", size, "-r", RATE, "-i", path)


def _ffmpeg(*arguments: object) -> None:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *map(str, arguments)]
    subprocess.run(command, check=True)


def _seconds(work: Work) -> float:
    """CPU time of this process and of those that it started and waited for."""

    def spent() -> float:
        told = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return sum(each.ru_utime + each.ru_stime for each in told)

    before = spent()
    work()
    return spent() - before


if __name__ == "__main__":
    sys.exit(main())
