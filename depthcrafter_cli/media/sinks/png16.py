"""Normalised depth as 16-bit grayscale PNGs, one a frame."""

import shutil
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, PngImagePlugin

from depthcrafter_cli import disk
from depthcrafter_cli.media.numbered import NUMBER, numbered_files
from depthcrafter_cli.media.sinks.base import DepthFrame, DisparitySink, SinkSettings

DEFAULT_PATTERN = "depth_%05d.png"
_THREADS = 2  # zlib releases the interpreter lock; more would starve the model
_BACKLOG = 8  # frames in memory waiting to be compressed


def png_pattern(path: Path) -> Path:
    """The pattern that an output path stands for: itself, or the default one in a folder."""
    return path if NUMBER.search(path.name) else path / DEFAULT_PATTERN


def images_place(pattern: Path, *, inside: bool) -> Path:
    """A name for all images of a pattern, in their folder or beside it.

    It is the same however many digits the numbers have: one pattern would take the images of the
    other for its own.
    """
    name = NUMBER.sub("%05d", pattern.name)
    folder = pattern.parent
    if inside:
        return folder / name
    named = folder if folder.name.strip(".") else folder.resolve()  # . and .. have no name
    return named.with_name(f"{named.name}.{name}")


class PngSink(DisparitySink):
    """A folder, or a pattern such as ``out/depth_%05d.png``; 65535 is nearest.

    Files collect in a hidden folder on the same disk and move when all are complete.
    Each carries its time and the raw disparities of 0 and 65535 as PNG text.
    """

    bytes_per_pixel = 1.5  # measured: 1.0 to 1.5

    def __init__(self, path: Path, settings: SinkSettings) -> None:
        super().__init__(path, settings)
        self._pattern = png_pattern(path)
        self._folder_is_new = not self._pattern.parent.is_dir()

    def _open(self) -> None:
        # Left by a run that was killed before somebody else made the folder.
        disk.remove(disk.part_path(images_place(self._pattern, inside=False)))
        part = disk.new_part(images_place(self._pattern, inside=not self._folder_is_new))
        part.mkdir()
        self._part = part
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="png")
        self._pending: deque[Future[None]] = deque()

    def _write(self, frame: DepthFrame) -> None:
        levels = np.rint(frame.normalized * np.float32(65535)).astype(np.uint16)
        text = PngImagePlugin.PngInfo()
        text.add_text("time", str(frame.time))
        text.add_text("disparity_low", repr(self.settings.value_range.low))
        text.add_text("disparity_high", repr(self.settings.value_range.high))
        number = frame.number
        name = NUMBER.sub(lambda place: place.group() % number, self._pattern.name)
        target = self._part / name
        self._pending.append(self._pool.submit(_save, levels, target, text))
        while len(self._pending) > _BACKLOG:
            self._pending.popleft().result()

    def _finish(self) -> None:
        while self._pending:
            self._pending.popleft().result()
        self._pool.shutdown()
        disk.sync(self._part)
        folder, published = self._pattern.parent, self.settings.published
        moves = {part: folder / part.name for part in sorted(self._part.iterdir())}
        published.note(moves)
        if self._folder_is_new and not folder.exists():
            disk.replace(self._part, folder)
            disk.sync(folder.parent)
            return
        before = numbered_files(self._pattern)
        published.require_replaceable(before)
        for part, picture in moves.items():
            published.require_replaceable([picture])
            disk.replace(part, picture)
        disk.sync(folder)
        for there in set(before) - set(moves.values()):
            there.unlink()
        self._part.rmdir()

    def abort(self) -> None:
        if not hasattr(self, "_part"):
            return
        if hasattr(self, "_pool"):
            self._pool.shutdown(cancel_futures=True)
        shutil.rmtree(self._part, ignore_errors=True)


def _save(levels: npt.NDArray[np.uint16], target: Path, text: PngImagePlugin.PngInfo) -> None:
    Image.fromarray(levels).save(target, format="PNG", compress_level=1, pnginfo=text)
    disk.sync(target)
