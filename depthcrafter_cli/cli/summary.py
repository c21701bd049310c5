"""A plan in words: as plain values for programs, as labelled lines for people."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from depthcrafter_cli.options import options_of
from depthcrafter_cli.text import counted
from depthcrafter_cli.workflows.request import RunRequest

if TYPE_CHECKING:
    from depthcrafter_cli.workflows.run_plan import RunPlan

_SAME_SHAPE = 0.01  # of width to height


def details_of(plan: "RunPlan") -> dict[str, Any]:
    """What will be done, as plain JSON values."""
    method, weights = plan.method, plan.method.weights
    return {
        "input": str(plan.request.video),
        "source_size": str(plan.video.info.size),
        "model_size": str(plan.method.size),
        "output_size": str(plan.output_size),
        "frames": plan.video.frames,
        "rate": float(plan.video.rate),
        "shots": len(plan.video.shots),
        "windows": plan.windows,
        **method.details,
        "method": plan.request.method,
        "model": method.spec.name,
        "weights": None if weights is None else str(weights.path),
        "memory": dict(method.memory_details),
        "device": plan.machine.device,
        "dtype": plan.machine.dtype,
        "outputs": [str(path) for path in plan.request.outputs],
        "disk_bytes": _disk_bytes(plan),
    }


def _disk_bytes(plan: "RunPlan") -> int | None:
    """The most that the run needs on its disks, about; None where its length is not known."""
    frames = plan.video.frames
    return None if frames is None else sum(plan.disk_bytes(frames, plan.request.outputs))


def summary_of(plan: "RunPlan") -> Iterator[tuple[str, str]]:
    """(label, text) lines: what will be done."""
    from depthcrafter_cli.media.look import CODECS, codec_instead
    from depthcrafter_cli.media.sinks.registry import size_in

    video = plan.video
    count = video.frames
    about = "" if video.counted else "about "
    frames = "unknown length" if count is None else f"{about}{counted(count, 'frame')}"
    if video.cuts:
        frames += f" in {counted(len(video.shots), 'shot')}"
    yield (
        "input",
        f"{plan.request.video}  {video.info.size}, {float(video.rate):.4g} fps, {frames}",
    )
    method = plan.method
    yield "model", f"{method.spec.title}: {method.spec.description}"
    if method.spec.advice:
        yield "", method.spec.advice
    if method.spec.non_commercial:
        yield "licence", "the weights are for non-commercial use only (depthcrafter weights list)"
    if plan.resumed:
        yield "resume", f"from {plan.request.work_folder}"
    yield "plan", f"{method.size} pixels, {method.how(plan.windows)}"
    for sentence in _changes_of_size(plan):
        yield "", sentence
    yield "device", f"{plan.machine.device}, {plan.machine.dtype}"
    yield "memory", method.memory_words()
    outputs = ", ".join(str(path) for path in plan.request.outputs)
    aspect = plan.request.pixel_aspect(video.info.anamorphic)
    pixels = "" if aspect == 1 else f", pixels {float(aspect):.4g}:1 as the video's"
    yield "output", f"{outputs}  {plan.output_size}{pixels}"
    for out in plan.request.outputs:
        size = size_in(out, plan.output_size, plan.request.look)
        if size != plan.output_size:
            yield "", f"{out.name} will be {size}."
        if instead := codec_instead(out, plan.request.look):
            asked = plan.request.codec or ""
            holds = out.suffix.lower() in CODECS[asked].suffixes
            why = "this machine cannot encode" if holds else "it cannot hold"
            yield "", f"{out.name} will be in {instead}, as {why} {asked}."


def unread_options(requests: Sequence[RunRequest]) -> Iterator[str]:
    """A sentence for each option of how results look that no output reads for which it was given.

    Raises UsageError for an output, or its codec, that there is not.
    """
    from depthcrafter_cli.media.sinks.registry import options_read

    for name, each in options_of(RunRequest).items():
        if each.part not in ("look", "metric"):
            continue
        asked = [request for request in requests if getattr(request, name) != each.default]
        if asked and not any(name in options_read(one.outputs, one.look) for one in asked):
            outputs = ", ".join(out.name for out in asked[0].outputs)
            yield f"`{name}` changes nothing in {outputs}: no output reads it."


def _changes_of_size(plan: "RunPlan") -> Iterator[str]:
    """What becomes of the size and shape that were asked for or are the video's."""
    from depthcrafter_cli.media.resize import within

    asked, multiple = plan.request.max_res, plan.method.multiple
    held = None if asked is None else within(asked, multiple)
    if held != asked and not plan.request.reference:
        yield f"--max-res {asked} allows sides up to {held}, as they are multiples of {multiple}."
    shape = plan.method.size.width / plan.method.size.height
    video = plan.video.info.size.width / plan.video.info.size.height
    if abs(shape / video - 1) > _SAME_SHAPE:
        yield f"The model sees the video as {shape:.2f}:1 instead of {video:.2f}:1."
