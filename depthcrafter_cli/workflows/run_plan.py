"""What a run will do, settled and checked before a network is loaded or a frame is read."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from depthcrafter_cli.errors import InputError, MemoryLimitError, UsageError
from depthcrafter_cli.media.identity import changed, identity
from depthcrafter_cli.media.reader import count_frames, probe
from depthcrafter_cli.media.resize import model_size, reference_stride, within
from depthcrafter_cli.media.selection import ReadOptions, selected_rate
from depthcrafter_cli.media.sinks.registry import check_numbers, check_size
from depthcrafter_cli.memory.duration import Duration, card, duration
from depthcrafter_cli.memory.planner import Choice
from depthcrafter_cli.memory.work import Work
from depthcrafter_cli.models.variants import ModelSettings
from depthcrafter_cli.models.weights import WeightsFolder, find_configs, find_weights
from depthcrafter_cli.pipeline.config import PipelineConfig
from depthcrafter_cli.pipeline.segments import count_windows
from depthcrafter_cli.progress import StageWork, Warn, ignore
from depthcrafter_cli.shell import quoted
from depthcrafter_cli.types import Size, VideoInfo
from depthcrafter_cli.workflows.memory import choose_memory, facts
from depthcrafter_cli.workflows.places import check_disk, check_places, disk_bytes
from depthcrafter_cli.workflows.provenance import Provenance
from depthcrafter_cli.workflows.request import RunRequest
from depthcrafter_cli.workflows.resources import device_name
from depthcrafter_cli.workflows.state import RunState, SavedRun

# For a pixel of an output, until it is measured: H.264 of 640x360 on one busy core.
_WRITE_SECONDS = 5e-8


@dataclass(frozen=True)
class Video:
    """What a run reads: ``info`` is of the whole video, ``reading`` selects its frames.

    ``rate`` labels them. ``frames`` is how many they are: an estimate from the container, None
    where it says nothing, exact where all noise is drawn before the first frame.
    """

    info: VideoInfo
    reading: ReadOptions
    rate: Fraction
    frames: int | None


@dataclass(frozen=True)
class RunPlan:
    """A request with every open question answered.

    ``provenance`` says what makes the disparity, ``resumed`` that a stopped run goes on.
    """

    request: RunRequest
    video: Video
    weights: WeightsFolder
    config: PipelineConfig
    model_size: Size
    memory: Choice
    device: str
    dtype: str
    provenance: Provenance
    resumed: bool = False

    @property
    def windows(self) -> int | None:
        """Windows the video will be cut into; None where its length is not known."""
        if self.video.frames is None:
            return None
        return count_windows(self.video.frames, self.config.window, self.config.overlap)

    @property
    def output_size(self) -> Size:
        """The size of the results."""
        return self.request.output_size(self.video.info.size, self.model_size)

    @property
    def saved(self) -> SavedRun:
        """What its state is to say of the run."""
        stride = self.video.reading.stride
        return SavedRun(self.request, self.provenance, self.memory.plan, stride)

    def disk_bytes(self, frames: int, outputs: Sequence[Path]) -> list[int]:
        """About what so many frames take on a disk: the run's state, then each output."""
        sizes = self.model_size, self.output_size
        return disk_bytes(frames, outputs, *sizes, self.request.look)

    def time_on(self, card_name: str | None) -> tuple[str, Duration | None]:
        """A card's name, by default that of the plan's device, and the run's time on it.

        None where the card, its speed in this precision or the video's length is not known.
        """
        name = card_name or device_name(self.device)
        known, frames, windows = card(name), self.video.frames, self.windows
        if known is None or frames is None or windows is None:
            return name, None
        config = self.config
        return name, duration(
            self.memory, known, frames=frames, windows=windows, overlap=config.overlap,
            passes=config.steps * self._passes, batch=config.encode_batch,
        )  # fmt: skip

    def stage_work(self) -> dict[str, StageWork]:
        """What each stage is expected to take; nothing where the video's length is not known.

        Operations are counted from shapes, so the stages can be compared on any device.
        """
        frames, windows = self.video.frames, self.windows
        if frames is None or windows is None:
            return {}
        work, size = Work.of(self.memory.model, self.memory.job), self.output_size
        step = work.denoise * self.memory.job.window * self._passes
        written = size.height * size.width * len(self.request.outputs)
        return {
            "condition": StageWork(frames, work.clip + work.encode),
            "denoise": StageWork(windows * self.config.steps, step),
            "decode": StageWork(frames, work.decode),
            "write": StageWork(frames, seconds=written * _WRITE_SECONDS),
        }

    @property
    def _passes(self) -> int:
        """Of the network, for a step."""
        return 2 if self.config.guidance > 1 else 1


def plan(request: RunRequest, warn: Warn = ignore) -> RunPlan:
    """Settle and check a run.

    With ``resume``, a run that stopped or was kept goes on, with whatever look is asked for now.
    With ``overwrite`` too, one that cannot be gone on with is begun again, unless it lacks memory
    only for now. ``warn`` hears of a device or precision that does not suit.

    Raises:
        UsageError, InputError, WeightsError, MemoryLimitError, OutputError: whatever would stop
            the run later.
    """
    settled = _settle(request)
    if not _goes_on(request):
        return _planned(request, *settled, warn)
    try:
        saved = RunState(request.work_folder).saved()
        request = replace(request, keep_work=request.keep_work or saved.request.keep_work)
        return _planned(request, *settled, warn, saved)
    except (UsageError, InputError):
        if request.overwrite and not request.resume_only:
            return _planned(request, *settled, warn)
        raise


def check_run(request: RunRequest) -> Video:
    """Settle and check what does not depend on the machine that will compute; without PyTorch.

    Raises:
        UsageError, InputError, WeightsError, OutputError: as :func:`plan`.
    """
    video, *_ = _settle(request)
    return video


def _planned(
    request: RunRequest,
    video: Video,
    weights: WeightsFolder,
    config: PipelineConfig,
    size: Size,
    warn: Warn,
    saved: SavedRun | None = None,
) -> RunPlan:
    """What depends on the machine settled; ``saved`` is the run that is to go on.

    Raises:
        MemoryLimitError: no plan fits, or none with the windows that ``saved`` began with.
        UsageError, InputError: the disparity of ``saved`` is another.
    """
    device, dtype = _machine(request, warn)
    provenance = Provenance(
        input=identity(request.source),
        rate=video.rate,
        source_size=video.info.size,
        model_size=size,
        model=weights.variant.name,
        weights_sha256=weights.hashes() if request.outputs else {},
        licences=tuple(f"{licence.title}: {licence.url}" for licence in weights.variant.licences),
        non_commercial=weights.variant.non_commercial,
        settings=asdict(config),
        memory={},
        reference=request.reference,
        device=device.split(":")[0],
        dtype=dtype,
    )
    if saved is not None:
        _require_same(request, provenance, saved, weights.settings)
        config = PipelineConfig(**saved.provenance.settings)
    limits = request.max_vram, request.max_ram
    memory = choose_memory(weights, config, size, video.frames, device, dtype, limits, warn)
    if memory.shortened and saved is not None:
        raise MemoryLimitError(
            f"{request.work_folder} holds a run with windows of {config.window} frames, and no "
            f"more than {memory.job.window} fit now, expected the memory it began with: free some, "
            "or start again with `overwrite=True`."
        )
    if memory.shortened:
        config = replace(config, window=memory.job.window)
    if saved is None:
        provenance = replace(provenance, settings=asdict(config), memory=facts(memory))
    else:
        provenance = saved.provenance
        if limits == (saved.request.max_vram, saved.request.max_ram):
            memory = replace(memory, plan=saved.memory_plan)
    return RunPlan(
        request=request,
        video=video,
        weights=weights,
        config=config,
        model_size=size,
        memory=memory,
        device=device,
        dtype=dtype,
        provenance=provenance,
        resumed=saved is not None,
    )


def _settle(request: RunRequest) -> tuple[Video, WeightsFolder, PipelineConfig, Size]:
    """What is read, the weights and the settings as asked for, and the model's size; checked."""
    info = probe(request.source, request.reading)
    if request.outputs:
        check_places(request)
    weights = find_weights(request.weights) if request.outputs else find_configs(request.weights)
    suited = weights.settings
    config = _config(request, suited)
    reading, rate = _frame_selection(request, info)
    # The published noise is drawn for the whole clip, so its exact length must be known first.
    exact = config.noise == "reference"
    frames = count_frames(request.source, reading) if exact else expected_frames(info, reading)
    longest = suited.max_res if request.max_res is None else request.max_res
    multiple = suited.multiple
    longest = longest if request.reference else within(longest, multiple)
    size = model_size(info.size, longest, multiple)
    if request.reference and request.size not in ("source", "model"):
        raise UsageError(
            f"got `size` {request.size} with `reference`, which writes what the model gives, "
            "expected one of them: leave the other out."
        )
    written = request.output_size(info.size, size)
    check_size(request.outputs, written, request.look)
    # How many frames a video has is known only about, if at all.
    check_numbers(request.outputs, request.first_number + 2 * (frames or 0))
    if request.outputs and frames is not None and not _goes_on(request):
        check_disk(request, frames, size, written)
    return Video(info, reading, rate, frames), weights, config, size


def _config(request: RunRequest, suited: ModelSettings) -> PipelineConfig:
    """The settings that are asked for, with those of the weights where none are given."""
    own = {"steps": suited.steps, "window": suited.window, "overlap": suited.overlap}
    noise = {"noise": "reference"} if request.reference else {}
    return PipelineConfig(**{**own, **noise, **request.settings})


def _goes_on(request: RunRequest) -> bool:
    """Whether a run that stopped or was kept is to go on."""
    return bool(request.outputs and request.resume and RunState(request.work_folder).in_use)


def _require_same(
    request: RunRequest, now: Provenance, saved: SavedRun, suited: ModelSettings
) -> None:
    """Raises InputError or UsageError unless ``saved`` makes the disparity that is asked for."""
    before = saved.provenance
    if now.input != before.input:
        raise changed(request.source)
    differing = [
        f"`{name}` ({_told(value)} now, {_told(earlier)} before)"
        for name, (value, earlier) in _other_options(request, now, saved, suited).items()
    ]
    differing += [
        f"{name} ({value} now, {earlier} before)"
        for name in ("program", "model", "device", "dtype")
        if (value := getattr(now, name)) != (earlier := getattr(before, name))
    ]
    if now.weights_sha256 != before.weights_sha256:
        differing.append("the contents of the weights")
    if differing:
        resume = f"use `depthcrafter resume {quoted(request.work_folder)}`"
        remedy = "restore it" if request.resume_only else resume
        raise UsageError(
            f"{request.work_folder} is a run that differs in {', '.join(differing)}, expected the "
            f"same run to go on with: {remedy}, or run it with `overwrite=True` to start again."
        )


def _other_options(
    request: RunRequest, now: Provenance, saved: SavedRun, suited: ModelSettings
) -> dict[str, tuple[Any, Any]]:
    """The options that make another disparity than that of ``saved``, with their value now, before.

    What would be made of gaps is none of them where the run before got on without any.
    """
    same_model = now.model == saved.provenance.model  # otherwise weights decide on the settings
    asked, before = (
        {"reference": each.reference, **vars(each.selection)}
        | ({"max_res": each.max_res, **vars(_config(each, suited))} if same_model else {})
        for each in (request, saved.request)
    )
    implied = set()
    if before["gaps"] == "error":
        implied.add("gaps")
    if now.model_size == saved.provenance.model_size:
        implied.add("max_res")
    if asked["reference"] != before["reference"]:
        implied |= {"noise", "matrix"}
    return {
        name: (value, before[name])
        for name, value in asked.items()
        if name not in implied and value != before[name]
    }


def _told(value: Any) -> str:
    """An option's value as people write it."""
    if value is None:
        return "the default"
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)


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
