"""Outputs of one file a frame: all of them appear together, numbered."""

import os
import shutil
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import ClassVar

from depthcrafter_cli import disk
from depthcrafter_cli.errors import UsageError
from depthcrafter_cli.media.files import lock_path
from depthcrafter_cli.media.numbered import NUMBER, numbered_files
from depthcrafter_cli.media.sinks.base import (
    DepthFrame,
    DisparitySink,
    ShotRange,
    SinkSettings,
)
from depthcrafter_cli.threads import Behind

_THREADS = 2  # compression releases the interpreter lock; more would starve the model
_BACKLOG = 8  # frames in memory waiting to be compressed
_NOTED = 1000  # files at a time: those of a film take much memory
_LONGEST_NUMBER = "_" + "0" * 9


class SequenceSink(DisparitySink):
    """A folder, or a pattern such as ``out/depth_%05d.png``: a file a frame.

    Files collect in a hidden folder on the same disk and move when all are complete. A format is a
    class with its ``suffix`` that says by :meth:`_picture` how a frame becomes a file.
    """

    suffix: ClassVar[str]
    keeps_shots = True
    options = DisparitySink.options | {"start_number"}
    # Of 16 bits each, in bytes; while one is compressed it is there thrice more.
    held_per_pixel = 2.0 * (_BACKLOG + 4 * _THREADS)

    def __init__(self, path: Path, settings: SinkSettings) -> None:
        super().__init__(path, settings)
        self._pattern = self.pattern(path)
        self._folder_is_new = not self._pattern.parent.is_dir()
        self._keeps = False  # what was written, if the run stops

    @classmethod
    def pattern(cls, out: Path) -> Path:
        """The pattern that an output path stands for: itself, or the default one in a folder."""
        return out if NUMBER.search(out.name) else out / f"depth_%05d{cls.suffix}"

    @classmethod
    def path_for(cls, stem: Path, suffix: str) -> Path:
        """Numbered files that are called like the folder of their own that they are in."""
        folder = disk.derived(stem, "")
        numbered = disk.derived(folder / folder.name, _LONGEST_NUMBER + suffix)
        return numbered.with_name(numbered.name.replace(_LONGEST_NUMBER, "_%05d"))

    @classmethod
    def places(cls, out: Path) -> list[Path]:
        """In the files' folder; while that is not there, beside it.

        Whoever comes when it is there claims the place beside it as well, if such a claim is or
        was made.
        """
        pattern = cls.pattern(out)
        real = pattern.parent.resolve() / pattern.name
        beside, there = _place(real, inside=False), real.parent.is_dir()
        inside = [_place(real, inside=True)] if there else []
        return [*inside, beside] if not there or lock_path(beside).exists() else inside

    @classmethod
    def existing(cls, out: Path) -> list[Path]:
        return numbered_files(cls.pattern(out))

    @classmethod
    def folder_of(cls, out: Path) -> Path:
        images = cls.pattern(out).parent
        return images if os.path.lexists(images) else images.parent

    @classmethod
    def check(cls, out: Path) -> None:
        if out.is_dir() or len(NUMBER.findall(out.name)) == (1 if out.suffix else 0):
            return
        kind = cls.suffix[1:].upper()
        proposed = out.with_name(f"{NUMBER.sub('', out.stem).rstrip('_')}_%05d{cls.suffix}")
        raise UsageError(
            f"Got {out} for one {kind} a frame, expected one number pattern in its name, and "
            f"{cls.suffix} after it: use {proposed}."
        )

    @abstractmethod
    def _picture(self, frame: DepthFrame) -> Callable[[Path], None]:
        """What writes a frame's file to a path: called later, in another thread."""

    @classmethod
    def _parts(cls, out: Path) -> list[Path]:
        """Where files may collect; beside their folder if it was not there when a run began."""
        pattern = cls.pattern(out)
        return [disk.part_path(_place(pattern, inside=inside)) for inside in (True, False)]

    @classmethod
    def forget(cls, out: Path) -> None:
        for part in cls._parts(out):
            disk.remove(part)

    @cached_property
    def _kept_files(self) -> frozenset[str]:
        """The names of the files that are there of before a stop; some may have final ones."""
        if not self.settings.kept:
            return frozenset()
        parts = [part for part in self._parts(self.path) if part.is_dir()]
        final = filter(self.settings.published.owns, numbered_files(self._pattern))
        return frozenset(file.name for part in parts[:1] for file in part.iterdir()).union(
            file.name for file in final
        )

    def holds(self, shot: ShotRange, numbers: Sequence[int]) -> bool:
        return all(self._name(number) in self._kept_files for number in numbers)

    def _open(self) -> None:
        inside, beside = self._parts(self.path)
        kept = [part for part in (inside, beside) if self._written and part.is_dir()]
        self._keeps = bool(kept)
        self._part = kept[0] if kept else beside if self._folder_is_new else inside
        if not kept:
            # Of another run, perhaps of one that was killed before another program made the folder.
            self.forget(self.path)
            self._part.mkdir()
        self._saving = Behind(_BACKLOG, _THREADS)

    def _write(self, frame: DepthFrame) -> None:
        save = self._picture(frame)
        self._saving.do(_save, save, self._part / self._name(frame.number))

    def _name(self, number: int) -> str:
        return NUMBER.sub(lambda place: place.group() % number, self._pattern.name)

    def _end_shot(self) -> None:
        self._saving.wait()
        disk.sync(self._part)
        self._keeps = bool(self.settings.kept)

    def _finish(self) -> None:
        self._end_shot()
        self._saving.stop()
        folder, published = self._pattern.parent, self.settings.published
        left = _names(self._part)
        while some := list(islice(left, _NOTED)):
            published.note({self._part / name: folder / name for name in some})
        if self._folder_is_new and not folder.exists():
            disk.replace(self._part, folder)
            disk.sync(folder.parent)
            return
        before, names = numbered_files(self._pattern), sorted(_names(self._part))
        published.require_replaceable(before)
        for name in names:
            published.require_replaceable([folder / name])
            disk.replace(self._part / name, folder / name)
        disk.sync(folder)
        made = self._kept_files.union(names)
        for there in before:
            if there.name not in made:
                there.unlink()
        self._part.rmdir()

    def abort(self) -> None:
        if not hasattr(self, "_part"):
            return
        if hasattr(self, "_saving"):
            self._saving.stop()
        if not self._keeps:
            shutil.rmtree(self._part, ignore_errors=True)


def _names(folder: Path) -> Iterator[str]:
    """The names of the files in a folder, in no order; few are held at a time."""
    with os.scandir(folder) as entries:
        yield from (entry.name for entry in entries)


def _save(save: Callable[[Path], None], target: Path) -> None:
    save(target)
    disk.sync(target)


def _place(pattern: Path, *, inside: bool) -> Path:
    """A name for all files of a pattern, in their folder or beside it.

    It is the same however many digits the numbers have: one pattern would take the files of the
    other for its own.
    """
    name = NUMBER.sub("%05d", pattern.name)
    folder = pattern.parent
    if inside:
        return folder / name
    named = folder if folder.name.strip(".") else folder.resolve()  # . and .. have no name
    return named.with_name(f"{named.name}.{name}")
