"""Depth from Python without files: a video or pictures in, arrays out."""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain, count
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import av
import numpy as np
import numpy.typing as npt

from depthcrafter_cli.errors import InputError, UsageError
from depthcrafter_cli.media.reader import count_frames, probe, read_frames, settled
from depthcrafter_cli.media.resize import output_size
from depthcrafter_cli.media.scale import PictureScaler, resize_disparity
from depthcrafter_cli.media.selection import ReadOptions
from depthcrafter_cli.methods.base import Machine, MethodPlan, MethodRequest, forget
from depthcrafter_cli.methods.registry import DEPTHCRAFTER, method_named
from depthcrafter_cli.options import build
from depthcrafter_cli.progress import Observer, Warn, ignore
from depthcrafter_cli.types import Disparity, RgbImage, Size
from depthcrafter_cli.workflows.memory import budget, memory_errors
from depthcrafter_cli.workflows.model import LoadedModel
from depthcrafter_cli.workflows.run_plan import expected_frames

_READING = frozenset(vars(ReadOptions()))


class Depth(NamedTuple):
    """The depth of a video, or of some frames of it.

    ``disparity`` is float32 [T, H, W], larger is nearer, known up to one scale and one shift for
    the whole video; ``times`` are seconds from its first frame, float64 [T].
    """

    disparity: Disparity
    times: npt.NDArray[np.float64]


def infer(
    video: Any,
    *,
    method: str = DEPTHCRAFTER,
    weights: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    max_vram: float | None = None,
    max_ram: float | None = None,
    warn: Warn = ignore,
    **options: Any,
) -> Depth:
    """The depth of a video, at the size of its pictures: :class:`DepthModel`, used once."""
    limits = {"max_vram": max_vram, "max_ram": max_ram}
    with DepthModel(method, weights, device=device, dtype=dtype, warn=warn, **limits) as model:
        return model(video, **options)


class DepthModel:
    """A method whose networks stay loaded from one video to the next; a context manager.

    Args:
        method: as ``--method`` names it.
        weights: a registered name or a model folder; None is the best present.
        device: ``auto``, ``cuda``, ``cuda:1``, ``mps``, ``xpu`` or ``cpu``.
        dtype: ``auto``, ``fp32``, ``fp16`` or ``bf16``.
        max_vram: GB of the device that may be used; None for what is free.
        max_ram: GB of host memory for what leaves the device; None for what is free.
        warn: receives sentences on what should be known and stops nothing.

    Raises UsageError for a method, device or precision that there is not. Nothing is loaded yet.
    """

    def __init__(
        self,
        method: str = DEPTHCRAFTER,
        weights: str | None = None,
        *,
        device: str = "auto",
        dtype: str = "auto",
        max_vram: float | None = None,
        max_ram: float | None = None,
        warn: Warn = ignore,
    ) -> None:
        from depthcrafter_cli.models.devices import pick_device, pick_dtype

        self._method = method_named(method)
        self._weights, self._dtype = weights, dtype
        self._limits, self._warn = (max_vram, max_ram), warn
        place = pick_device(device, warn)
        self.device = str(place)
        self.dtype = str(pick_dtype(dtype, place, warn)).removeprefix("torch.")
        self._loaded = LoadedModel()

    def __enter__(self) -> "DepthModel":
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
        import torch

        from depthcrafter_cli.models.device_memory import release_memory

        self._loaded = LoadedModel()
        release_memory(torch.device(self.device))

    def __call__(
        self,
        video: Any,
        *,
        max_res: int | None = None,
        size: str = "source",
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
            observer: receives a :class:`~depthcrafter_cli.progress.Progress` per step.
            options: settings of the method, such as ``steps``, ``seed``, ``window``, and for a path
                what selects its frames, such as ``start``, ``end`` and ``fps``.

        Raises:
            UsageError: an option that does not exist here, or a value outside its range.
            InputError: a video that cannot be read, or pictures that are none.
            WeightsError: the weights are missing or damaged.
            MemoryLimitError: there is not enough memory.
        """
        parts = [*self.stream(video, max_res=max_res, size=size, observer=observer, **options)]
        return Depth(*map(np.concatenate, zip(*parts, strict=True)))

    def stream(
        self,
        video: Any,
        *,
        max_res: int | None = None,
        size: str = "source",
        observer: Observer = ignore,
        **options: Any,
    ) -> Iterator[Depth]:
        """The depth of some frames at a time, in order, as soon as it is final.

        The arguments and errors are those of a call, but nothing is held for the whole video.
        """
        reading = {name: options.pop(name) for name in _READING & options.keys()}
        settings = {name: value for name, value in options.items() if value is not None}
        source = _opened(video, reading, self._warn)
        asked = MethodRequest(
            weights=self._weights,
            max_res=max_res,
            settings=settings,
            dtype=self._dtype,
            limits=self._limits,
        )
        plan = self._method.plan(asked, source.size)
        if plan.exact_length or (plan.uses_length and source.path is not None):
            source = source.counted()
        machine = Machine(self.device, self.dtype, budget(self.device, self._limits, self._warn))
        plan = plan.on(machine, source.length)
        written = output_size(size, source.stored, plan.size)
        return self._estimated(plan, source, written, observer)

    def _estimated(
        self, plan: MethodPlan, source: "_Source", written: Size, observer: Observer
    ) -> Iterator[Depth]:
        max_vram, _ = self._limits
        with memory_errors(plan, self.device, capped=max_vram is not None):
            estimator = self._loaded.estimator(plan, max_vram, observer, self._warn)
            times: list[float] = []
            frames = source.frames(plan.size, times)
            stream = estimator(
                frames, total=source.length, observer=observer, resume_from=None, keep=forget
            )
            done = 0
            for disparity in stream:
                scaled = np.stack([resize_disparity(each, written) for each in disparity])
                yield Depth(scaled, np.array(times[done : done + len(disparity)]))
                done += len(disparity)


class _Source(NamedTuple):
    """What is read: a path with its options, or pictures.

    ``size`` is of square pixels, ``stored`` of those that the pictures have.
    ``length`` is how many frames there are, of a path about, None where that is not known.
    """

    size: Size
    stored: Size
    length: int | None
    path: Path | None
    reading: ReadOptions
    pictures: Iterable[RgbImage]
    warn: Warn

    def counted(self) -> "_Source":
        """The same with its exact length. Raises UsageError for a stream."""
        if self.path is not None:
            return self._replace(length=count_frames(self.path, self.reading))
        if self.length is None:
            raise UsageError(
                "got a stream of unknown length with `noise` reference, which is drawn for the "
                "whole video, expected a sequence: make a list of it."
            )
        return self

    def frames(self, size: Size, times: list[float]) -> Iterator[RgbImage]:
        """The pictures at the size that the model sees; their ``times`` are noted."""
        if self.path is not None:
            for frame in read_frames(self.path, size, self.reading, self.warn):
                times.append(float(frame.time))
                yield frame.rgb
            return
        scale = PictureScaler(size)
        for index, picture in zip(count(), self.pictures):
            if picture.shape[:2] != (self.size.height, self.size.width):
                raise InputError(
                    f"got a picture of {picture.shape[1]}x{picture.shape[0]} after pictures of "
                    f"{self.size}, expected one size for the whole video: resize them first."
                )
            times.append(float(index / self.reading.sequence_rate))
            yield scale(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24"))


def _opened(video: Any, reading: dict[str, Any], warn: Warn) -> _Source:
    """What a caller handed over. Raises InputError and UsageError."""
    options = build(ReadOptions, {name: _exact(value) for name, value in reading.items()})
    if isinstance(video, str | Path):
        path = Path(video).expanduser()
        info = probe(path, options)
        options = settled(path, options, info)
        stored = info.size if info.anamorphic is None else info.anamorphic.size
        return _Source(info.size, stored, expected_frames(info, options), path, options, (), warn)
    if unread := reading.keys() - {"sequence_rate"}:
        raise UsageError(
            f"got {', '.join(f'`{name}`' for name in sorted(unread))} with pictures, expected them "
            "with a path alone: select the pictures yourself."
        )
    pictures, length = _pictures(video)
    first = next(pictures, None)
    if first is None:
        raise InputError("got no pictures, expected at least one: check what is handed over.")
    size = Size(*first.shape[:2])
    return _Source(size, size, length, None, options, chain([first], pictures), warn)


def _exact(value: Any) -> Any:
    """Times and rates as fractions: 23.976 is 23.976 and not the float next to it."""
    return Fraction(str(value)) if isinstance(value, float) else value


def _pictures(video: Any) -> tuple[Iterator[RgbImage], int | None]:
    """Pictures uint8 [H, W, 3], and how many they are, None where that is not known.

    Raises InputError for an array that holds no pictures.
    """
    if hasattr(video, "shape") or hasattr(video, "__array__"):
        array = _numpy(video)
        if array.ndim == 5 and len(array) == 1:
            array = array[0]
        if array.ndim not in (3, 4) or (array.ndim == 3 and array.shape[-1] == 3):
            raise InputError(
                f"got an array of shape {list(array.shape)}, expected pictures [T, H, W, 3], "
                "[T, 3, H, W] or [T, H, W]: stack them along the first axis."
            )
        return map(_rgb, array), len(array)
    length = len(video) if hasattr(video, "__len__") else None
    return (_rgb(_numpy(each)) for each in video), length


def _numpy(array: Any) -> npt.NDArray[Any]:
    if hasattr(array, "detach"):  # a tensor, on any device
        array = array.detach().cpu()
        array = array.float() if array.is_floating_point() else array
    return np.asarray(array)


def _rgb(picture: npt.NDArray[Any]) -> RgbImage:
    """One picture as uint8 [H, W, 3]. Raises InputError."""
    if picture.ndim == 3 and picture.shape[0] in (1, 3) and picture.shape[2] not in (1, 3, 4):
        picture = picture.transpose(1, 2, 0)
    if picture.ndim == 2:
        picture = picture[..., None]
    if picture.ndim != 3 or picture.shape[2] not in (1, 3, 4) or not picture.size:
        raise InputError(
            f"got a picture of shape {list(picture.shape)}, expected [H, W, 3], [3, H, W] or "
            "[H, W]: convert it first."
        )
    levels = _levels(picture[..., :3])
    return np.repeat(levels, 3, axis=2) if levels.shape[2] == 1 else levels


def _levels(picture: npt.NDArray[Any]) -> RgbImage:
    """Numbers of a picture as uint8. Raises InputError."""
    levels: RgbImage = picture
    if picture.dtype == np.uint8:
        return levels
    if picture.dtype == np.uint16:
        levels = np.rint(picture / np.float32(257)).astype(np.uint8)
        return levels
    if picture.dtype.kind == "f":
        low, high = float(picture.min()), float(picture.max())
        if low >= -1e-3 and high <= 1 + 1e-3:  # false for what is no number
            levels = np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)
            return levels
        raise InputError(
            f"got a picture of numbers from {low:g} to {high:g}, expected 0 to 1: divide by the "
            "value of white."
        )
    raise InputError(
        f"got a picture of {picture.dtype}, expected uint8, uint16 or floats from 0 to 1: convert "
        "it first."
    )
