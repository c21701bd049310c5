"""From a video to its depth files: infer into a spool, choose the range, write every output."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING

from depthcrafter_cli.depth.normalize import normalize, value_range
from depthcrafter_cli.errors import UsageError
from depthcrafter_cli.media.reader import read_frames
from depthcrafter_cli.media.scale import resize_disparity
from depthcrafter_cli.media.sinks.base import DepthFrame, SinkSettings
from depthcrafter_cli.media.sinks.registry import sink_for
from depthcrafter_cli.media.spool import DisparitySpool
from depthcrafter_cli.memory.planner import step_down
from depthcrafter_cli.progress import Observer, Progress, ignore
from depthcrafter_cli.types import MemoryPlan, RgbImage, ValueRange
from depthcrafter_cli.workflows.memory import cap_device
from depthcrafter_cli.workflows.plan import RunPlan
from depthcrafter_cli.workflows.record import describe, write_record
from depthcrafter_cli.workflows.resources import PeakMemory, peak_memory

if TYPE_CHECKING:
    from depthcrafter_cli.pipeline.pipeline import DepthCrafterPipeline

Warn = Callable[[str], None]


@dataclass(frozen=True)
class RunResult:
    """What a finished run made and what it took.

    ``seconds`` covers reading to the last written byte, without loading the model;
    ``predicted_peak`` is the planner's figure for ``peak``, in bytes.
    """

    outputs: tuple[Path, ...]
    frames: int
    seconds: float
    value_range: ValueRange
    peak: PeakMemory
    predicted_peak: int
    device: str

    @property
    def frames_per_second(self) -> float:
        """Frames of depth per second of work."""
        return self.frames / self.seconds


def run(plan: RunPlan, observer: Observer = ignore, warn: Warn = lambda _: None) -> RunResult:
    """Carry out a plan. Outputs appear under their names only when complete.

    ``warn`` gets a sentence for what did not stop the run, such as a damaged end of the video.

    Raises:
        InputError, WeightsError, OutputError: as :func:`plan_run`, for what shows only now.
    """
    from depthcrafter_cli.pipeline.pipeline import DepthCrafterPipeline

    if not plan.request.outputs:
        raise UsageError("Got no output, expected at least one: pass --out such as depth.mp4.")
    observer(Progress("load", 0, 1, unit="model"))
    cap_device(plan.device, plan.request.max_vram)
    pipeline = DepthCrafterPipeline.from_pretrained(
        str(plan.weights.path),
        device=plan.request.device,
        dtype=plan.request.dtype,
        plan=plan.memory.plan,
    )
    pipeline.config = plan.config
    retreats: list[str] = []
    pipeline.step_down = partial(_retreat, retreats, warn, pipeline.components.device.type)
    observer(Progress("load", 1, 1, unit="model"))

    started = time.monotonic()
    with DisparitySpool(plan.spool_folder) as spool:
        _infer(plan, pipeline, spool, observer, warn)
        inferred = time.monotonic()
        values = value_range(plan.request.normalization, spool)
        metadata = describe(plan, values, len(spool))
        _write(plan, spool, values, metadata, observer)
        frames = len(spool)
    finished = time.monotonic()
    result = RunResult(
        outputs=plan.request.outputs,
        frames=frames,
        seconds=finished - started,
        value_range=values,
        peak=peak_memory(pipeline.components.device),
        predicted_peak=plan.memory.measured_as,
        device=plan.device,
    )
    if plan.record_path is not None:
        timings = {"infer_seconds": inferred - started, "write_seconds": finished - inferred}
        peaks = {"peak_memory_bytes": result.peak.bytes, "memory_retreats": retreats}
        write_record(plan, {**metadata, **timings, **peaks})
    return result


def _retreat(told: list[str], warn: Warn, kind: str, plan: MemoryPlan) -> MemoryPlan | None:
    """The plan to go on with where memory ran out, which the user and the record are told of."""
    smaller = step_down(plan, kind)
    if smaller is not None:
        told.append(f"memory ran out under {plan}; went on with {smaller}")
        warn(f"{told[-1]}.")
    return smaller


def _infer(
    plan: RunPlan,
    pipeline: "DepthCrafterPipeline",
    spool: DisparitySpool,
    observer: Observer,
    warn: Warn,
) -> None:
    """Every frame's raw disparity into the spool, with the frame's time."""
    times: deque[Fraction] = deque()

    def pictures() -> Iterator[RgbImage]:
        for frame in read_frames(plan.request.source, plan.model_size, plan.reading, warn):
            labelled = frame.index / plan.rate if plan.request.reference else frame.time
            times.append(labelled)
            yield frame.rgb

    for disparity in pipeline(pictures(), total=plan.frames, observer=observer):
        spool.append(disparity, [times.popleft() for _ in disparity])


def _write(
    plan: RunPlan,
    spool: DisparitySpool,
    values: ValueRange,
    metadata: dict[str, object],
    observer: Observer,
) -> None:
    """The second pass: normalise, scale and hand each frame to every sink."""
    request = plan.request
    settings = SinkSettings(
        size=plan.output_size,
        frame_count=len(spool),
        rate=plan.rate,
        time_base=spool.time_base,
        value_range=values,
        colormap=request.colormap,
        side_by_side=request.side_by_side,
        crf=request.crf,
        metadata=metadata,
        overwrite=request.overwrite,
    )
    sinks = [sink_for(out, settings) for out in request.outputs]
    wants_source = any(sink.needs_rgb for sink in sinks)
    pictures = _source_pictures(plan) if wants_source else repeat(None)
    with ExitStack() as stack:
        for sink in sinks:
            stack.enter_context(sink)
        for index, ((raw, shown), rgb) in enumerate(zip(spool.frames(), pictures, strict=False)):
            disparity = resize_disparity(raw, plan.output_size)
            frame = DepthFrame(index, shown, disparity, normalize(disparity, values), rgb)
            for sink in sinks:
                sink.write(frame)
            observer(Progress("write", index + 1, len(spool)))


def _source_pictures(plan: RunPlan) -> Iterator[RgbImage]:
    """The same frames once more, at the output's size, to stand beside their depth."""
    for frame in read_frames(plan.request.source, plan.output_size, plan.reading):
        yield frame.rgb
