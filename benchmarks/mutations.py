"""Small videos and picture sequences, and what can happen to their bytes."""

import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
from PIL import Image

FRAMES, RATE, WIDTH, HEIGHT = 12, 6, 64, 48  # two seconds
VIDEOS = {
    "mp4": ("libx264", "yuv420p"),
    "mkv": ("libx264", "yuv420p"),
    "webm": ("libvpx-vp9", "yuv420p"),
    "mov": ("prores_ks", "yuv422p10le"),
    "avi": ("mpeg4", "yuv420p"),
    "ts": ("mpeg2video", "yuv420p"),
}
SEQUENCES = ("png", "jpg")
FORMATS = (*VIDEOS, *SEQUENCES)

# Where formats keep lengths: beside the names of ISO boxes and RIFF chunks, behind EBML ids.
_NAME = re.compile(rb"[A-Za-z][A-Za-z0-9]{2}[A-Za-z0-9 ]")
_EBML = re.compile(rb"\x1a\x45\xdf\xa3|\x18\x53\x80\x67|[\x15\x16\x1f\x1c\x12]...|[\xae\xa3\xe0]")
_LENGTHS = (0, 1, 7, 8, 0xFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)

Mutation = Callable[[bytearray, random.Random], object]


def make_seed(folder: Path, kind: str) -> Path:
    """A sound clip of ``FRAMES`` frames: a file, or a folder of pictures."""
    pictures = [_picture(index) for index in range(FRAMES)]
    if kind in SEQUENCES:
        place = folder / kind
        place.mkdir()
        for index, picture in enumerate(pictures):
            Image.fromarray(picture).save(place / f"{index:03}.{kind}")
        return place
    codec, pixels = VIDEOS[kind]
    path = folder / f"seed.{kind}"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=RATE, options={"threads": "1", "g": "4"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pixels
        for picture in pictures:
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            container.mux(stream.encode(frame.reformat(format=pixels)))
        container.mux(stream.encode())
    return path


def _picture(index: int) -> np.ndarray:
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    moving = (rows * 3 + columns * (2 + index % 3) + 9 * index) % 256
    return np.dstack([moving, rows * 4 % 256, columns * 3 % 256]).astype(np.uint8)


def mutated(seed: Path, place: Path, lot: random.Random) -> str:
    """Put a damaged copy of ``seed`` at ``place``; what was done to it."""
    name = lot.choice(list(MUTATIONS))
    if seed.is_dir():
        shutil.copytree(seed, place)
        place = lot.choice(sorted(place.iterdir()))
        data = bytearray(place.read_bytes())
    else:
        data = bytearray(seed.read_bytes())
    for _ in range(lot.choice((1, 1, 1, 3))):
        MUTATIONS[name](data, lot)
    place.write_bytes(data)
    return name


def _flip_bits(data: bytearray, lot: random.Random) -> None:
    for _ in range(lot.choice((1, 4, 16, 64))):
        if data:
            data[lot.randrange(len(data))] ^= 1 << lot.randrange(8)


def _truncate(data: bytearray, lot: random.Random) -> None:
    del data[lot.randrange(len(data) + 1) :]


def _swap(data: bytearray, lot: random.Random) -> None:
    length = lot.choice((4, 16, 188, len(data) // 8))
    if len(data) > 2 * length:
        one, other = sorted(lot.sample(range(len(data) - length), 2))
        first, second = data[one : one + length], data[other : other + length]
        data[one : one + length], data[other : other + length] = second, first


def _remove(data: bytearray, lot: random.Random) -> None:
    begin = lot.randrange(len(data) + 1)
    del data[begin : begin + lot.choice((1, 4, 16, 188, 1000))]


def _repeat(data: bytearray, lot: random.Random) -> None:
    begin = lot.randrange(len(data) + 1)
    repeated = data[begin : begin + lot.choice((1, 4, 16, 188, 1000))]
    data[begin:begin] = repeated * lot.choice((1, 50))


def _zero(data: bytearray, lot: random.Random) -> None:
    begin, length = lot.randrange(len(data) + 1), lot.choice((1, 4, 16, 188, 1000))
    length = min(length, len(data) - begin)
    data[begin : begin + length] = bytes(length)


def _edit_header(data: bytearray, lot: random.Random) -> None:
    """Other values in the first bytes, or behind the name of a box."""
    names = [match.end() for match in _NAME.finditer(data)]
    begin = lot.choice(names) if names and lot.random() < 0.6 else 0
    for _ in range(lot.choice((1, 2, 8))):
        at = begin + lot.randrange(64)
        if at < len(data):
            data[at] = lot.choice((0, 1, 0x7F, 0x80, 0xFF, lot.randrange(256)))


def _edit_length(data: bytearray, lot: random.Random) -> None:
    """Another length, or count, where one is likely to be."""
    places = [match.start() - 4 for match in _NAME.finditer(data)]
    places += [match.end() + skip for match in _NAME.finditer(data) for skip in (0, 4, 8)]
    places += [match.end() for match in _EBML.finditer(data)]
    places = [place for place in places if 0 <= place <= len(data) - 4]
    if places:
        at = lot.choice(places)
        old = int.from_bytes(data[at : at + 4], "big")
        value = lot.choice((*_LENGTHS, old + 1, old - 1, old * 2, lot.getrandbits(32)))
        order = lot.choice(("big", "little"))
        data[at : at + 4] = (value % 2**32).to_bytes(4, order)


MUTATIONS: dict[str, Mutation] = {
    "flipped bits": _flip_bits,
    "truncated": _truncate,
    "swapped chunks": _swap,
    "removed bytes": _remove,
    "repeated bytes": _repeat,
    "zeros": _zero,
    "edited header": _edit_header,
    "edited length": _edit_length,
}
