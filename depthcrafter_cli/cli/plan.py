"""``depthcrafter plan``: what a run would take of a machine, without running it."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from depthcrafter_cli.cli import options as opt
from depthcrafter_cli.cli.console import reported
from depthcrafter_cli.cli.groups import PlanValues, spread
from depthcrafter_cli.cli.outlets import counted, emit, in_words, size_in_words
from depthcrafter_cli.cli.streams import Line, tell
from depthcrafter_cli.options import build
from depthcrafter_cli.workflows.request import RunRequest

if TYPE_CHECKING:
    from depthcrafter_cli.memory.duration import Duration
    from depthcrafter_cli.workflows.run_plan import RunPlan

# Where a video does not tell its length, what a thousand frames take is told.
_FRAMES_OF_UNKNOWN = 1000


@spread
def plan(
    source: opt.Source,
    asked: PlanValues,
    card: opt.Card = None,
    json: opt.Json = False,
    debug: opt.Debug = False,
) -> None:
    """Show how a run would use memory and time. Neither weights nor a GPU need be there.

    \b
    Examples:
      depthcrafter plan clip.mp4 --max-vram 8 --weights depthcrafter
      depthcrafter plan clip.mp4 --max-vram 8 --card "RTX 4060" --json
    """
    with reported(quiet=False, json=json, debug=debug) as console:
        from depthcrafter_cli import workflows
        from depthcrafter_cli.workflows.memory import facts

        request = build(RunRequest, asked, source=source, outputs=())
        planned = workflows.plan(request, console.warn)
        name, time = planned.time_on(card)
        if json:
            seconds = {"card": name, "estimated_seconds": None if time is None else _seconds(time)}
            disk = {"disk_bytes": _disk_bytes(planned)}
            emit("memory_plan", **_overview(planned), **facts(planned.memory), **seconds, **disk)
        else:
            tell(*_lines(planned), *_disk_lines(planned), *_time_lines(planned, name, time))


def _overview(planned: "RunPlan") -> dict[str, Any]:
    return {
        "input": str(planned.request.source),
        "model": planned.weights.variant.name,
        "model_size": str(planned.model_size),
        "frames": planned.video.frames,
        "windows": planned.windows,
        "overlap": planned.config.overlap,
        "device": planned.device,
        "dtype": planned.dtype,
        "predicted_peak_bytes": planned.memory.measured_as,
    }


def _disk_bytes(planned: "RunPlan") -> dict[str, int]:
    """What the run's state takes on a disk, and each kind of output; without a length 1,000 frames.

    The state goes when the outputs are complete.
    """
    from depthcrafter_cli.media.sinks.registry import path_in_format

    kinds = ("mp4", "npz", "png")
    outputs = [path_in_format(Path("depth"), kind) for kind in kinds]
    counts = planned.disk_bytes(planned.video.frames or _FRAMES_OF_UNKNOWN, outputs)
    return dict(zip(("state", *kinds), counts, strict=True))


def _disk_lines(planned: "RunPlan") -> Iterator[Line]:
    state, *outputs = _disk_bytes(planned).items()
    each = "" if planned.video.frames else f" for every {_FRAMES_OF_UNKNOWN} frames"
    written = ", ".join(f"{kind} {size_in_words(count)}" for kind, count in outputs)
    yield Line(f"disk: at most about {size_in_words(state[1])} until it is finished{each}")
    yield Line(f"and for the output: {written}", "  ")


def _seconds(time: "Duration") -> dict[str, float]:
    stages = {stage: round(seconds, 1) for stage, seconds in vars(time).items()}
    return {**stages, "total": round(time.total, 1)}


def _time_lines(planned: "RunPlan", name: str, time: "Duration | None") -> Iterator[Line]:
    """One line, and another on what it is worth."""
    from depthcrafter_cli.memory.duration import UTILISATION, is_slice

    if time is None:
        what = f"{name}, a part of a card," if is_slice(name) else name
        yield Line(
            f"time: not known for {what} in {planned.dtype}; --card NAME tells of another one"
        )
        return

    assert planned.video.frames is not None
    total, each = time.total, time.total / planned.video.frames
    parts = ", ".join(f"{stage} {seconds / total:.0%}" for stage, seconds in vars(time).items())
    yield Line(f"time on {name}: about {in_words(total)}, {each:.2g} s a frame")
    yield Line(
        f"{parts}; an estimate: the card's peak x {UTILISATION:.0%}, as published for an A100", "  "
    )


def _lines(planned: "RunPlan") -> Iterator[Line]:
    memory, plan = planned.memory, planned.memory.plan
    length = ""
    if planned.video.frames is not None and planned.windows is not None:
        windows = counted(planned.windows, "window")
        length = f"{counted(planned.video.frames, 'frame')} in {windows}, "
    yield Line(
        f"{planned.request.source}: {planned.model_size} pixels, {length}"
        f"{planned.weights.variant.title} on {planned.device} in {planned.dtype}"
    )
    cut = f"chunks of {plan.values / 1e6:.3g} M values"
    batch = f"{plan.encode_batch} frames at a time"
    rows = (
        ("image encoder", memory.peaks.clip, batch),
        ("VAE encoder", memory.peaks.encode, f"{batch}{', by rows' * plan.frugal_encode}"),
        (
            "denoiser",
            memory.peaks.denoise,
            f"windows of {memory.job.window} frames, {cut}"
            + ", weights streamed" * plan.stream_weights
            + ", skips on the host" * plan.park_skips,
        ),
        (
            "VAE decoder",
            memory.peaks.decode,
            f"{memory.job.decode_chunk} frames together, {cut}"
            + ", less kept" * plan.frugal_decode,
        ),
    )
    yield Line("how", f"{'stage':<15}{'peak':>9}  ")
    for stage, peak, how in rows:
        yield Line(how, f"{stage:<15}{peak / 1e9:>6.2f} GB  ")
    yield Line(
        f"device {memory.measured_as / 1e9:.2f} GB, host {memory.peaks.host / 1e9:.2f} GB, "
        f"{memory.peaks.bus_bytes / 1e9:.2f} GB over the bus per denoising step"
    )
    for sentence in memory.concessions:
        yield Line(sentence, "- ")
