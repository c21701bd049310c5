"""The socket of a method: all that a run asks of what turns frames into disparity.

A :class:`DepthMethod` settles what it would do with a video, without PyTorch; the
:class:`MethodPlan` that comes of it knows the machine, tells all there is to tell of the work, and
loads an :class:`Estimator`, which does it. What is read, kept, resumed, normalised and written is
the same for every method.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

from depthcrafter_cli.errors import UsageError
from depthcrafter_cli.media.resize import model_size, within
from depthcrafter_cli.media.spool import expected_spool_bytes
from depthcrafter_cli.memory.budget import Budget
from depthcrafter_cli.memory.cards import Card
from depthcrafter_cli.memory.duration import Duration
from depthcrafter_cli.models.registry import ModelSpec
from depthcrafter_cli.models.weights import InstalledModel
from depthcrafter_cli.progress import Observer, StageWork, Warn
from depthcrafter_cli.types import Disparity, MemoryPlan, RgbImage, Size

if TYPE_CHECKING:
    from torch import Tensor

    from depthcrafter_cli.depth.align import Overlap

AFFINE = "affine-invariant, larger is nearer"
"""What the numbers of most methods mean, as records say it."""


@dataclass(frozen=True)
class MethodRequest:
    """What a user asks of a method; None means the method's own choice.

    Attributes:
        weights: a registered name or a model folder.
        max_res: the longest side of the pictures that the method sees, in pixels.
        reference: whether the reference program is to be reproduced.
        settings: of the method, by name.
        dtype: ``auto`` or a precision.
        limits: GB of the device and of the host that may be used, None for what is free.
        planned_only: whether weights that are not here will do, if their configs are.
    """

    weights: str | None = None
    max_res: int | None = None
    reference: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)
    dtype: str = "auto"
    limits: tuple[float | None, float | None] = (None, None)
    planned_only: bool = False


@dataclass(frozen=True)
class Machine:
    """What computes: a device and a precision by PyTorch's names, and the memory that is there.

    ``name`` is what the device is called, ``card`` what is known of a GPU, ``in_pieces`` whether
    its attention forms all products, ``fused`` whether Triton's kernels compute its norms.
    """

    device: str
    dtype: str
    budget: Budget
    name: str = ""
    card: Card | None = None
    in_pieces: bool = False
    fused: bool = False


@dataclass(frozen=True)
class ResumePoint:
    """Where a pass over a shot can go on.

    Attributes:
        decoded: frames whose disparity was handed out.
        waiting: frames after those that were read and whose disparity is still to come.
        last: whether the shot has no frames beyond them.
        midway: whether it lies within a piece of work, so that it may be left out where the pass
            is quick.
        counts: numbers of the method's own.
        tensors: of the method's own, by name.
        overlaps: what windows say of frames that they share, as far as no point before told it;
            none of a method whose result is of one scale.
    """

    decoded: int
    waiting: int
    last: bool
    midway: bool = False
    counts: Mapping[str, int] = field(default_factory=dict)
    tensors: "Mapping[str, Tensor]" = field(default_factory=dict)
    overlaps: "tuple[Overlap, ...]" = ()

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.last and not self.waiting


Keep = Callable[[ResumePoint], None]


def forget(_point: ResumePoint) -> None:
    """Keeps nothing: for a pass that is not to go on."""


class Estimator(Protocol):
    """Turns the frames of one shot into disparity.

    ``networks`` is what another estimator of the same model can take over, ``fallbacks`` are
    sentences on what it did where memory ran out. ``kernels`` says what computes norms and gates;
    it is empty where there is nothing to choose.
    """

    networks: Any
    fallbacks: list[str]
    kernels: str

    def first_read(self, point: ResumePoint) -> int:
        """The frame to read from where a pass goes on at ``point``."""

    def __call__(
        self,
        frames: Iterable[RgbImage],
        *,
        total: int | None,
        observer: Observer,
        resume_from: ResumePoint | None,
        keep: Keep,
    ) -> Iterator[Disparity]:
        """Yield disparity, float32 [n, H, W], larger is nearer, in order, as soon as it is final.

        ``frames`` are uint8 [H, W, 3] of the plan's size. They begin with frame
        ``first_read(resume_from)`` and the result with ``resume_from.decoded``, both with 0 where
        that is None. ``total`` is how many frames will come, where known.
        """


@dataclass(frozen=True, kw_only=True)
class MethodPlan(ABC):
    """What a method will do with a video of one size, settled as far as is known.

    Attributes:
        weights: the model folder; None for a method without weights.
        spec: what is known of the model.
        size: that of the pictures the method sees, and of its disparity.
        multiple: what the sides of ``size`` are multiples of.
        machine: where it computes; None until :meth:`on` has settled it.
        uses_length: whether the result is another where the exact number of frames is known.
    """

    uses_length: ClassVar[bool] = False

    weights: InstalledModel | None
    spec: ModelSpec
    size: Size
    multiple: int
    machine: Machine | None = None

    @property
    def disparity(self) -> str:
        """What the numbers mean, as records say it."""
        return AFFINE

    @property
    @abstractmethod
    def settings(self) -> Mapping[str, Any]:
        """All that the disparity depends on apart from frames, weights and size; plain values."""

    @property
    def exact_length(self) -> bool:
        """Whether the exact number of frames must be known before the first."""
        return False

    @abstractmethod
    def on(
        self,
        machine: Machine,
        frames: int | None,
        settings: Mapping[str, Any] | None = None,
    ) -> "MethodPlan":
        """The plan for a machine; ``settings`` are those of a run that is to go on.

        Raises:
            MemoryLimitError: nothing fits, or not with those settings.
        """

    @property
    def memory_plan(self) -> MemoryPlan | None:
        """How memory is used, for a run to go on with; None where there is nothing to choose."""
        return None

    def with_memory(self, plan: MemoryPlan) -> "MethodPlan":
        """Return the same plan with another run's :attr:`memory_plan`."""
        del plan
        return self

    @property
    def memory_details(self) -> Mapping[str, Any]:
        """How memory is used, as plain JSON values."""
        return {}

    @property
    def peak_bytes(self) -> int | None:
        """The most memory that is expected to be taken, None where that is not predicted."""
        return None

    @property
    def changed(self) -> str:
        """A sentence on what a lack of memory changes in the result; empty if nothing."""
        return ""

    def exhausted(self, words: str, free: int | None, *, capped: bool) -> str:
        """What to say where memory ran out in these ``words`` and nothing smaller was left.

        ``free`` bytes are there now, None where that is not known; ``capped`` says that the user
        had set the limit.
        """
        had = "" if free is None else f" and {free / 1e9:.2f} GB are free now"
        return (
            f"got no more memory ({words.rstrip('.')}){had}, expected enough for single frames of "
            f"{self.size} pixels: close other programs{', raise `max_vram`' * capped}, or choose a "
            "smaller model."
        )

    def state_bytes(self, frames: int) -> int:
        """About how much room the disparity of so many frames takes until it is delivered."""
        return expected_spool_bytes(self.size, frames)

    def windows(self, frames: int | None) -> int | None:
        """Into how many windows so many frames are cut; None without windows or length."""
        del frames
        return None

    def stage_work(self, frames: int) -> dict[str, StageWork]:
        """What each stage is expected to take; nothing where it is not known."""
        del frames
        return {}

    def time_on(self, card: Card, frames: int) -> Duration | None:
        """How long so many frames take on a card, None where that is not known."""
        del card, frames
        return None

    @abstractmethod
    def how(self, windows: int | None) -> str:
        """What is done, in a few words behind the size: windows, steps, batches."""

    def memory_words(self) -> str:
        """How memory is used, in one line."""
        return "as much as the model takes: not predicted for this method"

    @property
    def details(self) -> Mapping[str, Any]:
        """What else ``plan`` and the start of a run tell programs; plain values."""
        return {}

    def memory_lines(self) -> Iterator[tuple[str, str]]:
        """(label, text) lines of ``plan`` on how memory is used."""
        yield "", f"memory: {self.memory_words()}"

    @property
    def networks_key(self) -> Any:
        """What must be equal for loaded networks to be used again."""
        machine, weights = self.machine, self.weights
        return (
            self.spec.layout,
            weights and (weights.path, weights.hashes()),
            machine and (machine.device, machine.dtype),
        )

    @abstractmethod
    def load(self, networks: Any, observer: Observer, warn: Warn) -> Estimator:
        """What does it; ``networks`` are those of the last estimator of the same model, or None.

        ``warn`` is told of what is done where memory runs out.

        Raises:
            WeightsError: the weights are missing, damaged or of another architecture.
            MemoryLimitError: there is no room for the networks.
        """


class DepthMethod(Protocol):
    """A way to get disparity, by the name that ``--method`` gives it."""

    @property
    def name(self) -> str:
        """The method's name, as users type it."""

    def find(self, weights: str | None) -> InstalledModel | None:
        """The model folder that ``--weights`` means; None for a method without weights.

        Raises WeightsError if it is missing or not complete.
        """

    def plan(self, request: MethodRequest, source: Size) -> MethodPlan:
        """Settle, without PyTorch, what is asked for a video with pictures of size ``source``.

        Raises:
            UsageError: an option that this method does not read, or a value it cannot.
            WeightsError: the weights are missing or damaged.
        """


Config = TypeVar("Config")


def configured(config: Config, request: MethodRequest, method: str) -> Config:
    """A method's settings, a dataclass, with those asked for. Raises UsageError for others."""
    known = {each.name for each in fields(config)}  # type: ignore[arg-type]
    refuse(method, *(name for name in request.settings if name not in known))
    return replace(config, **request.settings)  # type: ignore[type-var]


def refuse(method: str, *names: str) -> None:
    """Raise a UsageError for options that a method does not read."""
    if not names:
        return
    options = ", ".join(f"`{name}`" for name in names)
    raise UsageError(
        f"got {options} with `method` {method}, which does not read it, expected only options "
        "that do something: leave it out."
    )


def size_within(source: Size, max_res: int, multiple: int) -> Size:
    """``source`` with its longer side brought to ``max_res`` at most and both to multiples."""
    return model_size(source, within(max_res, multiple), multiple)
