"""The fastest exact plan that fits; if none does, a shorter window, and that is said."""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, replace

from depthcrafter_cli.errors import MemoryLimitError
from depthcrafter_cli.memory.architecture import Architecture
from depthcrafter_cli.memory.budget import Budget, card_for, process_peak
from depthcrafter_cli.memory.estimate import Job, Peaks, estimate
from depthcrafter_cli.types import MemoryPlan, Size, Stage

_SMALLEST_VALUES = 1 << 18
_ENCODE_BATCHES = (8, 4, 2, 1)


@dataclass(frozen=True)
class Choice:
    """A plan, what it is predicted to take, and the window it allows.

    ``concessions`` are sentences on what was given up, those that change the result last.
    """

    model: Architecture
    device: str
    budget: Budget
    plan: MemoryPlan
    job: Job
    peaks: Peaks
    concessions: tuple[str, ...] = ()

    @property
    def measured_as(self) -> int:
        """The predicted peak in the sense in which it is measured: see ``process_peak``."""
        return process_peak(_taken(self.peaks, self.device), self.device)

    def smaller(self, plan: MemoryPlan, stage: Stage) -> MemoryPlan | None:
        """The fastest plan that takes less than ``plan`` in ``stage``, where memory ran out under
        it on a device that had less than predicted, and in no stage more.
        """
        now = estimate(self.model, self.job, plan)
        for other in plans(self.device, plan.encode_batch):
            then = estimate(self.model, self.job, other)
            spared = then.of(stage) < now.of(stage)
            if spared and then.within(now) and _host_allows(then, self.budget):
                return other
        return None

    @property
    def shortened(self) -> bool:
        """Whether the window is shorter than asked for, which changes the result."""
        return any("changes the result" in sentence for sentence in self.concessions)


def choose(
    model: Architecture, job: Job, budget: Budget, device: str, *, batch: int, overlap: int
) -> Choice:
    """The first of ``plans`` that fits, then of those with a shorter window.

    Raises:
        MemoryLimitError: not even a window of twice the overlap fits.
    """
    for plan in plans(device, batch):
        peaks = estimate(model, job, plan)
        if _fits(peaks, budget, device):
            told = tuple(_told(plan, device, batch))
            return Choice(model, device, budget, plan, job, peaks, told)
    shorter = _shorter_window(model, job, budget, device, overlap)
    if shorter is None:
        raise MemoryLimitError(_nothing_fits(model, job, budget, device))
    return shorter


def plans(device: str, batch: int) -> Iterator[MemoryPlan]:
    """All exact plans, fastest first: chunks shrink before anything leaves the device.

    Weights and waiting tensors go to the host only where that is other memory.
    """
    for place in _places(device):
        for share in (1, 2, 4):
            for size, by_rows in _encoders(batch):
                for frugal in (False, True):
                    yield replace(
                        place,
                        values=place.values // share,
                        encode_batch=size,
                        frugal_encode=by_rows,
                        frugal_decode=frugal,
                    )
    yield _frugal(device)[-1]


def _places(device: str) -> list[MemoryPlan]:
    """What is where, fastest first."""
    start = MemoryPlan.default(device)
    if device != "cuda":
        return [start]
    swapped = replace(start, swap_networks=True)
    streamed = replace(swapped, stream_weights=True)
    parked = replace(swapped, park_skips=True)
    return [start, swapped, parked, streamed, replace(streamed, park_skips=True)]


def _frugal(device: str) -> list[MemoryPlan]:
    """The places with every concession made that is exact, the one least on the device last."""
    return [
        replace(
            place,
            values=_SMALLEST_VALUES,
            encode_batch=1,
            frugal_encode=True,
            frugal_decode=True,
        )
        for place in _places(device)
    ]


def _encoders(batch: int) -> Iterator[tuple[int, bool]]:
    """Frames at a time, and whether by rows."""
    for size in (batch, *(size for size in _ENCODE_BATCHES if size < batch)):
        yield size, False
    yield 1, True


def _fits(peaks: Peaks, budget: Budget, device: str) -> bool:
    on_device = budget.device is None or _taken(peaks, device) <= budget.device
    return on_device and _host_allows(peaks, budget)


def _taken(peaks: Peaks, device: str) -> int:
    """Of the device's memory; what a CPU keeps waiting on the host waits in the same."""
    return peaks.device + (peaks.host if device == "cpu" else 0)


def _host_allows(peaks: Peaks, budget: Budget) -> bool:
    return budget.host is None or peaks.host <= budget.host


def _told(plan: MemoryPlan, device: str, batch: int) -> Iterator[str]:
    if plan.values < MemoryPlan.default(device).values:
        yield "smaller chunks"
    if plan.stream_weights:
        yield "weights streamed from host memory"
    elif plan.swap_networks:
        yield "one network on the device at a time"
    if plan.park_skips:
        yield "skip tensors in host memory"
    if plan.frugal_encode:
        yield "encoding by rows"
    elif plan.encode_batch < batch:
        yield f"encoding {plan.encode_batch} at a time"
    if plan.frugal_decode:
        yield "decoding with less kept"


def _shorter_window(
    model: Architecture, job: Job, budget: Budget, device: str, overlap: int
) -> Choice | None:
    """The longest window that fits with every exact concession made, under the fastest of them."""
    windows = range(max(2 * overlap, 1), job.window)
    best: Choice | None = None
    for plan in _frugal(device):

        def too_long(window: int, plan: MemoryPlan = plan) -> bool:
            peaks = estimate(model, replace(job, window=window), plan)
            return not _fits(peaks, budget, device)

        fitting = bisect_left(windows, True, key=too_long)
        if not fitting or (best and windows[fitting - 1] <= best.job.window):
            continue
        shorter = replace(job, window=windows[fitting - 1])
        changed = (
            f"windows of {shorter.window} instead of {job.window} frames: this changes the result"
        )
        told = (*_told(plan, device, 1), changed)
        peaks = estimate(model, shorter, plan)
        best = Choice(model, device, budget, plan, shorter, peaks, told)
    return best


def _nothing_fits(model: Architecture, job: Job, budget: Budget, device: str) -> str:
    """What would have to be there, and the largest picture that would do."""
    frugal = _frugal(device)
    peaks = [estimate(model, job, plan) for plan in frugal]
    # Where the host is short, what stays on the device; the first needs nothing of the host.
    allowed = [peak for peak in peaks if _host_allows(peak, budget)] or peaks
    taken = min(_taken(peak, device) for peak in allowed)
    advice = f"pass --max-vram {card_for(taken, device):g}"
    if device == "cpu":
        advice = f"close other programs, {advice} where that much is there"
    if not _host_allows(peaks[-1], budget):
        least = card_for(_taken(peaks[-1], device), device)
        host = peaks[-1].host / 1e9 + 0.05
        advice += f", or --max-vram {least:g} and --max-ram {host:.1f} where that is there"
    longer = max(job.size.height, job.size.width)
    for side in range(longer - 64, 63, -64):
        size = Size(_scaled(job.size.height, side, longer), _scaled(job.size.width, side, longer))
        smaller = replace(job, size=size)
        if any(_fits(estimate(model, smaller, plan), budget, device) for plan in frugal):
            advice += f", or --max-res {side}"
            break
    had = "unlimited" if budget.device is None else f"{budget.device / 1e9:.2f} GB"
    kind = "RAM" if device == "cpu" else "device memory"
    return (
        f"got {had} of {kind} for tensors, expected at least {taken / 1e9:.2f} GB for "
        f"{job.size} pixels and windows of {job.window} frames: {advice}."
    )


def _scaled(side: int, longest: int, present: int) -> int:
    """Rounded up: what is advised must fit however the video's own sides round."""
    return -(-side * longest // (present * 64)) * 64
