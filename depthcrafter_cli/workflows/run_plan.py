"""What a run will do, settled and checked before a network is loaded or a frame is read."""

import math
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from depthcrafter_cli.disk import identities, nearest_folder
from depthcrafter_cli.errors import InputError, MemoryLimitError, OutputError, UsageError
from depthcrafter_cli.media.reader import count_frames, probe
from depthcrafter_cli.media.resize import model_size, output_size, reference_stride, within
from depthcrafter_cli.media.selection import ReadOptions, selected_rate
from depthcrafter_cli.media.sinks.registry import (
    check_numbers,
    check_outputs,
    check_size,
    existing_files,
    expected_bytes,
)
from depthcrafter_cli.media.spool import expected_spool_bytes
from depthcrafter_cli.memory.planner import Choice
from depthcrafter_cli.models.weights import WeightsFolder, find_configs, find_weights
from depthcrafter_cli.pipeline.config import PipelineConfig
from depthcrafter_cli.pipeline.segments import count_windows
from depthcrafter_cli.progress import Warn, ignore
from depthcrafter_cli.types import Size, VideoInfo
from depthcrafter_cli.workflows.deliver import Delivery
from depthcrafter_cli.workflows.memory import choose_memory
from depthcrafter_cli.workflows.record import check_record, describe, record_path
from depthcrafter_cli.workflows.request import RunRequest
from depthcrafter_cli.workflows.state import RunState


@dataclass(frozen=True)
class CheckedRun:
    """A request with every question answered that is the same on any machine.

    ``frames`` and ``windows`` are estimates from the container, None where it says nothing;
    in reference mode they are exact. ``reading`` selects the frames, ``rate`` labels them.
    """

    request: RunRequest
    info: VideoInfo
    reading: ReadOptions
    rate: Fraction
    frames: int | None
    model_size: Size
    output_size: Size
    weights: WeightsFolder
    config: PipelineConfig

    @property
    def windows(self) -> int | None:
        """Windows the clip will be cut into."""
        if self.frames is None:
            return None
        return count_windows(self.frames, self.config.window, self.config.overlap)


@dataclass(frozen=True, kw_only=True)
class RunPlan(CheckedRun):
    """A request with every open question answered.

    ``facts`` say how the disparity is made, ``resumed`` that a stopped run goes on.
    """

    memory: Choice
    device: str
    dtype: str
    facts: dict[str, Any] = field(default_factory=dict)
    resumed: bool = False

    def delivery(self) -> Delivery:
        """What becomes of the disparity."""
        return Delivery(self.request, self.reading, self.rate, self.output_size, self.facts)


def plan_run(request: RunRequest, warn: Warn = ignore) -> RunPlan:
    """Settle and check a run.

    With ``resume`` and ``overwrite``, one that cannot be gone on with is begun again, unless it
    lacks memory only for now. ``warn`` hears of a device or precision that does not suit.

    Raises:
        UsageError, InputError, WeightsError, MemoryLimitError, OutputError: whatever would stop
            the run later.
    """
    checked = check_run(request)
    if not (request.outputs and request.resume and RunState(request.work_folder).in_use):
        return _planned(checked, warn)
    folder = RunState(request.work_folder)
    try:
        return folder.adopt(_planned(checked, warn, folder.settings()))
    except (UsageError, InputError):
        if request.overwrite and not request.resume_only:
            return _planned(checked, warn)
        raise


def _planned(checked: CheckedRun, warn: Warn, settled: Mapping[str, Any] | None = None) -> RunPlan:
    """What is left open settled; ``settled`` are the settings of a run that is to go on.

    Raises:
        MemoryLimitError: no plan fits, or none without changing what is settled.
    """
    request = checked.request
    config = replace(checked.config, **(settled or {}))
    device, dtype = _machine(request, warn)
    limits = request.max_vram, request.max_ram
    memory = choose_memory(
        checked.weights, config, checked.model_size, checked.frames, device, dtype, limits, warn
    )
    if memory.shortened and settled is not None:
        raise MemoryLimitError(
            f"{request.work_folder} holds a run with windows of {config.window} frames, and no "
            f"more than {memory.job.window} fit now, expected the memory it began with: free some, "
            "or start again with --overwrite."
        )
    if memory.shortened:
        config = replace(config, window=memory.job.window)
    known = {**vars(checked), "config": config}
    plan = RunPlan(**known, memory=memory, device=device, dtype=dtype)
    return replace(plan, facts=describe(plan)) if request.outputs else plan


def check_run(request: RunRequest) -> CheckedRun:
    """Settle and check what does not depend on the machine that will compute; without PyTorch.

    Raises:
        UsageError, InputError, WeightsError, OutputError: as :func:`plan_run`.
    """
    info = probe(request.source, request.reading)
    if request.outputs:
        replaceable = _replaceable(request)
        check_outputs(
            request.outputs,
            source=request.source,
            record=record_path(request),
            colormap=request.colormap,
            overwrite=replaceable,
            create_folders=request.create_folders,
        )
        check_record(request, overwrite=replaceable)
        _check_work_folder(request)
    weights = find_weights(request.weights) if request.outputs else find_configs(request.weights)
    suited = weights.settings
    published = {"steps": suited.steps, "window": suited.window, "overlap": suited.overlap}
    noise = {"noise": "reference"} if request.reference else {}
    config = PipelineConfig(**{**published, **noise, **request.settings})
    reading, rate = _frame_selection(request, info)
    # The published noise is drawn for the whole clip, so its exact length must be known first.
    exact = config.noise == "reference"
    frames = count_frames(request.source, reading) if exact else expected_frames(info, reading)
    longest = suited.max_res if request.max_res is None else request.max_res
    multiple = suited.multiple
    longest = longest if request.reference else within(longest, multiple)
    size = model_size(info.size, longest, multiple)
    checked = CheckedRun(
        request=request,
        info=info,
        reading=reading,
        rate=rate,
        frames=frames,
        model_size=size,
        output_size=_output_size(request, info.size, size),
        weights=weights,
        config=config,
    )
    check_size(request.outputs, checked.output_size, side_by_side=request.side_by_side)
    # How many frames a video has is known only about, if at all.
    check_numbers(request.outputs, request.first_number + 2 * (frames or 0))
    if request.outputs and not (request.resume and RunState(request.work_folder).in_use):
        _check_disk(checked)
    return checked


def _check_work_folder(request: RunRequest) -> None:
    """Raises UsageError for state that is to be where the input or a result is."""
    taken = [request.source, *request.outputs, *filter(None, [record_path(request)])]
    state = identities(request.work_folder)
    if same := next((path for path in taken if state & identities(path)), None):
        raise UsageError(
            f"got {request.work_folder} for the run's state, which is also {same}, expected a "
            "folder of its own: choose another --work-dir."
        )


def _output_size(request: RunRequest, source: Size, model: Size) -> Size:
    if request.reference and request.size not in ("source", "model"):
        raise UsageError(
            f"got --size {request.size} with --reference, which writes what the model gives, "
            "expected one of them: leave the other out."
        )
    return model if request.reference else output_size(request.size, source, model)


def _replaceable(request: RunRequest) -> bool:
    """Whether the run may replace what has its outputs' names: all, or its own of before a stop.

    Raises OutputError where another run's state, or a file that is not the run's, would be lost.
    """
    folder = RunState(request.work_folder)
    if not folder.in_use:
        return request.overwrite
    if request.resume and folder.delivering:
        results = [file for out in request.outputs for file in existing_files(out)]
        record = record_path(request)
        own = folder.published(overwrite=request.overwrite)
        own.require_replaceable([*results, *([record] if record else [])])
        return True
    if not request.resume and not request.overwrite:
        raise OutputError(
            f"{folder.path} holds a run that was not finished, or was kept, expected none: go on "
            "with it by --resume, or start again with --overwrite."
        )
    return request.overwrite


def expected_frames(info: VideoInfo, reading: ReadOptions) -> int | None:
    """How many frames will be read, as far as the container's own count tells."""
    if info.frame_count is None:
        return reading.max_frames
    duration = Fraction(info.frame_count) / info.rate
    end = duration if reading.end is None else min(reading.end, duration)
    count = max(1, math.ceil((end - (reading.start or 0)) * selected_rate(info, reading)))
    return count if reading.max_frames is None else min(count, reading.max_frames)


def _frame_selection(request: RunRequest, info: VideoInfo) -> tuple[ReadOptions, Fraction]:
    """Frames to read and the rate they are labelled with; both by timestamp unless reference."""
    reading = request.selection
    if request.reference and reading.fps is not None:
        stride = reference_stride(info.rate, reading.fps)
        return replace(reading, fps=None, stride=stride), reading.fps
    return reading, selected_rate(info, reading)


def _machine(request: RunRequest, warn: Warn) -> tuple[str, str]:
    """The device and precision to run with, by their PyTorch names.

    Planning alone may be for a GPU that is not here.
    """
    import torch

    from depthcrafter_cli.models.devices import pick_device, pick_dtype

    elsewhere = request.device.startswith("cuda") or (request.device == "auto" and request.max_vram)
    if not request.outputs and elsewhere and not torch.cuda.is_available():
        device = torch.device("cuda")
    elif not request.outputs and request.device == "mps":
        device = torch.device("mps")
    else:
        device = pick_device(request.device, warn)
    return str(device), str(pick_dtype(request.dtype, device, warn)).removeprefix("torch.")


def disk_bytes(plan: CheckedRun, frames: int, outputs: Sequence[Path]) -> list[int]:
    """About what so many frames take on a disk: raw disparity during the run, then each output."""
    side_by_side = plan.request.side_by_side
    return [
        expected_spool_bytes(plan.model_size, frames),
        *(
            expected_bytes(out, plan.output_size, frames, side_by_side=side_by_side)
            for out in outputs
        ),
    ]


def _check_disk(plan: CheckedRun) -> None:
    """The raw disparity of the whole clip and the outputs must fit on their disks."""
    if plan.frames is None:
        return
    request, needed = plan.request, Counter[Path]()
    spooled, *written = disk_bytes(plan, plan.frames, request.outputs)
    needed[_disk(request.work_folder)] += spooled
    for out, count in zip(request.outputs, written, strict=True):
        needed[_disk(out)] += count
    for disk, count in needed.items():
        free = shutil.disk_usage(disk).free
        if free < count:
            raise OutputError(
                f"{disk} has {free / 1e9:.2f} GB free, expected {count / 1e9:.2f} GB for the raw "
                "disparity of the clip and its outputs: free some space or write to another disk."
            )


def _disk(path: Path) -> Path:
    """A folder that stands for the disk ``path`` will be on; the same for all on one disk."""
    folder = nearest_folder(path.parent)
    if folder is None:
        raise OutputError(
            f"There is no disk or folder for {path}, expected it to exist: choose another place."
        )
    while folder.parent != folder and folder.parent.stat().st_dev == folder.stat().st_dev:
        folder = folder.parent
    return folder
