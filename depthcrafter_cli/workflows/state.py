"""The folder a run keeps its state in, so that a killed one can go on and a kept one be reused.

``job.json`` says what was asked of what; ``window.safetensors`` is the pass between two steps;
``disparity.spool`` holds what is decoded, ``published.jsonl`` which outputs have their final names.
Each is replaced in one step or only appended to, and says by a checksum whether it is whole and of
this run.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from depthcrafter_cli.disk import make_folder, part_path
from depthcrafter_cli.errors import OutputError, UsageError
from depthcrafter_cli.media.files import output_errors, read_errors, write_whole
from depthcrafter_cli.media.published import Published
from depthcrafter_cli.media.spool import DisparitySpool
from depthcrafter_cli.models.variants import VARIANTS
from depthcrafter_cli.shell import quoted
from depthcrafter_cli.structured import content_errors, json_object, parse_object
from depthcrafter_cli.types import MemoryPlan, Size
from depthcrafter_cli.workflows.deliver import Delivery
from depthcrafter_cli.workflows.record import changed_input
from depthcrafter_cli.workflows.request import RunRequest

if TYPE_CHECKING:
    from torch import Tensor

    from depthcrafter_cli.pipeline.checkpoint import Checkpoint
    from depthcrafter_cli.workflows.run_plan import RunPlan

_FORMAT = 2
_EARLIER_FILES = ("delivering", "job.partial.json", "window.partial.safetensors")  # of format 1


class RunState:
    """The state of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.spool_path = path / "disparity.spool"
        self._job, self._window = path / "job.json", path / "window.safetensors"
        self._journal = path / "published.jsonl"
        self._checksum = ""

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
    def checksum(self) -> str:
        """That of the job, which ties the other files to it. Raises as :meth:`job`."""
        if not self._checksum:
            self.job()
        return self._checksum

    def begin(self, plan: "RunPlan") -> None:
        """An empty folder for a new run. Raises OutputError, also for a folder of other things."""
        self.discard()
        if self.path.exists():
            raise OutputError(
                f"{self.path} holds other files, expected a folder for the state of this run "
                "alone: choose another --work-dir."
            )
        with output_errors(self.path):
            make_folder(self.path)
        request = plan.request
        job = {
            "format": _FORMAT,
            "request": request.to_json(),
            "facts": plan.facts,
            "memory_plan": asdict(plan.memory.plan),
            "limits": [request.max_vram, request.max_ram],
            "keep_work": request.keep_work,
            "overwrite": request.overwrite,
            "stride": plan.reading.stride,
            "source_size": [plan.info.size.height, plan.info.size.width],
            "model_size": [plan.model_size.height, plan.model_size.width],
        }
        self._checksum = _checksum(job)
        write_whole(self._job, json.dumps({**job, "sha256": self._checksum}, indent=2).encode())

    def job(self) -> dict[str, Any]:
        """What :meth:`begin` wrote.

        Raises:
            UsageError: the folder is no run's, or of another version, or its job is damaged.
            OutputError: the job cannot be read.
        """
        if not self.in_use:
            raise UsageError(
                f"{self.path} holds no unfinished or kept run, expected a folder such as "
                "depth.mp4.work: check the path."
            )
        expected = "expected what the run wrote: check the disk, and start again with --overwrite"
        with content_errors(self._job, UsageError, expected):
            with read_errors(self._job):
                job = json_object(self._job)
            noted = job.pop("sha256", None)
            if job.get("format") != _FORMAT and noted in (None, _checksum(job)):
                raise UsageError(
                    f"{self.path} is of another version of depthcrafter, expected format "
                    f"{_FORMAT}: finish it with that version, or start again with --overwrite."
                )
            if noted != _checksum(job):
                raise ValueError("it does not match its checksum")
        self._checksum = noted
        return job

    def request(self) -> RunRequest:
        """What was asked of the run that is here. Raises UsageError."""
        job = self.job()
        max_vram, max_ram = job["limits"]
        request, model = RunRequest.from_json(job["request"]), job["facts"]["model"]
        if request.weights is None and model in VARIANTS:
            request = replace(request, weights=model)  # the best ones may be others by now
        return replace(
            request,
            work_dir=self.path,
            keep_work=job["keep_work"],
            overwrite=job["overwrite"],
            max_vram=max_vram,
            max_ram=max_ram,
        )

    def settings(self) -> dict[str, Any]:
        """Those of the pipeline that the run here began with. Raises UsageError."""
        return dict(self.job()["facts"]["settings"])

    def adopt(self, plan: "RunPlan") -> "RunPlan":
        """The plan with what the run that is here had settled, if it is the same run.

        Raises:
            InputError: its input has changed.
            UsageError: it was asked for, or made, differently.
        """
        job = self.job()
        self._require_same(plan, job)
        memory, limits = plan.memory, [plan.request.max_vram, plan.request.max_ram]
        if limits == job["limits"]:
            memory = replace(memory, plan=MemoryPlan(**job["memory_plan"]))
        return replace(plan, memory=memory, facts=job["facts"], resumed=True)

    def _require_same(self, plan: "RunPlan", job: Mapping[str, Any]) -> None:
        if plan.facts["input"] != job["facts"]["input"]:
            raise changed_input(plan.request.source)
        differing = [
            f"--{name.replace('_', '-')} ({_told(now)} now, {_told(then)} then)"
            for name, (now, then) in plan.request.differences(job["request"]).items()
        ]
        made = ("program", "model", "device", "dtype")
        differing += [
            f"{name} ({plan.facts[name]} now, {job['facts'][name]} then)"
            for name in made
            if plan.facts[name] != job["facts"][name]
        ]
        if plan.facts["weights_sha256"] != job["facts"]["weights_sha256"]:
            differing.append("the contents of the weights")
        if differing:
            resume = f"use `depthcrafter resume {quoted(self.path)}`"
            remedy = "restore it" if plan.request.resume_only else resume
            raise UsageError(
                f"{self.path} is a run that differs in {', '.join(differing)}, expected the same "
                f"run to go on with: {remedy}, or run it with --overwrite to start again."
            )

    def save(
        self, checkpoint: "Checkpoint", times: Iterable[Fraction], end: Fraction | None
    ) -> None:
        """Keep a pass, the times of its frames from ``decoded`` on, and when the last one ends."""
        from safetensors.torch import save

        tensors = {
            name: part.contiguous().cpu()
            for name in ("latents", "overlap", "under_way")
            if (part := getattr(checkpoint, name)) is not None
        }
        state = {
            "windows": checkpoint.windows,
            "decoded": checkpoint.decoded,
            "last": checkpoint.last,
            "steps": checkpoint.steps,
            "times": [str(time) for time in times],
            "end": None if end is None else str(end),
        }
        told = json.dumps(state)
        metadata = {"state": told, "sha256": _window_checksum(self.checksum, told, tensors)}
        write_whole(self._window, save(tensors, metadata=metadata))

    def load(self, decoded: int) -> tuple["Checkpoint", list[Fraction]] | None:
        """What was saved last, with ``decoded`` frames in the spool.

        None if it does not fit them, is damaged or is another run's. Raises OutputError where it
        cannot be read.
        """
        from depthcrafter_cli.pipeline.checkpoint import Checkpoint

        state, tensors = self._saved() or ({}, {})
        if not state:
            return None
        del state["end"]
        times = [Fraction(time) for time in state.pop("times")]
        saved = Checkpoint(**{"overlap": None, **state, **tensors})
        if not saved.decoded <= decoded <= saved.next_frame:
            return None
        return saved.after(decoded), times[decoded - saved.decoded :]

    def _saved(self) -> tuple[dict[str, Any], dict[str, "Tensor"]] | None:
        """The state and the tensors that were saved last; None if they are not whole.

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
            if metadata["sha256"] != _window_checksum(self.checksum, metadata["state"], tensors):
                return None
        except (SafetensorError, ValueError, TypeError, LookupError, RuntimeError):
            return None
        return parse_object(metadata["state"]), tensors

    def end(self) -> Fraction | None:
        """When the last picture of a complete run ends, in seconds from the first one."""
        state, _tensors = self._saved() or ({}, {})
        end = state.get("end")
        return None if end is None else Fraction(end)

    def spool(self, *, read_only: bool = False) -> DisparitySpool:
        """The disparity that is decoded so far. Raises as :meth:`job`."""
        key = int(self.checksum[:8], 16)
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

    def delivery(self, request: RunRequest) -> Delivery:
        """How ``request`` would have the disparity that is here delivered. Raises UsageError."""
        from depthcrafter_cli.media.resize import output_size

        job = self.job()
        reading = request.selection
        if job["stride"] is not None:
            reading = replace(reading, fps=None, stride=job["stride"])
        source, model = Size(*job["source_size"]), Size(*job["model_size"])
        as_made = request.reference and request.size == "source"
        size = model if as_made else output_size(request.size, source, model)
        facts = job["facts"]
        return Delivery(request, reading, Fraction(facts["rate"]), size, facts)

    def discard(self) -> None:
        """Remove the run; its job first, so that what is left of it is nobody's run.

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


def _window_checksum(job: str, state: str, tensors: Mapping[str, "Tensor"]) -> str:
    """Over all that :meth:`RunState.load` uses, and the job that it belongs to."""
    digest = hashlib.sha256(f"{job} {state}".encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().numpy())
    return digest.hexdigest()


def _told(value: Any) -> str:
    """An option's value as people write it."""
    if value is None:
        return "the default"
    if isinstance(value, bool):
        return "on" if value else "off"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
