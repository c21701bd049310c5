"""What a run will do, settled and checked before a network is loaded or a frame is read."""

import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from depthcrafter_cli.depth.normalize import Normalization
from depthcrafter_cli.errors import OutputError
from depthcrafter_cli.media.reader import count_frames, probe
from depthcrafter_cli.media.resize import model_size, output_size, reference_stride
from depthcrafter_cli.media.selection import ReadOptions, selected_rate
from depthcrafter_cli.media.sinks.registry import check_outputs
from depthcrafter_cli.memory.planner import Choice
from depthcrafter_cli.models.weights import WeightsFolder, find_configs, find_weights
from depthcrafter_cli.pipeline.config import PipelineConfig
from depthcrafter_cli.pipeline.segments import count_windows
from depthcrafter_cli.types import Size, VideoInfo
from depthcrafter_cli.workflows.memory import choose_memory


@dataclass(frozen=True)
class RunRequest:
    """One video and what shall become of it, as the user asked; None means the default.

    ``settings`` are fields of :class:`PipelineConfig` that override the model's own.
    ``reference`` reproduces the published program: its noise, its choice of frames and
    frame-rate label, its output at the model's size. ``max_vram`` and ``max_ram`` are GB, None
    what is free. Without ``outputs`` a run can be planned but not carried out.
    """

    source: Path
    outputs: tuple[Path, ...]
    weights: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    reading: ReadOptions = field(default_factory=ReadOptions)
    max_res: int | None = None
    size: str = "source"
    normalization: Normalization = field(default_factory=Normalization)
    colormap: str = "inferno"
    side_by_side: bool = False
    crf: int = 18
    overwrite: bool = False
    record: bool = True
    reference: bool = False
    max_vram: float | None = None
    max_ram: float | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RunPlan:
    """A request with every open question answered.

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
    memory: Choice
    device: str
    dtype: str

    @property
    def windows(self) -> int | None:
        """Windows the clip will be cut into."""
        if self.frames is None:
            return None
        return count_windows(self.frames, self.config.window, self.config.overlap)

    @property
    def record_path(self) -> Path | None:
        """The JSON record beside the first output."""
        first = self.request.outputs[0]
        return first.with_name(f"{first.name}.json") if self.request.record else None

    @property
    def spool_folder(self) -> Path:
        """Where raw disparity waits: on the disk of the first output."""
        return next(p for p in self.request.outputs[0].absolute().parents if p.is_dir())


def plan_run(request: RunRequest) -> RunPlan:
    """Settle and check a run.

    Raises:
        UsageError, InputError, WeightsError, MemoryLimitError, OutputError: whatever would stop
            the run later.
    """
    info = probe(request.source, request.reading)
    if request.outputs:
        check_outputs(
            request.outputs,
            source=request.source,
            colormap=request.colormap,
            overwrite=request.overwrite,
        )
    weights = find_weights(request.weights) if request.outputs else find_configs(request.weights)
    variant = weights.variant
    published = {"steps": variant.steps, "window": variant.window, "overlap": variant.overlap}
    noise = {"noise": "reference"} if request.reference else {}
    config = PipelineConfig(**{**published, **noise, **request.settings})
    reading, rate = _frame_selection(request, info)
    # The published noise is drawn for the whole clip, so its exact length must be known first.
    exact = config.noise == "reference"
    frames = count_frames(request.source, reading) if exact else expected_frames(info, reading)
    size = model_size(info.size, request.max_res or variant.max_res)
    device, dtype = _machine(request)
    limits = request.max_vram, request.max_ram
    memory = choose_memory(weights, config, size, frames, device, dtype, limits)
    if memory.shortened:
        config = replace(config, window=memory.job.window)
    plan = RunPlan(
        request=request,
        info=info,
        reading=reading,
        rate=rate,
        frames=frames,
        model_size=size,
        output_size=size if request.reference else output_size(request.size, info.size, size),
        weights=weights,
        config=config,
        memory=memory,
        device=device,
        dtype=dtype,
    )
    if request.outputs:
        _check_record(plan)
        _check_disk(plan)
    return plan


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
    reading = request.reading
    if request.reference and reading.fps is not None:
        stride = reference_stride(info.rate, reading.fps)
        return replace(reading, fps=None, stride=stride), reading.fps
    return reading, selected_rate(info, reading)


def _machine(request: RunRequest) -> tuple[str, str]:
    """The device and precision to run with, by their PyTorch names.

    Planning alone may be for a GPU that is not here.
    """
    import torch

    from depthcrafter_cli.models.devices import pick_device, pick_dtype

    elsewhere = request.device == "cuda" or (request.device == "auto" and request.max_vram)
    if not request.outputs and elsewhere and not torch.cuda.is_available():
        device = torch.device("cuda")
    else:
        device = pick_device(request.device)
    return str(device), str(pick_dtype(request.dtype, device)).removeprefix("torch.")


def _check_record(plan: RunPlan) -> None:
    path = plan.record_path
    if path is not None and path.exists() and not plan.request.overwrite:
        raise OutputError(
            f"{path} exists, expected a free name for the run's record: "
            "pass --overwrite, or --no-record."
        )


def _check_disk(plan: RunPlan) -> None:
    """The raw disparity of the whole clip must fit beside the output."""
    if plan.frames is None:
        return
    needed = plan.frames * plan.model_size.height * plan.model_size.width * 4
    free = shutil.disk_usage(plan.spool_folder).free
    if free < needed:
        raise OutputError(
            f"{plan.spool_folder} has {free / 1e9:.1f} GB free, expected {needed / 1e9:.1f} GB for "
            "the raw disparity of the clip: free some space or write to another disk."
        )
