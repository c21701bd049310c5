"""A plan in words: as plain values for programs, as labelled lines for people."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from depthcrafter_cli.workflows.plan import RunPlan


def facts_of(plan: "RunPlan") -> dict[str, Any]:
    """What will be done, as plain JSON values."""
    from depthcrafter_cli.workflows.memory import facts as memory_facts

    return {
        "input": str(plan.request.source),
        "source_size": str(plan.info.size),
        "model_size": str(plan.model_size),
        "output_size": str(plan.output_size),
        "frames": plan.frames,
        "rate": float(plan.rate),
        "windows": plan.windows,
        "window": plan.config.window,
        "overlap": plan.config.overlap,
        "model": plan.weights.variant.name,
        "weights": str(plan.weights.path),
        "memory": memory_facts(plan.memory),
        "device": plan.device,
        "dtype": plan.dtype,
        "outputs": [str(path) for path in plan.request.outputs],
    }


def summary_of(plan: "RunPlan") -> Iterator[tuple[str, str]]:
    """(label, text) lines: what will be done."""
    frames = "unknown length" if plan.frames is None else f"about {plan.frames} frames"
    yield "input", f"{plan.request.source}  {plan.info.size}, {float(plan.rate):.4g} fps, {frames}"
    variant = plan.weights.variant
    yield "model", f"{variant.title}: {variant.description}"
    if variant.name == "nano":
        yield "", "For the published quality (non-commercial licence): depthcrafter weights pull"
    if variant.non_commercial:
        yield "licence", "the weights are for non-commercial use only (depthcrafter weights list)"
    config = plan.config
    windows = f"windows of {config.window} frames, overlap {config.overlap}"
    if plan.windows is not None:
        windows = "1 window" if plan.windows == 1 else f"{plan.windows} {windows}"
    if plan.resumed:
        yield "resume", f"from {plan.request.work_folder}"
    yield "plan", f"{plan.model_size} pixels, {windows}, {config.steps} steps each"
    yield "device", f"{plan.device}, {plan.dtype}"
    memory = plan.memory
    how = ", ".join(memory.concessions) or "everything on the device"
    apart = memory.peaks.host and memory.device != "cpu"
    host = f", host {memory.peaks.host / 1e9:.1f} GB" if apart else ""
    yield "memory", f"{memory.measured_as / 1e9:.2f} GB predicted{host}: {how}"
    outputs = ", ".join(str(path) for path in plan.request.outputs)
    yield "output", f"{outputs}  {plan.output_size}"
