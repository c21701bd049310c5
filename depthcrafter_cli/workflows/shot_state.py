"""The state of one shot: its pass between two steps, and what is decoded of it.

``window.safetensors`` is the pass, ``disparity.spool`` the disparity. The one is replaced in one
step, the other only appended to, and each says by checksums whether it is whole and of this shot.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from depthcrafter_cli.disk import make_folder, part_path
from depthcrafter_cli.media.files import output_errors, read_errors, write_whole
from depthcrafter_cli.media.spool import DisparitySpool
from depthcrafter_cli.methods.base import ResumePoint
from depthcrafter_cli.structured import parse_object, plain, typed

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class _SavedPass:
    """What the window file says beside its tensors: see :class:`ResumePoint`.

    ``times`` are those of all frames from ``decoded`` on that were read, ``end`` is when the last
    one ends, None where that is not known.
    """

    decoded: int
    waiting: int
    last: bool
    counts: dict[str, int]
    times: tuple[Fraction, ...]
    end: Fraction | None


class ShotState:
    """The files of one shot's state in ``folder``; ``key``, in hexadecimal, ties them to it."""

    def __init__(self, folder: Path, key: str, *, read_only: bool = False) -> None:
        self.folder, self._key = folder, key
        self._window, path = folder / "window.safetensors", folder / "disparity.spool"
        self.spool = DisparitySpool(path, key=int(key[:8], 16), read_only=read_only)

    @property
    def progressed(self) -> bool:
        """Whether there is anything to go on from."""
        return self._window.is_file()

    @property
    def complete(self) -> bool:
        """Whether all of the shot is computed. Raises OutputError where that cannot be read."""
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

        tensors = {name: part.contiguous().cpu() for name, part in point.tensors.items()}
        state = _SavedPass(
            point.decoded, point.waiting, point.last, dict(point.counts), tuple(times), end
        )
        told = json.dumps(plain(state))
        metadata = {"state": told, "sha256": _window_checksum(self._key, told, tensors)}
        write_whole(self._window, save(tensors, metadata=metadata))

    def load(self) -> tuple[ResumePoint, list[Fraction]] | None:
        """What was saved last, for the frames that are in the spool, which is or was open.

        None if it does not fit them, is damaged or is another shot's. Raises OutputError where it
        cannot be read.
        """
        kept = self._pass()
        if kept is None:
            return None
        (state, tensors), decoded = kept, len(self.spool)
        waiting = state.decoded + state.waiting - decoded
        if not 0 <= waiting <= state.waiting:
            return None
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

    def end(self) -> Fraction | None:
        """When the last picture of a complete shot ends, in seconds from the video's first one."""
        kept = self._pass()
        return None if kept is None else kept[0].end

    def discard(self) -> None:
        """Remove what is there, and the folder unless it holds anything else."""
        files = (self._window, self.spool.path)
        with output_errors(self.folder):
            for file in (*files, *map(part_path, files)):
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
