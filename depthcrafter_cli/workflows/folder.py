"""The folder a run keeps its state in, so that a killed one can go on and a kept one be reused.

``job.json`` says what was asked of what; ``window.safetensors`` is the pass between two steps;
``disparity.spool`` holds what is decoded. Each is replaced in one step or only appended to.
"""

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from depthcrafter_cli.disk import make_folder, part_path
from depthcrafter_cli.errors import InputError, OutputError, UsageError
from depthcrafter_cli.media.files import output_errors, write_whole
from depthcrafter_cli.models.variants import VARIANTS
from depthcrafter_cli.types import MemoryPlan, Size
from depthcrafter_cli.workflows.deliver import Delivery
from depthcrafter_cli.workflows.record import identity
from depthcrafter_cli.workflows.request import RunRequest

if TYPE_CHECKING:
    from depthcrafter_cli.pipeline.checkpoint import Checkpoint
    from depthcrafter_cli.workflows.plan import RunPlan

_FORMAT = 1


class RunFolder:
    """The state of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.spool_path = path / "disparity.spool"
        self._job, self._window = path / "job.json", path / "window.safetensors"
        self._delivery = path / "delivering"

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
        """Whether the run had begun to write its outputs, so that they may exist."""
        return self._delivery.exists()

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
        write_whole(self._job, json.dumps(job, indent=2).encode())

    def job(self) -> dict[str, Any]:
        """What :meth:`begin` wrote. Raises UsageError for a folder that is no run's."""
        try:
            job = json.loads(self._job.read_text())
        except PermissionError:
            raise OutputError(
                f"{self._job} cannot be read (permission denied), expected a readable folder: "
                "check its permissions."
            ) from None
        except (OSError, ValueError):
            raise UsageError(
                f"{self.path} holds no unfinished or kept run, expected a folder such as "
                "depth.mp4.work: check the path."
            ) from None
        if job.get("format") != _FORMAT:
            raise UsageError(
                f"{self.path} is of another version of depthcrafter, expected format {_FORMAT}: "
                "finish it with that version, or start again with --overwrite."
            )
        return dict(job)

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
            overwrite=job.get("overwrite", False),
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
            raise _changed_input(plan.request.source)
        differing = [f"--{name}" for name in plan.request.differences(job["request"])]
        made = ("program", "model", "weights_sha256", "device", "dtype")
        differing += [name for name in made if plan.facts[name] != job["facts"][name]]
        if differing:
            resume = f"use `depthcrafter resume {self.path}`"
            remedy = "restore it" if plan.request.resume_only else resume
            raise UsageError(
                f"{self.path} is a run that differs in {', '.join(differing)}, expected the same "
                f"run to go on with: {remedy}, or run it with --overwrite to start again."
            )

    def require_unchanged(self, source: Path, facts: Mapping[str, Any]) -> None:
        """Raises InputError if the input is no longer what the run began with."""
        if identity(source) != facts["input"]:
            raise _changed_input(source)

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
        write_whole(self._window, save(tensors, metadata={"state": json.dumps(state)}))

    def load(self, decoded: int) -> tuple["Checkpoint", list[Fraction]] | None:
        """What was saved last, with ``decoded`` frames in the spool; None if they do not match."""
        from safetensors import SafetensorError, safe_open

        from depthcrafter_cli.pipeline.checkpoint import Checkpoint

        if not self.progressed:
            return None
        try:
            with safe_open(self._window, "pt") as file:
                state = json.loads(file.metadata()["state"])
                tensors: dict[str, Any] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except SafetensorError:
            return None
        times = [Fraction(time) for time in state.pop("times")]
        state.pop("end", None)
        saved = Checkpoint(**{"overlap": None, **state, **tensors})
        if not saved.decoded <= decoded <= saved.next_frame:
            return None
        return saved.after(decoded), times[decoded - saved.decoded :]

    def end(self) -> Fraction | None:
        """When the last picture of a complete run ends, in seconds from the first one."""
        from safetensors import safe_open

        with safe_open(self._window, "pt") as file:
            end = json.loads(file.metadata()["state"]).get("end")
        return None if end is None else Fraction(end)

    def complete(self, decoded: int) -> bool:
        """Whether ``decoded`` frames in the spool are all that the run was to compute."""
        saved = self.load(decoded)
        return saved is not None and saved[0].finished

    def begin_delivery(self) -> None:
        """From here on, outputs under their final names are this run's own."""
        with output_errors(self._delivery):
            self._delivery.touch()

    def keep(self) -> None:
        """The run is finished, and its state stays for other outputs."""
        with output_errors(self._delivery):
            self._delivery.unlink(missing_ok=True)

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
        files = (self._job, self._window, self.spool_path, self._delivery)
        with output_errors(self.path):
            for file in (*files, *map(part_path, files)):
                file.unlink(missing_ok=True)
        with suppress(OSError):
            self.path.rmdir()


def _changed_input(source: Path) -> InputError:
    return InputError(
        f"{source} is not what it was when the run began, expected the same video to the end: "
        "put it back and go on, or start again with --overwrite."
    )
