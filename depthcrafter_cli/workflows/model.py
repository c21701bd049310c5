"""The one owner of loaded networks, which run after run can use."""

from typing import Any

from depthcrafter_cli.methods.base import Estimator, MethodPlan
from depthcrafter_cli.progress import Observer, Warn
from depthcrafter_cli.workflows.memory import cap_device


class LoadedModel:
    """Networks that stay loaded from one run to the next while the same will do.

    Runs may differ in size, settings and memory plan; other weights, another method, device or
    precision are loaded in their place.
    """

    def __init__(self) -> None:
        self._networks: Any = None
        self._key: Any = None

    @property
    def networks(self) -> Any:
        """What is loaded, None if nothing is."""
        return self._networks

    def estimator(
        self, plan: MethodPlan, max_vram: float | None, observer: Observer, warn: Warn
    ) -> Estimator:
        """What makes the disparity of a run, on a card of which ``max_vram`` GB may be used.

        Raises:
            WeightsError: the weights are missing, damaged or of another architecture.
            MemoryLimitError: there is no room for the networks under the smallest plan.
        """
        from depthcrafter_cli.models.undisturbed import undisturbed

        assert plan.machine is not None
        cap_device(plan.machine.device, max_vram)
        key = plan.networks_key
        held = self._networks if key == self._key else None
        self._networks = self._key = None  # never two models at once
        with undisturbed(inference=False):
            estimator = plan.load(held, observer, warn)
        self._networks, self._key = estimator.networks, key
        return estimator
