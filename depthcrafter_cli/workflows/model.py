"""The one owner of loaded networks, which run after run can use."""

from functools import partial
from typing import TYPE_CHECKING, Any

from depthcrafter_cli.memory.planner import Choice
from depthcrafter_cli.progress import Observer, Progress, Warn
from depthcrafter_cli.types import MemoryPlan, Scarce
from depthcrafter_cli.workflows.memory import cap_device
from depthcrafter_cli.workflows.run_plan import RunPlan

if TYPE_CHECKING:
    from depthcrafter_cli.pipeline.pipeline import DepthCrafterPipeline
    from depthcrafter_cli.pipeline.retries import StepDown


class LoadedModel:
    """Networks that stay loaded from one run to the next while the same will do.

    Runs may differ in size, settings and memory plan; other weights, another device or
    precision are loaded in their place.
    """

    def __init__(self) -> None:
        self._pipeline: DepthCrafterPipeline | None = None
        self._holds: tuple[Any, ...] = ()

    def pipeline(
        self, plan: RunPlan, observer: Observer, warn: Warn
    ) -> "tuple[DepthCrafterPipeline, list[str]]":
        """The pipeline for a run, and what it will tell of running out of memory.

        Raises:
            WeightsError: the weights are missing, damaged or of another architecture.
            MemoryLimitError: there is no room for the networks under the smallest plan.
        """
        import torch

        from depthcrafter_cli.pipeline.retries import until_it_fits

        cap_device(plan.device, plan.request.max_vram)
        told: list[str] = []
        step_down = _fallbacks(plan.memory, told, warn)
        work, memory = partial(self._under, plan, observer, warn), plan.memory.plan
        pipeline = until_it_fits(work, memory, torch.device(plan.device), "load", step_down)
        pipeline.config, pipeline.step_down = plan.config, step_down
        return pipeline, told

    def _under(
        self, plan: RunPlan, observer: Observer, warn: Warn, memory: MemoryPlan
    ) -> "DepthCrafterPipeline":
        """The run's networks under a memory plan."""
        wanted = (plan.weights.path, plan.provenance.weights_sha256, plan.device, plan.dtype)
        if self._pipeline is None or wanted != self._holds:
            self._pipeline = None  # never two models at once
            self._pipeline = _load(plan, memory, observer, warn)
            self._holds = wanted
        else:
            _prepare_again(self._pipeline, memory)
        self._pipeline.components.stash.warn = warn
        return self._pipeline


def _load(
    plan: RunPlan, memory: MemoryPlan, observer: Observer, warn: Warn
) -> "DepthCrafterPipeline":
    observer(Progress("load", 0, 1, unit="model"))
    from depthcrafter_cli.pipeline.pipeline import DepthCrafterPipeline

    pipeline = DepthCrafterPipeline.from_pretrained(
        str(plan.weights.path),
        device=plan.device,
        dtype=plan.request.dtype,
        plan=memory,
        warn=warn,
    )
    observer(Progress("load", 1, 1, unit="model"))
    return pipeline


def _prepare_again(pipeline: "DepthCrafterPipeline", memory: MemoryPlan) -> None:
    """The networks under another run's plan, which may be the same."""
    from depthcrafter_cli.models.device_memory import release_memory, reset_peak

    pipeline.components = pipeline.components.under(memory)
    release_memory(pipeline.components.device)  # blocks of another picture size only fragment
    reset_peak(pipeline.components.device)


def _fallbacks(choice: Choice, told: list[str], warn: Warn) -> "StepDown":
    """Gives the plan to go on with where memory ran out, which the user and the record hear of."""
    tried: set[MemoryPlan] = set()

    def step_down(plan: MemoryPlan, place: Scarce) -> MemoryPlan | None:
        tried.add(plan)
        smaller = choice.smaller(plan, place, tried)
        if smaller is not None:
            where = _PLACES.get(place, f"in {place}")
            told.append(f"memory ran out {where}; went on with {choice.describe(smaller)}")
            warn(f"{told[-1]}.")
        return smaller

    return step_down


_PLACES = {"load": "while the model was loaded", "host": "on the host"}
