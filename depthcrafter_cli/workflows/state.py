"""The state of a run in its folder, so that a killed one can go on and a kept one be reused.

``job.json`` says what was asked and what makes the disparity, ``published.jsonl`` which outputs
have their final names. The state of a shot (:mod:`.shot_state`) is in ``shots/0000`` and so on, or,
of a video that is one shot, here. Each file is replaced in one step or only appended to, and says
by a checksum whether it is whole and of this run.
"""

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from depthcrafter_cli.disk import make_folder, part_path
from depthcrafter_cli.errors import OutputError, UsageError
from depthcrafter_cli.media.files import output_errors, read_errors, write_whole
from depthcrafter_cli.media.published import Published
from depthcrafter_cli.media.selection import ReadOptions
from depthcrafter_cli.models.registry import MODELS
from depthcrafter_cli.shots.shot import FilmTimes
from depthcrafter_cli.structured import content_errors, json_object, plain, typed
from depthcrafter_cli.types import MemoryPlan
from depthcrafter_cli.workflows.provenance import Provenance
from depthcrafter_cli.workflows.request import RunRequest
from depthcrafter_cli.workflows.shot_state import ShotState

_FORMAT = 4
_EARLIER_FILES = ("delivering", "job.partial.json", "window.partial.safetensors")  # of format 1


@dataclass(frozen=True)
class SavedRun:
    """What ``job.json`` says: the run as it was asked for last, and what makes its disparity.

    ``stride`` picks every n-th frame where the reference reads at another rate. ``frames`` is how
    many there are, exactly; None where they were not counted. ``times`` are those of a film.
    """

    request: RunRequest
    provenance: Provenance
    memory_plan: MemoryPlan | None
    stride: int | None
    frames: int | None = None
    times: FilmTimes | None = None

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
            "frames": self.frames,
            "times": plain(self.times),
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
            typed(int | None, values.get("frames"), "frames"),
            typed(FilmTimes | None, values.get("times"), "times"),
        )


class RunState:
    """The files in which one run keeps its state."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._job, self._journal = path / "job.json", path / "published.jsonl"
        self._shots = path / "shots"
        self._known_key = ""

    @property
    def in_use(self) -> bool:
        """Whether a run began here and was not finished, or was kept. Raises OutputError."""
        with output_errors(self.path):
            return self._job.is_file()

    @property
    def progressed(self) -> bool:
        """Whether there is anything to go on from."""
        return any(shot.progressed for shot in self._present())

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

    @property
    def input_path(self) -> Path:
        """Where a run keeps its video if that came by standard input."""
        return self.path / "input"

    def make_folder(self) -> None:
        """Raises OutputError, also for a folder that holds more than the run's input."""
        with output_errors(self.path):
            make_folder(self.path)
            others = [file for file in self.path.iterdir() if file != self.input_path]
        if others:
            raise OutputError(
                f"{self.path} holds other files, expected a folder for the state of this run "
                "alone: choose another `work_dir`."
            )

    def begin(self, run: SavedRun) -> None:
        """A folder for a new run, empty but for its input.

        Raises OutputError, also for a folder of other things.
        """
        self.discard(keep_input=run.request.video == self.input_path)
        self.make_folder()
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
            if job.get("format") != _FORMAT and noted in (None, _checksum(job)):
                raise UsageError(
                    f"{self.path} is of another version of depthcrafter, expected format "
                    f"{_FORMAT}: finish it with that version, or start again with `overwrite=True`."
                )
            if noted != _checksum(job):
                raise ValueError("it does not match its checksum")
            run = SavedRun.from_json(job, self.path)
            self._known_key = typed(str, job["key"], "key")
        return run

    def shots(self, *, read_only: bool = False) -> list[ShotState]:
        """The state of each shot, in order. Raises as :meth:`saved`."""
        count = 1 + len(self.saved().provenance.cuts)
        if count == 1:
            return [ShotState(self.path, self._key, read_only=read_only)]
        keys = (hashlib.sha256(f"{self._key} {at}".encode()).hexdigest() for at in range(count))
        return [
            ShotState(self._shots / f"{at:04}", key, read_only=read_only)
            for at, key in enumerate(keys)
        ]

    def _present(self) -> list[ShotState]:
        """What is there of shots, whosever they are."""
        folders = sorted(self._shots.iterdir()) if self._shots.is_dir() else []
        return [ShotState(folder, "0") for folder in (self.path, *folders)]

    def published(self, *, overwrite: bool) -> Published:
        """What the run gave final names so far, where it notes what it gives more."""
        return Published(self._journal, overwrite=overwrite)

    def keep(self) -> None:
        """The run is finished, and its state stays for other outputs."""
        with output_errors(self._journal):
            self._journal.unlink(missing_ok=True)

    def discard(self, *, keep_input: bool = False) -> None:
        """Remove the run; its job first, so that what is left of it is not taken for a run.

        A folder that holds anything else stays.
        """
        files = (self._job, self._journal, *([] if keep_input else [self.input_path]))
        earlier = (self.path / name for name in _EARLIER_FILES)
        with output_errors(self.path):
            for file in (*files, *map(part_path, files), *earlier):
                file.unlink(missing_ok=True)
            shots = self._present()
        for shot in shots:
            shot.discard()
        for folder in (self._shots, self.path):
            with suppress(OSError):
                folder.rmdir()


def _checksum(job: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(job, sort_keys=True).encode()).hexdigest()
