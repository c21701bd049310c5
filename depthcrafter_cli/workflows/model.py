"""The one owner of loaded networks, which run after run can use."""

from functools import partial
from typing import TYPE_CHECKING, Any

from depthcrafter_cli.memory.planner import Choice
from depthcrafter_cli.progress import Observer, Progress, Warn
from depthcrafter_cli.types import MemoryPlan, Stage
from depthcrafter_cli.workflows.memory import cap_device
from depthcrafter_cli.workflows.plan import RunPlan

if TYPE_CHECKING:
    from depthcrafter_cli.pipeline.pipeline import DepthCrafterPipeline


class LoadedModel:
    """Networks that stay loaded from one run to the next while the same will do.

    Runs may differ in size, settings and memory plan; other weights, another device or
    precision are loaded in their place.
    """

    def __init__(self) -> None:
        self._pipeline: DepthCrafterPipeline | None = None
        self._holds: tuple[Any, ...] = ()
        self._limit: float | None = None

    def pipeline(
        self, plan: RunPlan, observer: Observer, warn: Warn
    ) -> "tuple[DepthCrafterPipeline, list[str]]":
        """The pipeline for a run, and what it will tell of running out of memory.

        Raises WeightsError.
        """
        if plan.request.max_vram != self._limit:
            self._limit = plan.request.max_vram
            cap_device(plan.device, self._limit)
        wanted = (plan.weights.path, plan.facts["weights_sha256"], plan.device, plan.dtype)
        if self._pipeline is None or wanted != self._holds:
            self._pipeline = None  # never two models at once
            self._pipeline = _load(plan, observer)
            self._holds = wanted
        else:
            _prepare_again(self._pipeline, plan.memory.plan)
        pipeline, retreats = self._pipeline, list[str]()
        pipeline.config = plan.config
        pipeline.step_down = partial(_retreat, retreats, warn, plan.memory)
        return pipeline, retreats


def _load(plan: RunPlan, observer: Observer) -> "DepthCrafterPipeline":
    observer(Progress("load", 0, 1, unit="model"))
    from depthcrafter_cli.pipeline.pipeline import DepthCrafterPipeline

    pipeline = DepthCrafterPipeline.from_pretrained(
        str(plan.weights.path),
        device=plan.device,
        dtype=plan.request.dtype,
        plan=plan.memory.plan,
    )
    observer(Progress("load", 1, 1, unit="model"))
    return pipeline


def _prepare_again(pipeline: "DepthCrafterPipeline", memory: MemoryPlan) -> None:
    """The networks under another run's plan, which may be the same."""
    import torch

    pipeline.components = pipeline.components.under(memory)
    if pipeline.components.device.type == "cuda":
        torch.cuda.empty_cache()  # blocks of another picture size only fragment
        torch.cuda.reset_peak_memory_stats(pipeline.components.device)


def _retreat(
    told: list[str], warn: Warn, choice: Choice, plan: MemoryPlan, stage: Stage
) -> MemoryPlan | None:
    """The plan to go on with where memory ran out, which the user and the record are told of."""
    smaller = choice.smaller(plan, stage)
    if smaller is not None:
        told.append(f"memory ran out in {stage} under {plan}; went on with {smaller}")
        warn(f"{told[-1]}.")
    return smaller
