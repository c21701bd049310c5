"""DepthCrafter: windows of a shot, denoised together and stitched."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from depthcrafter_cli.errors import MemoryLimitError, UsageError, WeightsError
from depthcrafter_cli.media.resize import model_size
from depthcrafter_cli.media.spool import expected_spool_bytes
from depthcrafter_cli.memory.architecture import Architecture
from depthcrafter_cli.memory.cards import Card
from depthcrafter_cli.memory.duration import Duration, duration
from depthcrafter_cli.memory.estimate import Workload
from depthcrafter_cli.memory.planner import Fallbacks, MemoryChoice, choose
from depthcrafter_cli.memory.work import Work
from depthcrafter_cli.methods.base import (
    Estimator,
    Keep,
    Machine,
    MethodPlan,
    MethodRequest,
    ResumePoint,
    configured,
    size_within,
)
from depthcrafter_cli.models.layout import CONFIGS_EXPECTED, DEPTHCRAFTER_LAYOUT, network_configs
from depthcrafter_cli.models.weights import InstalledModel, find_configs, find_weights
from depthcrafter_cli.pipeline.config import PipelineConfig
from depthcrafter_cli.pipeline.overlaps import PIXELS, has_skeleton
from depthcrafter_cli.pipeline.windows import count_windows
from depthcrafter_cli.progress import Observer, Progress, StageWork, Warn
from depthcrafter_cli.structured import content_errors
from depthcrafter_cli.types import Disparity, MemoryPlan, RgbImage, Size

if TYPE_CHECKING:
    from depthcrafter_cli.models.components import Components
    from depthcrafter_cli.pipeline.resume_point import WindowPoint

_ITEMSIZES = {"float32": 4, "float16": 2, "bfloat16": 2}


class DepthCrafterMethod:
    """Every model of this program's own layout: the published one, nano, and what is trained."""

    name: ClassVar[str] = "depthcrafter"

    def find(self, weights: str | None) -> InstalledModel:
        """The model folder that `weights` means; None is the best one present."""
        found = find_weights(weights)
        if found.spec.layout != DEPTHCRAFTER_LAYOUT:
            raise UsageError(
                f"got `weights` {weights}, which is a method of its own, expected a model of "
                f'DepthCrafter networks: pass `method="{weights}"` instead.'
            )
        return found

    def plan(self, request: MethodRequest, source: Size) -> "DepthCrafterPlan":
        """Settle what is asked. Raises UsageError, WeightsError."""
        found = find_configs(request.weights) if request.planned_only else None
        if found is None or found.spec.layout != DEPTHCRAFTER_LAYOUT:
            found = self.find(request.weights)
        suited = found.settings
        config = PipelineConfig(
            steps=suited.steps,
            window=suited.window,
            overlap=suited.overlap,
            noise="reference" if request.reference else "frame",
        )
        longest = suited.max_res if request.max_res is None else request.max_res
        size_of = model_size if request.reference else size_within
        return DepthCrafterPlan(
            weights=found,
            spec=found.spec,
            size=size_of(source, longest, suited.multiple),
            multiple=suited.multiple,
            config=configured(config, request, self.name),
        )


@dataclass(frozen=True, kw_only=True)
class DepthCrafterPlan(MethodPlan):
    """Windows of frames, with a memory plan that is computed before anything is loaded.

    ``choice`` is that plan and how it was chosen; None until the machine is known.
    """

    uses_length: ClassVar[bool] = True  # windows are spread over a shot
    config: PipelineConfig
    choice: MemoryChoice | None = None
    weights: InstalledModel

    @property
    def memory(self) -> MemoryChoice:
        """The memory plan, once the machine is known."""
        assert self.choice is not None
        return self.choice

    @property
    def settings(self) -> Mapping[str, Any]:
        """The pipeline's settings, as plain values."""
        return asdict(self.config)

    @property
    def exact_length(self) -> bool:
        """The published noise is drawn for the whole shot."""
        return self.config.noise == "reference"

    def on(
        self,
        machine: Machine,
        frames: int | None,
        settings: Mapping[str, Any] | None = None,
    ) -> "DepthCrafterPlan":
        """With a memory plan; where none fits, with shorter windows, unless a run is to go on."""
        config = self.config if settings is None else PipelineConfig(**settings)
        choice = _choose(self.weights, config, self.size, frames, machine)
        if choice.shortened and settings is not None:
            raise MemoryLimitError(
                f"got a run to go on with that has windows of {config.window} frames, and no more "
                f"than {choice.workload.window} fit now, expected the memory it began with: free "
                "some, or start again with `overwrite=True`."
            )
        if choice.shortened:
            config = replace(config, window=choice.workload.window)
        return replace(self, machine=machine, config=config, choice=choice)

    @property
    def memory_plan(self) -> MemoryPlan:
        """How the networks' work is cut up."""
        return self.memory.plan

    def with_memory(self, plan: MemoryPlan) -> "DepthCrafterPlan":
        """Return the same plan with another memory plan."""
        return replace(self, choice=replace(self.memory, plan=plan))

    @property
    def memory_details(self) -> Mapping[str, Any]:
        """The memory plan and its predicted peaks in bytes, as plain values."""
        plan, peaks = self.memory.plan, self.memory.peaks
        switches = (
            "encode_batch", "offload_networks", "offload_blocks", "offload_skips", "encode_by_rows",
            "recompute_decode",
        )  # fmt: skip
        stages = ("image_encoder", "encode", "denoise", "decode")
        return {
            "chunk_values": plan.chunk_values,
            **{name: getattr(plan, name) for name in switches},
            "window": self.memory.workload.window,
            "predicted_bytes": {stage: getattr(peaks, stage) for stage in stages},
            "host_bytes": peaks.host,
            "bus_bytes_per_step": peaks.bus_bytes,
            "concessions": list(self.memory.concessions),
        }

    @property
    def peak_bytes(self) -> int:
        """The most bytes that the planner predicts."""
        return self.memory.measured_as

    @property
    def changed(self) -> str:
        """A sentence on windows that became shorter; empty if none did."""
        return self.memory.concessions[-1] if self.memory.shortened else ""

    def exhausted(self, words: str, free: int | None, *, capped: bool) -> str:
        """Return what to say where memory ran out, with what would fit."""
        return self.memory.exhausted(words, free, capped=capped)

    def windows(self, frames: int | None) -> int | None:
        """Windows that so many frames are cut into."""
        if frames is None:
            return None
        return count_windows(frames, self.config.window, self.config.overlap)

    def state_bytes(self, frames: int) -> int:
        """The disparity, and of each two windows some pixels of two chunks of frames."""
        few = Size(1, min(PIXELS, self.size.height * self.size.width))
        compared = (self.config.align != "off") * 2 * self.config.decode_chunk
        own = expected_spool_bytes(few, compared * self._denoised(frames))
        return super().state_bytes(frames) + own

    def stage_work(self, frames: int) -> dict[str, StageWork]:
        """By operations, counted from shapes, so that the stages can be compared on any device."""
        work, windows = Work.of(self.memory.model, self.memory.workload), self._denoised(frames)
        step = work.denoise * self.memory.workload.window * self._passes
        return {
            "condition": StageWork(frames, work.image_encoder + work.encode),
            "denoise": StageWork(windows * self.config.steps, step),
            "decode": StageWork(frames, work.decode),
        }

    def time_on(self, card: Card, frames: int) -> Duration | None:
        """By operations and what the card does of them."""
        windows, config = self._denoised(frames), self.config
        passes, batch = config.steps * self._passes, config.encode_batch
        known = {"frames": frames, "windows": windows, "passes": passes, "batch": batch}
        return duration(self.memory, card, **known)

    def _denoised(self, frames: int) -> int:
        """Windows of so many frames, with the one that others may be compared with."""
        windows = count_windows(frames, self.config.window, self.config.overlap)
        return windows + has_skeleton(self.config.align, windows)

    @property
    def _passes(self) -> int:
        """How often the network runs for one step."""
        return 2 if self.config.guidance > 1 else 1

    def how(self, windows: int | None) -> str:
        """Return the numbers of windows and steps, in words."""
        steps = "1 step" if self.config.steps == 1 else f"{self.config.steps} steps"
        each = f"windows of {self.config.window} frames, overlap {self.config.overlap}"
        counted = {None: each, 1: "1 window"}.get(windows, f"{windows} {each}")
        aligned = "" if self.config.align == "off" else f", aligned by {self.config.align}"
        return f"{counted}, {steps} each{aligned}"

    @property
    def details(self) -> Mapping[str, Any]:
        """The window and the overlap, in frames."""
        return {"window": self.config.window, "overlap": self.config.overlap}

    def memory_words(self) -> str:
        """The prediction, and what was done for it."""
        memory = self.memory
        done = ", ".join(memory.concessions) or "everything on the device"
        apart = memory.peaks.host and memory.device != "cpu"
        host = f", host {memory.peaks.host / 1e9:.1f} GB" if apart else ""
        return f"{memory.measured_as / 1e9:.2f} GB predicted{host}: {done}"

    def memory_lines(self) -> Iterator[tuple[str, str]]:
        """Yield each stage's name, and its peak with what is done to bound it."""
        memory, plan = self.memory, self.memory.plan
        cut = f"chunks of {plan.chunk_values / 1e6:.3g} M values"
        batch = f"{plan.encode_batch} frames at a time"
        rows = (
            ("image encoder", memory.peaks.image_encoder, batch),
            ("VAE encoder", memory.peaks.encode, f"{batch}{', by rows' * plan.encode_by_rows}"),
            (
                "denoiser",
                memory.peaks.denoise,
                f"windows of {memory.workload.window} frames, {cut}"
                + ", one block at a time" * plan.offload_blocks
                + ", skips on the host" * plan.offload_skips,
            ),
            (
                "VAE decoder",
                memory.peaks.decode,
                f"{memory.workload.decode_chunk} frames together, {cut}"
                + ", some layers twice" * plan.recompute_decode,
            ),
        )
        yield f"{'stage':<15}{'peak':>9}  ", "how"
        for stage, peak, how in rows:
            yield f"{stage:<15}{peak / 1e9:>6.2f} GB  ", how
        whole = f"{memory.measured_as / 1e9:.2f} GB"
        host, bus = memory.peaks.host / 1e9, memory.peaks.bus_bytes / 1e9
        apart = f"device {whole}, host {host:.2f} GB, {bus:.2f} GB over the bus per denoising step"
        yield "", f"{whole} of RAM in all" if memory.device == "cpu" else apart
        for sentence in memory.concessions:
            yield "- ", sentence

    def load(self, networks: Any, observer: Observer, warn: Warn) -> Estimator:
        """Load the networks, or bring those that are loaded under this plan."""
        import torch

        from depthcrafter_cli.pipeline.retries import until_it_fits

        assert self.machine is not None
        fallback = Fallbacks(self.memory, warn)
        work = partial(self._components, networks, observer, warn)
        device = torch.device(self.machine.device)
        components = until_it_fits(work, self.memory.plan, device, "load", fallback)
        return DepthCrafterEstimator(components, self.config, fallback)

    def _components(
        self, held: "Components | None", observer: Observer, warn: Warn, memory: MemoryPlan
    ) -> "Components":
        """Return the loaded networks under a memory plan."""
        import torch

        from depthcrafter_cli.models.device_memory import release_memory, reset_peak
        from depthcrafter_cli.models.devices import make_current
        from depthcrafter_cli.models.loading import load_components

        assert self.machine is not None
        if held is not None:
            components = held.under(memory)
            release_memory(components.device)  # blocks of another picture size only fragment
            reset_peak(components.device)
        else:
            device = torch.device(self.machine.device)
            observer(Progress("load", 0, 1, unit="model"))
            make_current(device)
            dtype = getattr(torch, self.machine.dtype)
            components = load_components(
                self.weights.path, device=device, dtype=dtype, plan=memory,
                adapter=self.weights.adapter, warn=warn,
            )  # fmt: skip
            observer(Progress("load", 1, 1, unit="model"))
        components.host_memory.warn = warn
        return components


class DepthCrafterEstimator:
    """One pass of the pipeline, with its points to go on from."""

    def __init__(
        self, components: "Components", config: PipelineConfig, fallback: Fallbacks
    ) -> None:
        from depthcrafter_cli.models.fused import fusion

        self.networks, self.fallbacks = components, fallback.told
        self.kernels = fusion(components.device.type).words
        self._config, self._fallback = config, fallback

    def first_read(self, point: ResumePoint) -> int:
        """Batches are encoded as if nothing had stopped, to the bit."""
        return _window_point(point).first_read(self._config.encode_batch)

    def __call__(
        self,
        frames: Iterable[RgbImage],
        *,
        total: int | None,
        observer: Observer,
        resume_from: ResumePoint | None,
        keep: Keep,
    ) -> Iterator[Disparity]:
        """See :class:`~depthcrafter_cli.methods.base.Estimator`."""
        from depthcrafter_cli.pipeline.pipeline import estimate_disparity

        return estimate_disparity(
            replace(self.networks, plan=self._fallback.plan),
            self._config,
            frames,
            fallback=self._fallback,
            total=total,
            observer=observer,
            start=None if resume_from is None else _window_point(resume_from),
            keep=lambda point: keep(_point(point)),
        )


def _point(point: "WindowPoint") -> ResumePoint:
    tensors = {name: getattr(point, name) for name in ("latents", "overlap", "under_way")}
    tensors |= {f"keys{number}": part for number, part in enumerate(point.keys)}
    return ResumePoint(
        decoded=point.decoded,
        waiting=len(point.latents),
        last=point.last,
        midway=point.under_way is not None,
        counts={"windows": point.windows, "steps": point.steps},
        tensors={name: tensor for name, tensor in tensors.items() if tensor is not None},
        overlaps=point.overlaps,
    )


def _window_point(point: ResumePoint) -> "WindowPoint":
    from depthcrafter_cli.pipeline.resume_point import WindowPoint

    parts: dict[str, Any] = {"overlap": None, **point.tensors, **point.counts}
    latents = parts.pop("latents")
    keys = tuple(parts.pop(name) for name in sorted(parts) if name.startswith("keys"))
    # The frames that were decoded since the point was kept need no latents any more.
    return WindowPoint(
        decoded=point.decoded,
        latents=latents[len(latents) - point.waiting :],
        last=point.last,
        keys=keys,
        **parts,
    )


def _choose(
    weights: InstalledModel,
    config: PipelineConfig,
    size: Size,
    frames: int | None,
    machine: Machine,
) -> MemoryChoice:
    """The memory plan of a run. Raises MemoryLimitError where none fits."""
    from depthcrafter_cli.models.silent import silent_layers

    configs = network_configs(weights.path)
    silent = {name: silent_layers(weights.path, name, weights.adapter) for name in ("unet", "vae")}
    with content_errors(weights.path, WeightsError, CONFIGS_EXPECTED):
        model = Architecture.of(**configs, silent=silent)
    window = config.window if frames is None else min(config.window, frames)
    workload = Workload(
        size, window, config.decode_chunk, _ITEMSIZES[machine.dtype], machine.in_pieces,
        machine.fused,
    )  # fmt: skip
    return choose(
        model, workload, machine.budget, machine.device.split(":")[0],
        batch=config.encode_batch, overlap=config.overlap, whole=config.noise == "reference",
        card=machine.card,
    )  # fmt: skip
