"""Test videos, made with the real encoders; every frame can be told from the others."""

import struct
import subprocess
import zlib
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
from PIL import Image

from depthcrafter_cli.types import RgbImage, Size

SMALL = Size(48, 64)


def picture(index: int, size: Size = SMALL) -> RgbImage:
    """A smooth picture uint8 [H, W, 3]; its mean brightness tells ``index`` (modulo 40)."""
    rows = np.linspace(0, 20, size.height)[:, None]
    columns = np.linspace(0, 20, size.width)[None]
    level = 20 + 5 * (index % 40) + rows * 0.5 + columns * 0.5
    return np.repeat(np.rint(level)[..., None], 3, axis=-1).astype(np.uint8)


def index_of(rgb: RgbImage) -> int:
    """The index that :func:`picture` was made with (modulo 40)."""
    return round((float(rgb.mean()) - 30) / 5)


def make_clip(
    path: Path,
    *,
    frames: int = 10,
    size: Size = SMALL,
    rate: Fraction | int = 24,
    times: Sequence[Fraction] | None = None,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    aspect: Fraction | None = None,
    audio: bool = False,
    container_options: dict[str, str] | None = None,
) -> Path:
    """A video at a constant rate, or at any ``times`` in seconds (whole multiples of 1/12000)."""
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = size.width, size.height, pix_fmt
        stream.options = {"crf": "12", "preset": "veryfast", "threads": "1", **(options or {})}
        sound = container.add_stream("aac", rate=16000) if audio else None
        unit = Fraction(1, 12000) if times else 1 / Fraction(rate)
        stream.time_base = stream.codec_context.time_base = unit
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        for index in range(len(times) if times else frames):
            frame = av.VideoFrame.from_ndarray(picture(index, size), format="rgb24")
            frame = frame.reformat(format=pix_fmt)
            frame.time_base = unit
            frame.pts = int(times[index] / unit) if times else index
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound is not None:
            _add_silence(container, sound)
    return path


COLOURS = [(200, 40, 30), (30, 160, 60), (40, 60, 200)]


FILM = Size(72, 128)


def make_film(path: Path, *lengths: int, size: Size = FILM) -> Path:
    """A video of shots of so many frames: bands of a colour that move a little."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24, options={"crf": "12", "threads": "1"})
        stream.width, stream.height, stream.pix_fmt = size.width, size.height, "yuv420p"
        for seed, frames in enumerate(lengths):
            cells = (-(-size.height // 8), -(-(size.width + frames) // 8), 1)
            rough = np.random.default_rng(seed).uniform(0.3, 1, cells)
            wide = np.kron(rough, np.ones((8, 8, 1))) * np.array(COLOURS[seed % len(COLOURS)])
            for shift in range(frames):
                shown = wide[: size.height, shift : shift + size.width].astype(np.uint8)
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(shown), format="rgb24")
                container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def make_absurd_png(path: Path) -> Path:
    """A PNG whose header promises 169 million pixels, with the right checksum."""
    Image.new("L", (8, 8)).save(path, format="PNG")
    data = bytearray(path.read_bytes())
    data[16:24] = struct.pack(">II", 13000, 13000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    path.write_bytes(data)
    return path


def make_audio(path: Path) -> Path:
    """A file with sound and no picture."""
    with av.open(str(path), "w") as container:
        _add_silence(container, container.add_stream("aac", rate=16000))
    return path


def _add_silence(container, stream) -> None:
    for block in range(8):
        silence = av.AudioFrame.from_ndarray(
            np.zeros((1, 1024), dtype=np.float32), format="fltp", layout="mono"
        )
        silence.sample_rate, silence.pts = 16000, block * 1024
        container.mux(stream.encode(silence))
    container.mux(stream.encode(None))


def ffmpeg(*arguments: str | Path) -> None:
    """Runs the ffmpeg program: an encoder and oracle that shares no code path with ours."""
    program = imageio_ffmpeg.get_ffmpeg_exe()
    subprocess.run([program, "-v", "error", "-y", *map(str, arguments)], check=True)


def shown_by_ffmpeg(path: Path, size: Size, filters: str = "null") -> RgbImage:
    """The first picture of a video, uint8 [H, W, 3], which has that ``size`` after the filters.

    Not by PyAV 16, which takes BT.601 for every video.
    """
    raw = ("-vf", filters, "-frames:v", "1", "-pix_fmt", "rgb24", "-f", "rawvideo", "-")
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(path), *raw]
    done = subprocess.run(command, check=True, capture_output=True)
    return np.frombuffer(done.stdout, np.uint8).reshape(size.height, size.width, 3)
