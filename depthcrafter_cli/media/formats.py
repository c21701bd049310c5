"""What can be written. To add a format, write its class in ``sinks/`` and add its line here.

Nothing is imported for a format before one of its outputs is asked for.
"""

from collections.abc import Mapping
from typing import NamedTuple


class Format(NamedTuple):
    """``sink`` is the file in ``sinks/`` and the class in it that writes the format.

    ``holds`` says what is written, ``written`` how users name an output of it, if that is more than
    the suffix; a format that is another spelling of one before holds nothing new. What ``finish``
    alone writes needs options that no other command has.
    """

    sink: str
    holds: str = ""
    written: str = ""
    finish_alone: bool = False


FORMATS: Mapping[str, Format] = {
    ".mp4": Format("video.VideoSink", "colour video"),
    ".mov": Format("video.VideoSink", "colour video"),
    ".mkv": Format("video.VideoSink", "16-bit grey video, no loss"),
    ".npz": Format("npz.NpzSink", "raw disparity, float32"),
    ".npy": Format("npy.NpySink", "raw disparity, float32"),
    ".png": Format("png16.PngSink", "16-bit grey", "a folder or name_%05d.png"),
    ".tif": Format("tiff.TiffSink", "16-bit grey", "name.%04d.tif"),
    ".tiff": Format("tiff.TiffSink"),
    ".exr": Format("exr.ExrSink", "raw disparity, float32", "name.%04d.exr"),
    ".zip": Format("zarr.ZarrSink", "as .npz", ".zarr.zip"),
    ".ply": Format("ply.PlySink", "points", "name.%04d.ply", finish_alone=True),
    ".gif": Format("preview.PreviewSink", "a preview"),
    ".webp": Format("preview.PreviewSink", "a preview"),
    ".jpg": Format("sheet.SheetSink", "a contact sheet"),
    ".m4a": Format("sound_only.SoundSink", "their sound"),
    "": Format("png16.PngSink"),  # a folder
}
"""By suffix."""

NUMBERED: Mapping[str, Format] = {
    ".jpg": Format("source.SourceSink", "the frames that were read", "name.%05d.jpg"),
}
"""Those of numbered files, where one file is another format."""


def formats_in_words() -> str:
    """Every way to name an output, with what is then written."""
    by_content: dict[str, list[str]] = {}
    for formats in (FORMATS, NUMBERED):
        for suffix, each in formats.items():
            if each.holds:
                by_content.setdefault(each.holds, []).append(each.written or suffix)
    return ", ".join(f"{_either(names)} ({holds})" for holds, names in by_content.items())


def format_names() -> list[str]:
    """What a batch may be asked for by name, such as ``mp4``."""
    return [
        suffix.removeprefix(".")
        for suffix, each in FORMATS.items()
        if each.holds and not each.finish_alone
    ]


def _either(names: list[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last
