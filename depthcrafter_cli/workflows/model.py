"""The one owner of loaded networks, which run after run can use."""

from functools import partial
from typing import TYPE_CHECKING, Any

from depthcrafter_cli.memory.planner import Choice
from depthcrafter_cli.progress import Observer, Progress, Warn
from depthcrafter_cli.types import MemoryPlan, Scarce
from depthcrafter_cli.workflows.memory import cap_device
from depthcrafter_cli.workflows.run_plan import RunPlan

if TYPE_CHECKING:
    from depthcrafter_cli.models.components import Components
    from depthcrafter_cli.pipeline.pipeline import DepthCrafterPipeline
    from depthcrafter_cli.pipeline.retries import StepDown


class LoadedModel:
    """Networks that stay loaded from one run to the next while the same will do.

    Runs may differ in size, settings and memory plan; other weights, another device or
    precision are loaded in their place.
    """

    def __init__(self) -> None:
        self._components: Components | None = None
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

        from depthcrafter_cli.pipeline.pipeline import DepthCrafterPipeline
        from depthcrafter_cli.pipeline.retries import until_it_fits

        cap_device(plan.device, plan.request.max_vram)
        told: list[str] = []
        step_down = _fallbacks(plan.memory, told, warn)
        work, memory = partial(self._under, plan, observer, warn), plan.memory.plan
        components = until_it_fits(work, memory, torch.device(plan.device), "load", step_down)
        return DepthCrafterPipeline(components, plan.config, step_down), told

    def _under(
        self, plan: RunPlan, observer: Observer, warn: Warn, memory: MemoryPlan
    ) -> "Components":
        """The run's networks under a memory plan."""
        wanted = (plan.weights.path, plan.provenance.weights_sha256, plan.device, plan.dtype)
        if self._components is None or wanted != self._holds:
            self._components = None  # never two models at once
            self._components = _load(plan, memory, observer, warn)
            self._holds = wanted
        else:
            self._components = _prepare_again(self._components, memory)
        self._components.stash.warn = warn
        return self._components


def _load(plan: RunPlan, memory: MemoryPlan, observer: Observer, warn: Warn) -> "Components":
    import torch

    observer(Progress("load", 0, 1, unit="model"))
    from depthcrafter_cli.models.devices import make_current
    from depthcrafter_cli.models.loading import load_components

    device, dtype = torch.device(plan.device), getattr(torch, plan.dtype)
    make_current(device)
    components = load_components(
        plan.weights.path, device=device, dtype=dtype, plan=memory, warn=warn
    )
    observer(Progress("load", 1, 1, unit="model"))
    return components


def _prepare_again(components: "Components", memory: MemoryPlan) -> "Components":
    """The networks under another run's plan, which may be the same."""
    from depthcrafter_cli.models.device_memory import release_memory, reset_peak

    components = components.under(memory)
    release_memory(components.device)  # blocks of another picture size only fragment
    reset_peak(components.device)
    return components


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
