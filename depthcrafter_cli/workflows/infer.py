"""Depth from Python without files: a video or pictures in, arrays out."""

import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from depthcrafter_cli.depth.align import Overlap
from depthcrafter_cli.errors import UsageError
from depthcrafter_cli.media.inputs import VideoInput, open_input
from depthcrafter_cli.media.resize import output_size
from depthcrafter_cli.media.scale import resize_disparity
from depthcrafter_cli.media.selection import ReadOptions
from depthcrafter_cli.methods.base import (
    Estimator,
    Keep,
    Machine,
    MethodPlan,
    MethodRequest,
    forget,
    refuse,
)
from depthcrafter_cli.methods.registry import DEPTHCRAFTER, method_named
from depthcrafter_cli.models.layout import DEPTHCRAFTER_LAYOUT
from depthcrafter_cli.models.pretrained import (
    HubCache,
    Pretrained,
    find_pretrained,
    save_pretrained,
)
from depthcrafter_cli.models.registry import MODELS
from depthcrafter_cli.options import as_kind, options_of, require_functions
from depthcrafter_cli.progress import Observer, Warn, ignore
from depthcrafter_cli.types import Size
from depthcrafter_cli.workflows.arrays import Depth as Depth
from depthcrafter_cli.workflows.arrays import joined, shots_of
from depthcrafter_cli.workflows.compute import of_film
from depthcrafter_cli.workflows.diffusers_names import (
    INSTEAD,
    after_each_step,
    as_called,
    place_of,
    precision_of,
    settings_of_call,
)
from depthcrafter_cli.workflows.memory import Limits, machine, memory_errors
from depthcrafter_cli.workflows.model import LoadedModel
from depthcrafter_cli.workflows.request import AUTO_CUTS, RunRequest

if TYPE_CHECKING:
    import torch

_READING = frozenset(vars(ReadOptions()))
Callback = Callable[["DepthCrafterPipeline", int, float, dict[str, Any]], object]


def _settled(name: str, value: Any) -> Any:
    """The value of an option of a run. Raises UsageError."""
    return options_of(RunRequest)[name].settled(value)


def infer(
    video: Any,
    *,
    method: str = DEPTHCRAFTER,
    weights: "str | os.PathLike[str] | None" = None,
    device: "str | torch.device" = "auto",
    dtype: "str | torch.dtype" = "auto",
    max_vram: float | None = None,
    max_ram: float | None = None,
    warn: Warn = ignore,
    **options: Any,
) -> Depth:
    """The depth of a video: a :class:`DepthCrafterPipeline`, called once with ``options``."""
    with DepthCrafterPipeline.from_pretrained(
        weights, method=method, device=device, dtype=dtype, max_vram=max_vram, max_ram=max_ram,
        warn=warn,
    ) as pipeline:  # fmt: skip
        return pipeline(video, **options)


class DepthCrafterPipeline:
    """Depth of videos, with networks that stay loaded from one to the next.

    :meth:`from_pretrained` makes one. Nothing is loaded before it is needed, and what is loaded is
    let go by :meth:`unload`, or at the end of a ``with`` block.
    """

    def __init__(
        self, model: Pretrained, method: str, *, device: str, dtype: str, limits: Limits,
        warn: Warn = ignore, loaded: LoadedModel | None = None,
    ) -> None:  # fmt: skip
        """See :meth:`from_pretrained`, which finds the ``model`` first.

        What ``loaded`` holds is used; without it the pipeline loads its own.
        """
        require_functions(warn=warn)
        self._limits = _settled("max_vram", limits[0]), _settled("max_ram", limits[1])
        self._model, self._method, self._warn = model, method_named(method), warn
        self._loaded, self._asked = loaded or LoadedModel(), (device, dtype)
        self._place()
        self._method.find(model.weights)  # whether it is there

    @classmethod
    def from_pretrained(
        cls,
        weights: "str | os.PathLike[str] | None" = None,
        *,
        unet: "str | os.PathLike[str] | None" = None,
        method: str = DEPTHCRAFTER,
        device: "str | torch.device" = "auto",
        dtype: "str | torch.dtype" = "auto",
        torch_dtype: "str | torch.dtype | None" = None,
        variant: str | None = None,
        local_files_only: bool = False,
        max_vram: float | None = None,
        max_ram: float | None = None,
        warn: Warn = ignore,
    ) -> "DepthCrafterPipeline":
        """Find a model. What is not here of a repository of the hub is downloaded.

        Args:
            weights: a registered name, a model folder or a repository of the hub, such as
                ``tencent/DepthCrafter``; None is the best present.
            unet: the same for the UNet, where it lies apart from the other networks.
            method: as ``--method`` names it, where it is not DepthCrafter.
            device: ``auto``, ``cuda``, ``cuda:1``, ``mps``, ``xpu`` or ``cpu``.
            dtype: ``auto``, ``fp32``, ``fp16`` or ``bf16``, or PyTorch's; also ``torch_dtype``.
            variant: of the files to download, such as ``fp16``.
            local_files_only: whether nothing may be downloaded.
            max_vram: GB of the device that may be used, for which each call is planned; None for
                what is free.
            max_ram: GB of host memory for what leaves the device; None for what is free.
            warn: receives sentences on what should be known and stops nothing.

        Raises:
            UsageError: a method, device, precision or limit that there is not.
            WeightsError: files are missing or cannot be had.
        """
        model, apart = (None if name is None else place_of(name) for name in (weights, unet))
        method = _settled("method", method)
        layout = MODELS[method].layout if method in MODELS else DEPTHCRAFTER_LAYOUT
        found = find_pretrained(model, apart, layout, HubCache(variant, local_files_only))
        if method == DEPTHCRAFTER and found.spec and found.spec.layout != DEPTHCRAFTER_LAYOUT:
            method = found.spec.name
        return cls(
            found, method, device=str(device), limits=(max_vram, max_ram), warn=warn,
            dtype=precision_of(dtype if torch_dtype is None else torch_dtype),
        )  # fmt: skip

    def _place(self) -> None:
        from depthcrafter_cli.models.devices import pick_device, pick_dtype

        device, dtype = self._asked
        self.device = pick_device(device, self._warn)
        self.dtype = pick_dtype(dtype, self.device, self._warn)

    def to(
        self,
        *places: Any,
        device: "str | torch.device | None" = None,
        dtype: "str | torch.dtype | None" = None,
    ) -> "DepthCrafterPipeline":
        """Compute elsewhere, or in another precision, from now on; returns the pipeline itself.

        Both may be given without their names. Networks that are loaded elsewhere are let go at
        once, and the next call loads them where they are wanted then.

        Raises UsageError for a device or precision that there is not.
        """
        import torch

        for place in places:
            if isinstance(place, torch.dtype):
                dtype = place
            else:
                device = place
        before, asked = (self.device, self.dtype), self._asked
        self._asked = (
            asked[0] if device is None else str(device),
            asked[1] if dtype is None else precision_of(dtype),
        )
        try:
            self._place()
        except UsageError:
            self._asked = asked
            raise
        if (self.device, self.dtype) != before:
            self._unload(before[0])
        return self

    def __enter__(self) -> "DepthCrafterPipeline":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.unload()

    def unload(self) -> None:
        """Free the memory of the networks; the next call loads them again."""
        self._unload(self.device)

    def _unload(self, device: "torch.device") -> None:
        from depthcrafter_cli.models.device_memory import release_memory

        self._loaded = LoadedModel()
        release_memory(device)

    @property
    def unet(self) -> Any:
        """The UNet, loaded now if it is not; where a call leaves it is the memory plan's choice."""
        return self._network("unet")

    @property
    def vae(self) -> Any:
        """The VAE, like :attr:`unet`."""
        return self._network("vae")

    @property
    def image_encoder(self) -> Any:
        """The CLIP image encoder, like :attr:`unet`."""
        return self._network("image_encoder")

    def _network(self, name: str) -> Any:
        """A network of the loaded model; loaded as for large pictures, if none is loaded."""
        networks = self._loaded.networks
        if networks is None:
            plan = self._method.plan(self._request(), Size(1024, 1024)).on(self._machine(), None)
            networks = self._estimator(plan, ignore).networks
        return getattr(networks, name)

    def __getattr__(self, name: str) -> NoReturn:
        instead = f": {INSTEAD[name]}" if name in INSTEAD else ""
        raise AttributeError(f"a {type(self).__name__} has no {name}{instead}")

    def save_pretrained(self, folder: "str | os.PathLike[str]") -> None:
        """Write the model as one folder, which ``--weights`` and :meth:`from_pretrained` take.

        Files are copied, so that what was done to loaded networks is not in them.

        Raises:
            UsageError: a method without weights.
            OutputError: a folder that holds anything, or cannot be written.
        """
        found = self._method.find(self._model.weights)
        if found is None:
            raise UsageError(
                f"got `method` {self._method.name}, which has no weights, expected one that has: "
                "there is nothing to save."
            )
        save_pretrained(found, as_kind(Path, "folder", folder))

    def __call__(
        self,
        video: Any,
        *,
        max_res: int | None = None,
        size: str = "source",
        cuts: "str | os.PathLike[str]" = AUTO_CUTS,
        generator: "torch.Generator | None" = None,
        output_type: str = "np",
        callback_on_step_end: Callback | None = None,
        observer: Observer = ignore,
        **options: Any,
    ) -> Depth:
        """The depth of a whole video.

        Args:
            video: a path, as ``depthcrafter run`` takes it; or pictures of one size: an array or
                tensor [T, H, W, 3], [T, 3, H, W], [T, H, W] or one of these in a batch of one, or
                a sequence or stream of such pictures or of PIL's. Integers are 0 to 255 (0 to 65535
                in 16 bits), floats 0 to 1.
            max_res: the longest side that the model sees, in pixels; None is the model's own.
            size: of the result: ``source``, ``model`` or ``WIDTHxHEIGHT``.
            cuts: where a film at a path is cut, as ``--cuts`` says it: each shot gets depth of its
                own. Pictures are one shot.
            generator: whose seed is taken, in place of ``seed``; it is not advanced.
            output_type: ``np`` for arrays of NumPy, ``pt`` for tensors on the CPU.
            callback_on_step_end: is called after each denoising step with this pipeline, the number
                of the step, counted from 0 over all windows, its timestep, and an empty dictionary.
            observer: receives a :class:`~depthcrafter_cli.progress.Progress` per step of any kind.
            options: settings of the method, such as ``steps`` (or ``num_inference_steps``),
                ``guidance`` (``guidance_scale``), ``seed``, ``window`` (``window_size``) and
                ``overlap``; and for a path what selects its frames, such as ``start``, ``end`` and
                ``fps``.

        An error that a callback or an observer raises ends the call.

        Raises:
            UsageError: an option that does not exist here, or a value outside its range.
            InputError: a video that cannot be read, or pictures that are none.
            WeightsError: the weights are missing or damaged.
            MemoryLimitError: there is not enough memory.
        """
        if output_type not in ("np", "pt"):
            raise UsageError(
                f"got `output_type` {output_type!r}, expected 'np' or 'pt': choose one."
            )
        shared = defaultdict[int, list[Overlap]](list)  # by their shot
        parts = self._parts(
            lambda shot: lambda point: shared[shot].extend(point.overlaps), video, max_res=max_res,
            size=size, cuts=cuts, generator=generator, callback_on_step_end=callback_on_step_end,
            observer=observer, **options,
        )  # fmt: skip
        depth = joined(parts, shared)
        return depth if output_type == "np" else depth.as_tensors()

    def stream(self, video: Any, **options: Any) -> Iterator[Depth]:
        """The depth of some frames at a time, in order, as soon as it is final.

        The arguments and errors are those of a call, which are checked at once; but nothing is held
        for the whole video, so that there is no ``output_type`` and windows cannot be aligned.
        """
        if options.get("align", "off") != "off":
            raise UsageError(
                f"got `align` {options['align']} for a stream, expected off, as all of a shot must "
                "be known for it: call the pipeline itself, or leave it out."
            )
        return self._parts(lambda _shot: forget, video, **options)

    def _parts(
        self, keep: Callable[[int], Keep], video: Any, *, max_res: int | None = None,
        size: str = "source", cuts: "str | os.PathLike[str]" = AUTO_CUTS,
        generator: "torch.Generator | None" = None, callback_on_step_end: Callback | None = None,
        observer: Observer = ignore, **options: Any,
    ) -> Iterator[Depth]:  # fmt: skip
        """See :meth:`stream`."""
        require_functions(observer=observer, callback_on_step_end=callback_on_step_end or ignore)
        reading = {name: options.pop(name) for name in _READING & options.keys()}
        settings, typed = settings_of_call(options, generator)
        max_res, size, cuts = (
            _settled(name, value)
            for name, value in (("max_res", max_res), ("size", size), ("cuts", cuts))
        )
        source = open_input(video, reading, self._warn)
        try:
            plan = self._method.plan(self._request(max_res, settings), source.size)
        except UsageError as error:
            raise UsageError(as_called(str(error), typed)) from None
        written = output_size(size, source.stored, plan.size)
        if callback_on_step_end is not None:
            if self._method.name != DEPTHCRAFTER:
                refuse(self._method.name, "callback_on_step_end")
            call = partial(callback_on_step_end, self)
            observer = after_each_step(call, plan.settings["steps"], observer)
        if plan.exact_length and source.path is None:
            source.require_length()
        shots = shots_of(source, os.fspath(cuts), plan, observer)
        longest = None if None in shots else max(filter(None, shots))
        plan = plan.on(self._machine(), longest)
        return self._estimated(plan, source, shots, written, observer, keep)

    def _request(
        self, max_res: int | None = None, settings: Mapping[str, Any] | None = None
    ) -> MethodRequest:
        return MethodRequest(
            weights=self._model.weights,
            max_res=max_res,
            settings=settings or {},
            dtype=self._asked[1],
            limits=self._limits,
        )

    def _machine(self) -> Machine:
        device, dtype = str(self.device), str(self.dtype).removeprefix("torch.")
        return machine(device, dtype, self._limits, self._warn)

    def _estimator(self, plan: MethodPlan, observer: Observer) -> Estimator:
        max_vram, _ = self._limits
        with memory_errors(plan, str(self.device), capped=max_vram is not None):
            return self._loaded.estimator(plan, max_vram, observer, self._warn)

    def _estimated(
        self, plan: MethodPlan, source: VideoInput, shots: Sequence[int | None], written: Size,
        observer: Observer, keep: Callable[[int], Keep],
    ) -> Iterator[Depth]:  # fmt: skip
        estimator = self._estimator(plan, observer)
        with memory_errors(plan, str(self.device), capped=self._limits[0] is not None):
            times: list[float] = []
            frames = source.frames(plan.size, times)
            done = 0
            for index, total in enumerate(shots):
                shot = frames if len(shots) == 1 else islice(frames, total)
                watch, begins = of_film(observer, plan, shots, index), (0,) if index else ()
                for disparity in estimator(
                    shot, total=total, observer=watch, resume_from=None, keep=keep(index)
                ):
                    scaled = np.stack([resize_disparity(each, written) for each in disparity])
                    yield Depth(scaled, np.array(times[done : done + len(disparity)]), begins)
                    done, begins = done + len(disparity), ()
