"""The state of a run in its folder, so that a killed one can go on and a kept one be reused.

``job.json`` says what was asked and what makes the disparity; ``window.safetensors`` is the pass
between two steps; ``disparity.spool`` holds what is decoded, ``published.jsonl`` which outputs have
their final names. Each is replaced in one step or only appended to, and says by a checksum whether
it is whole and of this run.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from depthcrafter_cli.disk import make_folder, part_path
from depthcrafter_cli.errors import OutputError, UsageError
from depthcrafter_cli.media.files import output_errors, read_errors, write_whole
from depthcrafter_cli.media.published import Published
from depthcrafter_cli.media.selection import ReadOptions
from depthcrafter_cli.media.spool import DisparitySpool
from depthcrafter_cli.methods.base import ResumePoint
from depthcrafter_cli.models.registry import MODELS
from depthcrafter_cli.structured import content_errors, json_object, parse_object, plain, typed
from depthcrafter_cli.types import MemoryPlan
from depthcrafter_cli.workflows.provenance import Provenance
from depthcrafter_cli.workflows.request import RunRequest

if TYPE_CHECKING:
    from torch import Tensor

_FORMAT = 3
_EARLIER_FILES = ("delivering", "job.partial.json", "window.partial.safetensors")  # of format 1


@dataclass(frozen=True)
class SavedRun:
    """What ``job.json`` says: the run as it was asked for last, and what makes its disparity.

    ``stride`` picks every n-th frame where the reference reads at another rate.
    """

    request: RunRequest
    provenance: Provenance
    memory_plan: MemoryPlan | None
    stride: int | None

    @property
    def reading(self) -> ReadOptions:
        """Selects the frames that the disparity is of."""
        reading = self.request.selection
        return reading if self.stride is None else replace(reading, fps=None, stride=self.stride)

    def to_json(self) -> dict[str, Any]:
        """Return the run as plain JSON values."""
        request = self.request
        return {
            "format": _FORMAT,
            "request": request.to_json(),
            "provenance": self.provenance.to_json(),
            "memory_plan": plain(self.memory_plan),
            "limits": [request.max_vram, request.max_ram],
            "keep_work": request.keep_work,
            "overwrite": request.overwrite,
            "stride": self.stride,
        }

    @staticmethod
    def from_json(values: Mapping[str, Any], work_dir: Path) -> "SavedRun":
        """The run that :meth:`to_json` was called on, in its folder.

        Raises LookupError or ValueError for what is none, and UsageError for values that no request
        takes any more.
        """
        max_vram, max_ram = values["limits"]
        request = replace(
            RunRequest.from_json(values["request"]),
            work_dir=work_dir,
            keep_work=typed(bool, values["keep_work"], "keep_work"),
            overwrite=typed(bool, values["overwrite"], "overwrite"),
            max_vram=typed(float | None, max_vram, "limits[0]"),
            max_ram=typed(float | None, max_ram, "limits[1]"),
        )
        provenance = Provenance.from_json(values["provenance"])
        if request.weights is None and provenance.model in MODELS:
            # The best ones may be others by now.
            request = replace(request, weights=provenance.model)
        return SavedRun(
            request,
            provenance,
            typed(MemoryPlan | None, values["memory_plan"], "memory_plan"),
            typed(int | None, values["stride"], "stride"),
        )


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


class RunState:
    """The files in which one run keeps its state."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.spool_path = path / "disparity.spool"
        self._job, self._window = path / "job.json", path / "window.safetensors"
        self._journal = path / "published.jsonl"
        self._known_key = ""

    @property
    def in_use(self) -> bool:
        """Whether a run began here and was not finished, or was kept. Raises OutputError."""
        with output_errors(self.path):
            return self._job.is_file()

    @property
    def progressed(self) -> bool:
        """Whether there is anything to go on from."""
        return self._window.is_file()

    @property
    def delivering(self) -> bool:
        """Whether the run had begun to give outputs their final names."""
        return self._journal.exists()

    @property
    def _key(self) -> str:
        """What ties the other files to the run. Raises as :meth:`saved`."""
        if not self._known_key:
            self.saved()
        return self._known_key

    def begin(self, run: SavedRun) -> None:
        """An empty folder for a new run. Raises OutputError, also for a folder of other things."""
        self.discard()
        if self.path.exists():
            raise OutputError(
                f"{self.path} holds other files, expected a folder for the state of this run "
                "alone: choose another `work_dir`."
            )
        with output_errors(self.path):
            make_folder(self.path)
        self._known_key = _checksum(run.to_json())
        self._note(run)

    def update(self, run: SavedRun) -> None:
        """Note what the run that is here is asked for now. Raises as :meth:`saved`."""
        if run.to_json() != self.saved().to_json():
            self._note(run)

    def _note(self, run: SavedRun) -> None:
        job = {**run.to_json(), "key": self._key}
        whole = {**job, "sha256": _checksum(job)}
        write_whole(self._job, json.dumps(whole, indent=2).encode())

    def saved(self) -> SavedRun:
        """The run that is here.

        Raises:
            UsageError: the folder is no run's, or of another version, or its job is damaged.
            OutputError: the job cannot be read.
        """
        if not self.in_use:
            raise UsageError(
                f"{self.path} holds no unfinished or kept run, expected a folder such as "
                "depth.mp4.work: check the path."
            )
        expected = (
            "expected what the run wrote: check the disk, and start again with `overwrite=True`"
        )
        with content_errors(self._job, UsageError, expected):
            with read_errors(self._job):
                job = json_object(self._job)
            noted = job.pop("sha256", None)
            if job.get("format") not in (2, _FORMAT) and noted in (None, _checksum(job)):
                raise UsageError(
                    f"{self.path} is of another version of depthcrafter, expected format "
                    f"{_FORMAT}: finish it with that version, or start again with `overwrite=True`."
                )
            if noted != _checksum(job):
                raise ValueError("it does not match its checksum")
            if job["format"] == 2:  # in which the other files are tied to the checksum
                job = {**job, "provenance": job["facts"], "key": noted}
            run = SavedRun.from_json(job, self.path)
            self._known_key = typed(str, job["key"], "key")
        return run

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

    def load(self, decoded: int) -> tuple[ResumePoint, list[Fraction]] | None:
        """What was saved last, with ``decoded`` frames in the spool.

        None if it does not fit them, is damaged or is another run's. Raises OutputError where it
        cannot be read.
        """
        kept = self._pass()
        if kept is None:
            return None
        state, tensors = kept
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
            if "counts" not in state:  # of 0.1
                counts = {name: state.pop(name) for name in ("windows", "steps")}
                state |= {"counts": counts, "waiting": len(tensors["latents"])}
            return typed(_SavedPass, state, "the pass"), tensors
        except (SafetensorError, ValueError, TypeError, LookupError, RuntimeError):
            return None

    def end(self) -> Fraction | None:
        """When the last picture of a complete run ends, in seconds from the first one."""
        kept = self._pass()
        return None if kept is None else kept[0].end

    def spool(self, *, read_only: bool = False) -> DisparitySpool:
        """The disparity that is decoded so far. Raises as :meth:`saved`."""
        key = int(self._key[:8], 16)
        return DisparitySpool(self.spool_path, key=key, read_only=read_only)

    def complete(self, decoded: int) -> bool:
        """Whether ``decoded`` frames in the spool are all that the run was to compute."""
        saved = self.load(decoded)
        return saved is not None and saved[0].finished

    def published(self, *, overwrite: bool) -> Published:
        """What the run gave final names so far, where it notes what it gives more."""
        return Published(self._journal, overwrite=overwrite)

    def keep(self) -> None:
        """The run is finished, and its state stays for other outputs."""
        with output_errors(self._journal):
            self._journal.unlink(missing_ok=True)

    def discard(self) -> None:
        """Remove the run; its job first, so that what is left of it is not taken for a run.

        A folder that holds anything else stays.
        """
        files = (self._job, self._window, self.spool_path, self._journal)
        earlier = (self.path / name for name in _EARLIER_FILES)
        with output_errors(self.path):
            for file in (*files, *map(part_path, files), *earlier):
                file.unlink(missing_ok=True)
        with suppress(OSError):
            self.path.rmdir()


def _checksum(job: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(job, sort_keys=True).encode()).hexdigest()


def _window_checksum(key: str, state: str, tensors: Mapping[str, "Tensor"]) -> str:
    """Over all that :meth:`RunState.load` uses, and the run that it belongs to."""
    digest = hashlib.sha256(f"{key} {state}".encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().numpy())
    return digest.hexdigest()
