"""The state of one shot: its pass between two steps, and what is decoded of it.

``window.safetensors`` is the pass, ``disparity.spool`` the disparity, ``overlaps.spool`` what its
windows say of the frames that they share. The first is replaced in one step, the others only
appended to, and each says by checksums whether it is whole and of this shot.
When all outputs have got the shot before the film's end, ``delivered.json`` takes their place: it
says what is told of the shot, and by checksums what outputs keep here until then.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from depthcrafter_cli.disk import make_folder, part_path
from depthcrafter_cli.errors import OutputError
from depthcrafter_cli.media.aligned import AlignedShot, OverlapSpool
from depthcrafter_cli.media.files import lock_path, output_errors, read_errors, write_whole
from depthcrafter_cli.media.sinks.base import ShotRange
from depthcrafter_cli.media.spool import DisparitySpool, ShotDisparity
from depthcrafter_cli.methods.base import ResumePoint
from depthcrafter_cli.models.manifest import sha256_of
from depthcrafter_cli.structured import parse_object, plain, typed

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class _SavedPass:
    """What the window file says beside its tensors: see :class:`ResumePoint`.

    ``times`` are those of all frames from ``decoded`` on that were read, ``end`` is when the last
    one ends, None where that is not known. ``overlaps`` is how many of windows were kept.
    """

    decoded: int
    waiting: int
    last: bool
    counts: dict[str, int]
    times: tuple[Fraction, ...]
    end: Fraction | None
    overlaps: int = 0


class ShotState:
    """The files of one shot's state in ``folder``; ``key``, in hexadecimal, ties them to it."""

    def __init__(self, folder: Path, key: str, *, read_only: bool = False) -> None:
        self.folder, self._key = folder, key
        self._window, path = folder / "window.safetensors", folder / "disparity.spool"
        self._delivered = folder / "delivered.json"
        number, overlaps = int(key[:8], 16), folder / "overlaps.spool"
        self.spool = DisparitySpool(path, key=number, read_only=read_only)
        self.overlaps = OverlapSpool(overlaps, key=number, read_only=read_only)
        self._told = 0  # of them, as of what was loaded or saved last

    def read_anew(self) -> "ShotState":
        """The state as another process left it."""
        return ShotState(self.folder, self._key)

    @cached_property
    def disparity(self) -> ShotDisparity:
        """What is delivered of a complete shot: its windows aligned, if overlaps were kept."""
        return AlignedShot(self.spool, self.overlaps) if len(self.overlaps) else self.spool

    @property
    def place(self) -> Path:
        """What a process claims that computes the shot, where others may compute its film too."""
        return self._window

    @property
    def progressed(self) -> bool:
        """Whether there is anything to go on from."""
        return self._window.is_file() or self._delivered.is_file()

    @property
    def complete(self) -> bool:
        """Whether all of the shot is computed. Raises OutputError where that cannot be read."""
        if self.delivered is not None:
            return True
        if not self.progressed:
            return False
        with self.spool:
            saved = self.load()
        return saved is not None and saved[0].finished

    def begin(self) -> None:
        """Make the folder. Raises OutputError."""
        with output_errors(self.folder):
            make_folder(self.folder)

    def save(self, point: ResumePoint, times: Iterable[Fraction], end: Fraction | None) -> None:
        """Keep a pass, the times of its frames from ``decoded`` on, and when the last one ends."""
        from safetensors.torch import save

        if point.overlaps:
            self.overlaps.put(self._told, point.overlaps)
            self._told += len(point.overlaps)
        tensors = {name: part.contiguous().cpu() for name, part in point.tensors.items()}
        state = _SavedPass(
            point.decoded, point.waiting, point.last, dict(point.counts), tuple(times), end,
            self._told,
        )  # fmt: skip
        told = json.dumps(plain(state))
        metadata = {"state": told, "sha256": _window_checksum(self._key, told, tensors)}
        write_whole(self._window, save(tensors, metadata=metadata))

    def load(self) -> tuple[ResumePoint, list[Fraction]] | None:
        """What was saved last, for the frames that are in the spool, which is or was open.

        None if it does not fit them, is damaged or is another shot's. Raises OutputError where it
        cannot be read.
        """
        kept, self._told = self._pass(), 0
        if kept is None:
            return None
        (state, tensors), decoded = kept, len(self.spool)
        waiting = state.decoded + state.waiting - decoded
        if not 0 <= waiting <= state.waiting or len(self.overlaps) < state.overlaps:
            return None
        self._told = state.overlaps
        point = ResumePoint(
            decoded=decoded,
            waiting=waiting,
            last=state.last,
            counts=state.counts,
            tensors=tensors,
        )
        return point, list(state.times[decoded - state.decoded :])

    def _pass(self) -> tuple[_SavedPass, dict[str, "Tensor"]] | None:
        """The pass and the tensors that were saved last; None if they are not whole.

        Their memory is their own: Windows lets no file be replaced that is mapped.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load

        if not self.progressed:
            return None
        with read_errors(self._window):
            data = self._window.read_bytes()
        try:
            tensors = load(data)
            header = parse_object(data[8 : 8 + int.from_bytes(data[:8], "little")])
            metadata = header["__metadata__"]
            if metadata["sha256"] != _window_checksum(self._key, metadata["state"], tensors):
                return None
            state = parse_object(metadata["state"])
            return typed(_SavedPass, state, "the pass"), tensors
        except (SafetensorError, ValueError, TypeError, LookupError, RuntimeError):
            return None

    def kept(self, output: int) -> Path:
        """Where an output, by its number, keeps its part of the shot."""
        return self.folder / f"output{output}.packets"

    @property
    def delivered(self) -> ShotRange | None:
        """What is told of the shot, if all outputs have got it; its disparity is gone then.

        Raises OutputError where that cannot be read.
        """
        if not self._delivered.is_file():
            return None
        with read_errors(self._delivered):
            data = self._delivered.read_bytes()
        with suppress(ValueError, LookupError, RecursionError):
            noted = parse_object(data)
            if noted["sha256"] == self._checksum(noted["shot"], noted["files"]):
                return typed(ShotRange, noted["shot"], "shot")  # type: ignore[no-any-return]
        return None

    def release(self, shot: ShotRange) -> None:
        """Note that all outputs have got the shot, and remove its disparity. Raises OutputError."""
        told = plain(shot)
        with read_errors(self.folder):
            files = {file.name: sha256_of(file) for file in sorted(self.folder.glob("*.packets"))}
        noted = {"shot": told, "files": files, "sha256": self._checksum(told, files)}
        write_whole(self._delivered, json.dumps(noted).encode())
        with output_errors(self.folder):
            for file in (self._window, self.spool.path, self.overlaps.path):
                file.unlink(missing_ok=True)

    def require_whole(self) -> None:
        """Raises OutputError, once, if what outputs keep here of the shot is damaged.

        The shot is then to be computed again.
        """
        with read_errors(self._delivered):
            files = parse_object(self._delivered.read_bytes())["files"]
            damaged = [name for name in files if sha256_of(self.folder / name) != files[name]]
        if damaged:
            self.compute_again()
            raise OutputError(
                f"{self.folder / damaged[0]} is damaged, expected what was written: check the "
                "disk, and resume the run, which computes its shot again."
            )

    def compute_again(self) -> None:
        """Forget that outputs have got the shot. Raises OutputError."""
        with output_errors(self.folder):
            self._delivered.unlink(missing_ok=True)

    def _checksum(self, shot: Mapping[str, object], files: Mapping[str, str]) -> str:
        told = json.dumps([self._key, shot, files], sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()

    def end(self) -> Fraction | None:
        """When the last picture of a complete shot ends, in seconds from the video's first one."""
        kept = self._pass()
        return None if kept is None else kept[0].end

    def discard(self) -> None:
        """Remove what is there, and the folder unless it holds anything else."""
        with output_errors(self.folder):
            kept = [*self.folder.glob("output*.packets"), *self.folder.glob(".output*.packets*")]
            files = (self._window, self.spool.path, self.overlaps.path, self._delivered, *kept)
            for file in (*files, *map(part_path, files), lock_path(self.place)):
                file.unlink(missing_ok=True)
        with suppress(OSError):
            self.folder.rmdir()


def _window_checksum(key: str, state: str, tensors: Mapping[str, "Tensor"]) -> str:
    """Over all that :meth:`ShotState.load` uses, and the shot that it belongs to."""
    digest = hashlib.sha256(f"{key} {state}".encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().numpy())
    return digest.hexdigest()
