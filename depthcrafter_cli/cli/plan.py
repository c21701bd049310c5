"""``depthcrafter plan``: what a run would take of a machine, without running it."""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from depthcrafter_cli.cli import options as opt
from depthcrafter_cli.cli.console import reported
from depthcrafter_cli.cli.options import PlanValues, spread
from depthcrafter_cli.cli.outlets import emit, in_words
from depthcrafter_cli.cli.streams import Line, tell
from depthcrafter_cli.errors import UsageError
from depthcrafter_cli.options import build
from depthcrafter_cli.progress import Warn, ignore
from depthcrafter_cli.text import counted, size_in_words, video_path
from depthcrafter_cli.workflows.request import NO_CUTS, RunRequest

if TYPE_CHECKING:
    from depthcrafter_cli.memory.cards import Card
    from depthcrafter_cli.memory.duration import Duration
    from depthcrafter_cli.workflows.rates import ByRate
    from depthcrafter_cli.workflows.run_plan import RunPlan
    from depthcrafter_cli.workflows.training_plan import TrainingPlan

_NIGHT = 10 * 3600  # seconds
# Where a video does not tell its length, what a thousand frames take is told.
_FRAMES_OF_UNKNOWN = 1000


VideoOrRecipe = Annotated[
    Path,
    typer.Argument(
        help="A video, a folder of images, a pattern such as frame_%05d.png, or one image; or a "
        "recipe of 'train', a TOML file.",
        metavar="VIDEO",
        parser=opt.past_click(video_path),
    ),
]


@spread
def plan(
    video: VideoOrRecipe,
    asked: PlanValues,
    card: opt.Card = None,
    json: opt.Json = False,
    debug: opt.Debug = False,
) -> None:
    """Show how a run, or training, would use memory and time, without weights or a GPU.

    The video is read once for its cuts and its length; --cuts none does without.

    \b
    Examples:
      depthcrafter plan clip.mp4 --max-vram 8 --weights depthcrafter
      depthcrafter plan clip.mp4 --card "RTX 4060 Laptop" --json
      depthcrafter plan examples/fine-tune.toml
    """
    with reported(quiet=False, json=json, debug=debug) as console:
        if video.suffix.lower() == ".toml":
            _plan_training(
                video, {name for name, value in asked.items() if value}, json, console.warn
            )
            return
        from depthcrafter_cli import workflows
        from depthcrafter_cli.memory.cards import card_named

        request = build(RunRequest, asked, video=video, outputs=())
        known = None if card is None else card_named(card)
        with nullcontext(ignore) if json else console.observing() as observer:
            planned = workflows.plan(request, console.warn, observer, known)
        name, time = planned.machine.name, planned.time
        if json:
            seconds = {"card": name, "estimated_seconds": None if time is None else _seconds(time)}
            disk = {"disk_bytes": _disk_bytes(planned)}
            memory = planned.method.memory_details
            emit("memory_plan", **{**_overview(planned), **memory, **seconds, **disk})
        else:
            tell(*_lines(planned), *_disk_lines(planned), *_time_lines(planned))
            tell(*_shorter_lines(planned, known))


def _plan_training(recipe: Path, given: set[str], json: bool, warn: Warn) -> None:
    """Tell what a recipe will take."""
    from depthcrafter_cli.training.recipe import load_recipe
    from depthcrafter_cli.workflows.training_plan import plan_training

    if given:
        raise UsageError(
            f"got {', '.join(sorted(opt.NAMES[name] for name in given))} with the recipe {recipe}, "
            "expected a recipe alone, in which all is set: leave it out."
        )
    planned = plan_training(load_recipe(recipe), warn=warn)
    if json:
        emit("training_plan", recipe=str(recipe), **planned.details())
    else:
        tell(Line(f"{recipe}: {planned.model} in {planned.precision}"), *_stage_lines(planned))


def _stage_lines(planned: "TrainingPlan") -> Iterator[Line]:
    """A line for what each stage shows, and one for what it takes."""
    for each in planned.stages:
        stage, step, memory = each.config, each.step, each.memory
        clips = f"{counted(each.clips, 'clip')} of up to {counted(each.longest, 'frame')}"
        yield Line(f"{counted(stage.steps, 'step')} on {clips}", f"{stage.name}: ")
        if each.longest < stage.frames[1]:
            yield Line(f"frames = {stage.frames} asks for longer ones than there are", "  ")
        if stage.warmup >= stage.steps:
            yield Line(f"warmup = {stage.warmup} ends after its last step", "  ")
        if step is None or memory is None:
            yield Line("the decoder's memory is not counted", "  ")
            continue
        low, high = planned.bytes_of(memory)
        range_ = f"{low / 1e9:.2f} to {high / 1e9:.2f}" if low < high else f"{high / 1e9:.2f}"
        yield Line(
            f"{range_} GB with {counted(step.clips, 'clip')} of {counted(step.frames, 'frame')} at "
            f"once; of these {(memory.kept + planned.frozen) / 1e9:.2f} GB for "
            f"{memory.trained / 1e6:.3g} M trained parameters and the rest",
            "  ",
        )
        if validated := planned.validates_in(memory):
            yield Line(
                f"{validated / 1e9:.2f} GB while it validates, which lasts as long as "
                f"{planned.steps_of_validation(each):.2g} steps by operations",
                "  ",
            )
        shared = [f"{taken / 1e9:.2f} by {n}" for n, taken in planned.shared(each).items()]
        if shared:
            yield Line(
                f"GB on each card, at most, shared with --share-model: {', '.join(shared)}", "  "
            )
        if memory.on_host:
            yield Line(f"{memory.on_host / 1e9:.2f} GB of the host for what is kept there", "  ")
    if planned.validation is not None:
        clips = counted(planned.validation.clips, "clip")
        longest = counted(planned.validation.frames, "frame")
        yield Line(f"validation: {clips} of up to {longest}, in float32")
    yield Line(f"disk: {size_in_words(planned.disk)} for checkpoints in the work folder")
    yield Line("time: train tells it from the first steps on")


def _overview(planned: "RunPlan") -> dict[str, Any]:
    method = planned.method
    return {
        "input": str(planned.request.video),
        "method": planned.request.method,
        "model": method.spec.name,
        "model_size": str(method.size),
        "frames": planned.video.frames,
        "shots": len(planned.video.shots),
        "windows": planned.windows,
        **method.details,
        "device": planned.machine.device,
        "dtype": planned.machine.dtype,
        "triton": planned.machine.fused,
        "predicted_peak_bytes": method.peak_bytes,
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


def _seconds(time: "Duration | ByRate") -> dict[str, float]:
    known = {**time.stages, "total": time.total}
    return {stage: round(seconds, 1) for stage, seconds in known.items()}


def _time_lines(planned: "RunPlan") -> Iterator[Line]:
    """One line, and another on what it is worth."""
    from depthcrafter_cli.memory.cards import is_slice
    from depthcrafter_cli.memory.speed import MEASURED
    from depthcrafter_cli.workflows.rates import ByRate
    from depthcrafter_cli.workflows.resources import multiplies_bfloat16

    name, dtype, time = planned.machine.name, planned.machine.dtype, planned.time
    if time is None:
        what = f"{name}, a part of a card," if is_slice(name) else name
        yield Line(
            f"time: not known for {what} in {dtype} before a run of this model here, of a few "
            "seconds of video; --card NAME tells of another one"
        )
        if (name, dtype) == ("cpu", "float32") and multiplies_bfloat16():
            yield Line("--dtype bf16 takes less here (nano 0.72 to 0.75), and changes depth", "  ")
        return

    assert planned.video.frames is not None
    total, each = time.total, time.total / planned.video.frames
    yield Line(f"time on {name}: about {in_words(total)}, {each:.2g} s a frame")
    if isinstance(time, ByRate):
        took = f"a run here on {time.rate.day}, which took {in_words(time.rate.seconds)}"
        yield Line(f"an estimate by {took}, without reading and writing", "  ")
        return
    parts = ", ".join(f"{stage} {seconds / total:.0%}" for stage, seconds in time.stages.items())
    way = "with Triton" if planned.machine.fused else "without Triton"
    yield Line(
        f"{parts}; an estimate by data sheets, {way}, "
        f"x {MEASURED:.1f} as one card was measured by others",
        "  ",
    )


def _shorter_lines(planned: "RunPlan", card: "Card | None") -> Iterator[Line]:
    """What would shorten a run that takes more than a night, and by how much."""
    from depthcrafter_cli import workflows

    time = planned.time
    if time is None or time.total < _NIGHT:
        return
    request = replace(planned.request, cuts=NO_CUTS)  # which take long to find, and change little
    usual = workflows.plan(request, card=card).time
    longest = max(planned.method.size.height, planned.method.size.width)
    steps = int(planned.method.settings.get("steps", 1))
    options: dict[str, RunRequest] = {
        f"--fps {float(planned.video.rate) / 2:.4g}": replace(
            request, reading=replace(request.reading, fps=planned.video.rate / 2)
        ),
        f"--max-res {longest // 2}": replace(request, max_res=longest // 2),
    }
    if steps > 1:
        settings = {**request.settings, "steps": steps // 2}
        options[f"--steps {steps // 2}"] = replace(request, settings=settings)
    for option, shorter in options.items():
        other = workflows.plan(shorter, card=card).time
        if usual is not None and other is not None and other.total < usual.total:
            less = time.total * other.total / usual.total
            yield Line(f"{option} would make it about {in_words(less)}", "  ")


def _lines(planned: "RunPlan") -> Iterator[Line]:
    method, machine, frames = planned.method, planned.machine, planned.video.frames
    length = "" if frames is None else counted(frames, "frame")
    if planned.video.cuts:
        length += f" in {counted(len(planned.video.shots), 'shot')}"
    if frames is not None and planned.windows is not None:
        length += f" in {counted(planned.windows, 'window')}"
    length += ", " * bool(length)
    yield Line(
        f"{planned.request.video}: {method.size} pixels, {length}"
        f"{method.spec.title} on {machine.device} in {machine.dtype}"
    )
    for label, text in method.memory_lines():
        yield Line(text, label)
