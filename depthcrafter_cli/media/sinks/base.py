"""What every output format has in common: all of it appears at the end, or none of it."""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from depthcrafter_cli.depth.align import Seams
from depthcrafter_cli.disk import NewFile, derived, new_part
from depthcrafter_cli.media.files import output_errors
from depthcrafter_cli.media.look import Look
from depthcrafter_cli.media.published import Published
from depthcrafter_cli.media.sound import Sound
from depthcrafter_cli.types import Disparity, RgbImage, Size, ValueRange

SHAPE = frozenset({"size", "square", "upsample"})
"""The options that decide on the pixels of depth."""

RANGE = frozenset({"normalization", "range_of", "invert"})
"""Those that decide on what becomes 0 and 1."""


@dataclass(frozen=True)
class ShotRange:
    """A shot of a film on its way out, and the raw disparities that became 0 and 1 in it.

    ``index`` counts shots and ``start`` is its first frame, both from 0; ``time`` is when that is
    shown, ``end`` when the last one ends, in seconds, None where only the rate tells it. ``seams``
    is what was aligned in it, None for nothing.
    """

    index: int
    start: int
    frames: int
    time: Fraction
    values: ValueRange
    end: Fraction | None = None
    seams: Seams | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values, as records have them."""
        return {
            "first_frame": self.start,
            "frames": self.frames,
            "time": float(self.time),
            "value_range": [self.values.low, self.values.high],
        }


@dataclass(frozen=True)
class DepthFrame:
    """One frame on its way out, everything at the output's size.

    ``number`` is its own where each frame is a file.
    ``disparity`` is raw (affine-invariant) float32 [H, W], ``normalized`` the same mapped to
    [0, 1], ``rgb`` the source picture uint8 [H, W, 3] where a sink needs it, ``shot`` what it
    belongs to where a film has several, ``metres`` the depth where that is asked for.
    """

    number: int
    time: Fraction
    disparity: Disparity
    normalized: Disparity
    rgb: RgbImage | None = None
    shot: ShotRange | None = None
    metres: Disparity | None = None

    @property
    def values(self) -> Disparity:
        """What formats of floats hold: raw disparity, or metres where these are asked for."""
        return self.disparity if self.metres is None else self.metres

    @property
    def levels(self) -> npt.NDArray[np.uint16]:
        """What formats of 16 bits hold: 65535 for 1, or millimetres, which are 0 if too many."""
        levels: npt.NDArray[np.uint16]
        if self.metres is None:
            levels = np.rint(self.normalized * np.float32(65535)).astype(np.uint16)
            return levels
        millimetres = np.rint(self.metres * np.float32(1000))
        levels = np.zeros(millimetres.shape, np.uint16)
        np.copyto(levels, millimetres, casting="unsafe", where=millimetres <= 65535)
        return levels


def _unlabelled(_values: ValueRange) -> Mapping[str, str]:
    return {}


@dataclass(frozen=True)
class SinkSettings:
    """What a sink is told before the first frame.

    ``rate`` is frames per second, ``time_base`` the unit in seconds of which all frame times
    are multiples, ``end`` when the last frame ends (None: as the rate has it),
    ``value_range`` the raw disparities that became 0 and 1, the extremes of all ``shots`` where a
    film has several, ``pixel_aspect`` a pixel's width to its height, ``metadata`` plain values for
    the formats that can carry them. ``own_ranges`` says that each shot has a range of its own.
    ``sound``, the ``timecode`` of the first frame, and the ``offset``, how many seconds nothing is
    shown before it, are for videos; ``labels_of`` gives more texts for pictures of a range. Without
    ``dither`` depth is cut off to 8 bits, as the reference does.

    Where shots are written as they finish, ``kept`` names for each a file in the run's state for
    the output's part of it, in which formats that :attr:`DisparitySink.keeps_shots` may let it wait
    for the others; ``shots`` and ``value_range`` are then not known yet.
    """

    size: Size
    frame_count: int
    rate: Fraction
    time_base: Fraction
    value_range: ValueRange | None
    end: Fraction | None = None
    pixel_aspect: Fraction = Fraction(1)
    look: Look = field(default_factory=Look)
    shots: Sequence[ShotRange] = ()
    own_ranges: bool = False
    kept: Sequence[Path] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    published: Published = field(default_factory=Published)
    sound: Sound | None = None
    timecode: str = ""
    offset: Fraction = Fraction(0)
    labels_of: Callable[[ValueRange], Mapping[str, str]] = _unlabelled
    dither: bool = True

    @property
    def whole_range(self) -> ValueRange:
        """The raw disparities that became 0 and 1, in formats that are told before they begin."""
        assert self.value_range is not None
        return self.value_range


class DisparitySink(ABC):
    """Writes one output; a context manager that completes it, or removes it on any exception.

    All methods raise OutputError for what the operating system refuses. ``bytes_per_pixel`` is
    about what a frame takes on the disk, rather too much than too little. What a format makes of a
    path is asked of its class, before there is anything to write.
    """

    bytes_per_pixel: ClassVar[float]

    held_per_pixel: ClassVar[float] = 0.0
    """Bytes of memory for each pixel of a picture, of frames that were added and not written."""

    options: ClassVar[frozenset[str]] = SHAPE | RANGE | {"metric"}
    """The options of how results look that decide on what is written, as fields of a request."""

    @classmethod
    @abstractmethod
    def path_for(cls, stem: Path, suffix: str) -> Path:
        """Where the result ``stem`` goes; a name that is too long for the disk is shortened."""

    @classmethod
    @abstractmethod
    def places(cls, out: Path) -> list[Path]:
        """What to claim of an output: the same for all spellings, whichever links lead there."""

    @classmethod
    @abstractmethod
    def existing(cls, out: Path) -> list[Path]:
        """The files that are there under an output's name or pattern."""

    @classmethod
    @abstractmethod
    def folder_of(cls, out: Path) -> Path:
        """The folder that must be there, or be made, for an output."""

    @classmethod  # noqa: B027 - most formats take all names
    def check(cls, out: Path) -> None:
        """Raises UsageError for a name that no output of this format has.

        OutputError where this machine cannot write the format.
        """

    @classmethod  # noqa: B027 - most formats take all looks
    def check_look(cls, out: Path, look: Look) -> None:
        """Raises UsageError for a look that an output cannot have.

        OutputError where this machine cannot write it.
        """

    @classmethod
    def reads(cls, out: Path, look: Look) -> frozenset[str]:
        """Those of the :attr:`options` that decide on an output of this look."""
        return cls.options

    @classmethod
    def picture_size(cls, out: Path, size: Size, look: Look) -> Size:
        """The size of the pictures in an output of depth at ``size``."""
        return size

    @classmethod  # noqa: B027 - most formats take all sizes
    def check_size(cls, out: Path, size: Size, look: Look) -> None:
        """Raises OutputError for depth of a size that the format cannot have."""

    @classmethod
    def frame_bytes(cls, out: Path, size: Size, look: Look) -> float:
        """About what a frame of depth at ``size`` takes on the disk, rather too much."""
        return cls.bytes_per_pixel * size.height * size.width

    def __init__(self, path: Path, settings: SinkSettings) -> None:
        self.path = path
        self.settings = settings
        self._written = 0
        """Frames that are in the output, those of before a stop too."""

    keeps_shots: ClassVar[bool] = False
    """Whether shots that were written outlast a stop, where the settings have files ``kept``."""

    carries_more: ClassVar[bool] = False
    """Whether it can hold the video's sound or timecode."""

    waits: ClassVar[bool] = False
    """Whether it is put together at the end, of parts in the run's state."""

    any_size: ClassVar[bool] = False
    """Whether it takes the source's pictures at their own size."""

    @property
    def needs_rgb(self) -> bool:
        """Whether :meth:`write` needs the source picture."""
        return False

    def range_of(self, frame: DepthFrame) -> ValueRange:
        """The raw disparities that are 0 and 1 in a frame."""
        return self.settings.whole_range if frame.shot is None else frame.shot.values

    def holds(self, shot: ShotRange, numbers: Sequence[int]) -> bool:
        """Whether all of a shot, whose frames have these numbers, is kept from before a stop."""
        return True

    def go_on(self, frames: int) -> None:
        """Take so many frames of before a stop for written; :meth:`holds` says so of each shot."""
        self._written = frames

    def __enter__(self) -> "DisparitySink":
        try:
            with output_errors(self.path):
                self._open()
        except BaseException:
            self.abort()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        else:
            self.abort()

    def write(self, frame: DepthFrame) -> None:
        """Add the next frame."""
        with output_errors(self.path):
            self._write(frame)
        self._written += 1

    def end_shot(self) -> None:
        """All frames of a shot were added; where they are kept, they are when this returns."""
        with output_errors(self.path):
            self._end_shot()

    def close(self) -> None:
        """Completes the output and gives it its final name."""
        try:
            if self._written != self.settings.frame_count:
                raise ValueError(f"got {self._written} of {self.settings.frame_count} frames")
            with output_errors(self.path):
                self._finish()
        except BaseException:
            self.abort()
            raise

    def _end_shot(self) -> None:  # noqa: B027 - most formats know no shots
        """Do what the format does between shots."""

    @classmethod  # noqa: B027 - most formats keep nothing there
    def forget(cls, out: Path) -> None:
        """Remove what a run that stopped kept beside an output."""

    @abstractmethod
    def abort(self) -> None:
        """Removes what was written, as far as the disk lets it; never raises OSError.

        What is kept of whole shots stays.
        """

    @abstractmethod
    def _open(self) -> None: ...

    @abstractmethod
    def _write(self, frame: DepthFrame) -> None: ...

    @abstractmethod
    def _finish(self) -> None: ...


class FileSink(DisparitySink):
    """A sink of one file, which grows beside its final place under a hidden name."""

    @classmethod
    def path_for(cls, stem: Path, suffix: str) -> Path:
        return derived(stem, suffix)

    @classmethod
    def places(cls, out: Path) -> list[Path]:
        return [out.parent.resolve() / out.name]

    @classmethod
    def existing(cls, out: Path) -> list[Path]:
        return [out] if os.path.lexists(out) else []

    @classmethod
    def folder_of(cls, out: Path) -> Path:
        return out.parent

    def _open(self) -> None:
        self._part = new_part(self.path)
        self._file = NewFile(self._part)
        self._begin()

    def _finish(self) -> None:
        self._end()
        self._file.close()
        self.settings.published.publish(self._part, self.path)

    def abort(self) -> None:
        if not hasattr(self, "_file"):
            return
        with suppress(OSError, ValueError):  # buffers that can no longer be flushed
            self._release()
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            self._part.unlink(missing_ok=True)

    @abstractmethod
    def _begin(self) -> None:
        """Starts the format in the open ``self._file``."""

    @abstractmethod
    def _end(self) -> None:
        """Write what completes the format after the last frame."""

    @abstractmethod
    def _release(self) -> None:
        """Gives up the format's own resources, complete or not."""
