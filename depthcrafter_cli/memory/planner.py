"""The fastest exact plan that fits; if none does, a shorter window, and that is said."""

from bisect import bisect_left
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from depthcrafter_cli.errors import MemoryLimitError
from depthcrafter_cli.memory.architecture import Architecture
from depthcrafter_cli.memory.budget import Budget, card_for, process_peak, shares_memory
from depthcrafter_cli.memory.cards import Card, card_named
from depthcrafter_cli.memory.estimate import Peaks, Workload, estimate
from depthcrafter_cli.memory.speed import pass_seconds
from depthcrafter_cli.memory.work import forward
from depthcrafter_cli.progress import Warn
from depthcrafter_cli.types import MemoryPlan, Scarce, Size

_SMALLEST_VALUES = 1 << 18
_ENCODE_BATCHES = (8, 4, 2, 1)
_CUT = "smaller chunks"
_TYPICAL = card_named("A100")  # of a card that is not known
_PLACES = {"load": "while the model was loaded", "host": "on the host"}


@dataclass(frozen=True)
class MemoryChoice:
    """A plan, what it is predicted to take, and the window it allows.

    ``concessions`` are sentences on what was given up, those that change the result last.
    """

    model: Architecture
    device: str
    budget: Budget
    plan: MemoryPlan
    workload: Workload
    peaks: Peaks
    concessions: tuple[str, ...] = ()

    @property
    def measured_as(self) -> int:
        """The predicted peak in the sense in which it is measured: see ``process_peak``."""
        return process_peak(_taken(self.peaks, self.device), self.device) + self.budget.queued

    def smaller(
        self, plan: MemoryPlan, place: Scarce, tried: Collection[MemoryPlan] = ()
    ) -> MemoryPlan | None:
        """The fastest plan that takes less than ``plan`` where memory ran out, which had less than
        predicted, and in no stage more of the device; None if there is none.

        Where the host ran out, the device may be used up to its budget instead. Plans that were
        ``tried`` are left out, so that two shortages do not send a run to and fro.
        """
        now = estimate(self.model, self.workload, plan)

        def spares(other: MemoryPlan) -> bool:
            then = estimate(self.model, self.workload, other)
            if other in tried or then.of(place) >= now.of(place):
                return False
            if place == "host":
                return _fits(then, self.budget, self.device)
            return then.within(now) and _host_allows(then, self.budget)

        others = plans(self.device, plan.encode_batch, whole=not plan.encode_by_rows)
        found = next(filter(spares, others), None)
        if found is None and place == "load":
            # Weights take as much under every plan left: go on with the least of all else.
            least = _smallest_plans(self.device)[-1]
            found = None if least in (plan, *tried) else least
        return found

    def describe(self, plan: MemoryPlan) -> str:
        """What ``plan`` does to save memory, in words."""
        cut = f"chunks of {plan.chunk_values / 1e6:.2g} M values"
        batch = self.plan.encode_batch + 1  # so that the frames at a time are always said
        return ", ".join((cut, *(word for word in _told(plan, self.device, batch) if word != _CUT)))

    def exhausted(self, words: str, free: int | None, *, capped: bool) -> str:
        """What to say where memory ran out, in these ``words``, and no smaller plan was left.

        ``free`` bytes are there for tensors now, None where that is not known; ``capped`` says that
        the user had set the limit.
        """
        peaks = [estimate(self.model, self.workload, plan) for plan in _smallest_plans(self.device)]
        least = min(_taken(peak, self.device) for peak in peaks)
        room = least - 1 if free is None else min(free, least - 1)
        side = _largest_side(
            self.model, self.workload, replace(self.budget, device=room), self.device
        )
        had = "" if free is None else f" and {free / 1e9:.2f} GB are free now"
        return (
            f"got no more memory ({words.rstrip('.')}){had}, expected {least / 1e9:.2f} GB of "
            f"{_kind(self.device)} for {self.workload.size} pixels and windows of "
            f"{self.workload.window} frames: close other programs{', raise `max_vram`' * capped}"
            f"{f', or pass `max_res={side}`' if side else ''}."
        )

    @property
    def shortened(self) -> bool:
        """Whether the window is shorter than asked for, which changes the result."""
        return any("changes the result" in sentence for sentence in self.concessions)


class Fallbacks:
    """Gives the plan to go on with where memory ran out, and tells the user and the record.

    ``plan`` is the one that the next shot begins with.
    """

    def __init__(self, choice: MemoryChoice, warn: Warn) -> None:
        self.plan, self.told = choice.plan, list[str]()
        self._choice, self._warn, self._tried = choice, warn, set[MemoryPlan]()

    def __call__(self, plan: MemoryPlan, place: Scarce) -> MemoryPlan | None:
        self._tried.add(plan)
        smaller = self._choice.smaller(plan, place, self._tried)
        if smaller is not None:
            where, how = _PLACES.get(place, f"in {place}"), self._choice.describe(smaller)
            self.told.append(f"memory ran out {where}; went on with {how}")
            self._warn(f"{self.told[-1]}.")
            self.plan = smaller
        return smaller


def choose(
    model: Architecture,
    workload: Workload,
    budget: Budget,
    device: str,
    *,
    batch: int,
    overlap: int,
    whole: bool = False,
    card: Card | None = None,
) -> MemoryChoice:
    """The first of ``plans`` that fits, then of those with a shorter window.

    ``whole``: pictures are encoded at once where memory allows, as published. On a GPU, which may
    be a known ``card``, chunks are as large as makes it fastest.

    Raises:
        MemoryLimitError: not even a window of twice the overlap fits.
    """
    for plan in plans(device, batch, whole=whole):
        if _fits(estimate(model, workload, plan), budget, device):
            if device == "cuda" and not (plan.offloaded or plan.offload_skips):
                plan = _with_fast_chunks(plan, model, workload, budget, card or _TYPICAL)
            told = tuple(_told(plan, device, batch))
            peaks = estimate(model, workload, plan)
            return MemoryChoice(model, device, budget, plan, workload, peaks, told)
    shorter = _shorter_window(model, workload, budget, device, overlap)
    if shorter is None:
        raise MemoryLimitError(_nothing_fits(model, workload, budget, device))
    return shorter


def _with_fast_chunks(
    plan: MemoryPlan, model: Architecture, workload: Workload, budget: Budget, card: Card
) -> MemoryPlan:
    """The plan with the chunks that fit and take the least time on a card.

    Large ones launch fewer kernels and read weights less often, small ones stay in the cache.
    """

    def seconds(plan: MemoryPlan) -> float:
        step = forward(model.unet, workload.window, *workload.latent_size(model))
        given = plan.chunk_values, workload.itemsize
        return pass_seconds(step, card, *given, fused=workload.fused)

    larger = [replace(plan, chunk_values=factor * plan.chunk_values) for factor in (1, 2, 4)]
    fitting = [each for each in larger if _fits(estimate(model, workload, each), budget, "cuda")]
    return min(fitting, key=seconds)


def plans(device: str, batch: int, *, whole: bool = False) -> Iterator[MemoryPlan]:
    """All exact plans, fastest first: chunks become smaller before anything is offloaded.

    Weights and waiting tensors go to the host only where that is other memory. ``whole``: pictures
    are encoded at once before they are by rows.
    """
    for place in _places(device):
        for share in (1, 2, 4):
            for size, by_rows in _encoders(batch, whole):
                for recompute in (False, True):
                    yield replace(
                        place,
                        chunk_values=place.chunk_values // share,
                        encode_batch=size,
                        encode_by_rows=by_rows,
                        recompute_decode=recompute,
                    )
    yield _smallest_plans(device)[-1]


def _places(device: str) -> list[MemoryPlan]:
    """Which tensors are offloaded to the host, fastest first."""
    start = MemoryPlan.default(device)
    if device != "cuda":
        return [start]
    networks = replace(start, offload_networks=True)
    blocks = replace(networks, offload_blocks=True)
    skips = replace(networks, offload_skips=True)
    return [start, networks, skips, blocks, replace(blocks, offload_skips=True)]


def _smallest_plans(device: str) -> list[MemoryPlan]:
    """The smallest exact plan of each placement, the one least on the device last."""
    return [
        replace(
            place,
            chunk_values=_SMALLEST_VALUES,
            encode_batch=1,
            encode_by_rows=True,
            recompute_decode=True,
        )
        for place in _places(device)
    ]


def _encoders(batch: int, whole: bool) -> Iterator[tuple[int, bool]]:
    """Frames at a time, and whether by rows."""
    for size in (batch, *(size for size in _ENCODE_BATCHES if size < batch)):
        yield size, not whole
    if whole:
        yield 1, True


def _fits(peaks: Peaks, budget: Budget, device: str) -> bool:
    on_device = budget.device is None or _taken(peaks, device) <= budget.device
    return on_device and _host_allows(peaks, budget)


def _taken(peaks: Peaks, device: str) -> int:
    """Of the device's memory; what a CPU or Apple's GPU keeps on the host waits in the same."""
    return peaks.device + (peaks.host if shares_memory(device) else 0)


def _kind(device: str) -> str:
    return "RAM" if device == "cpu" else "device memory"


def _host_allows(peaks: Peaks, budget: Budget) -> bool:
    return budget.host is None or peaks.host <= budget.host


def _told(plan: MemoryPlan, device: str, batch: int) -> Iterator[str]:
    if plan.chunk_values < MemoryPlan.default(device).chunk_values:
        yield _CUT
    if plan.offload_blocks:
        yield "UNet blocks on the device one at a time"
    elif plan.offload_networks:
        yield "one network on the device at a time"
    if plan.offload_skips:
        yield "skips in host memory"
    if plan.encode_batch < batch:
        yield f"encoding {plan.encode_batch} at a time"
    if plan.recompute_decode:
        yield "decoding with some layers computed twice"


def _shorter_window(
    model: Architecture, workload: Workload, budget: Budget, device: str, overlap: int
) -> MemoryChoice | None:
    """The longest window that fits with every exact concession made, under the fastest of them."""
    windows = range(max(2 * overlap, 1), workload.window)
    best: MemoryChoice | None = None
    for plan in _smallest_plans(device):

        def too_long(window: int, plan: MemoryPlan = plan) -> bool:
            peaks = estimate(model, replace(workload, window=window), plan)
            return not _fits(peaks, budget, device)

        fitting = bisect_left(windows, True, key=too_long)
        if not fitting or (best and windows[fitting - 1] <= best.workload.window):
            continue
        shorter = replace(workload, window=windows[fitting - 1])
        changed = (
            f"windows of {shorter.window} instead of {workload.window} frames: "
            "this changes the result"
        )
        told = (*_told(plan, device, 1), changed)
        peaks = estimate(model, shorter, plan)
        best = MemoryChoice(model, device, budget, plan, shorter, peaks, told)
    return best


def _nothing_fits(model: Architecture, workload: Workload, budget: Budget, device: str) -> str:
    """What would have to be there, and the largest picture that would do."""
    peaks = [estimate(model, workload, plan) for plan in _smallest_plans(device)]
    # Where the host is short, what stays on the device; the first needs nothing of the host.
    allowed = [peak for peak in peaks if _host_allows(peak, budget)] or peaks
    taken = min(_taken(peak, device) for peak in allowed)
    advice = f"pass `max_vram={card_for(taken + budget.queued, device):g}`"
    if device == "cpu":
        advice = f"close other programs, {advice} where that much is there"
    if not _host_allows(peaks[-1], budget):
        least = card_for(_taken(peaks[-1], device) + budget.queued, device)
        host = peaks[-1].host / 1e9 + 0.05
        advice += f", or `max_vram={least:g}` and `max_ram={host:.1f}` where that is there"
    if side := _largest_side(model, workload, budget, device):
        advice += f", or `max_res={side}`"
    had = "unlimited" if budget.device is None else f"{budget.device / 1e9:.2f} GB"
    return (
        f"got {had} of {_kind(device)} for tensors, expected at least {taken / 1e9:.2f} GB for "
        f"{workload.size} pixels and windows of {workload.window} frames: {advice}."
    )


def _largest_side(
    model: Architecture, workload: Workload, budget: Budget, device: str
) -> int | None:
    """The largest ``max_res`` below that of the workload with which some plan fits."""
    longer = max(workload.size.height, workload.size.width)
    for side in range(longer - 64, 63, -64):
        size = Size(
            _scaled(workload.size.height, side, longer), _scaled(workload.size.width, side, longer)
        )
        smaller = replace(workload, size=size)
        if any(
            _fits(estimate(model, smaller, plan), budget, device)
            for plan in _smallest_plans(device)
        ):
            return side
    return None


def _scaled(side: int, longest: int, present: int) -> int:
    """Rounded up: what is advised must fit however the video's own sides round."""
    return -(-side * longest // (present * 64)) * 64
