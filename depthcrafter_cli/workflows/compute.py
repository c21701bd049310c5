"""The first pass: the raw disparity of each shot, with its frames' times, into the shot's state."""

import math
import time
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from fractions import Fraction

from depthcrafter_cli.media.files import claimed
from depthcrafter_cli.media.identity import require_unchanged
from depthcrafter_cli.media.reader import read_frames
from depthcrafter_cli.methods.base import Estimator, MethodPlan, ResumePoint
from depthcrafter_cli.progress import Observer, Progress, Warn, ignore
from depthcrafter_cli.threads import Behind, ahead
from depthcrafter_cli.types import Frame, RgbImage
from depthcrafter_cli.workflows.queues import CHUNKS_BEHIND, frames_ahead
from depthcrafter_cli.workflows.run_plan import RunPlan, work_of
from depthcrafter_cli.workflows.shot_state import ShotState

# Quicker steps are not worth a write each: as much is the most that a stop costs.
_STEP_SECONDS = 2.0


def compute(
    plan: RunPlan,
    estimator: Estimator,
    shots: Sequence[ShotState],
    observer: Observer,
    warn: Warn,
    only: Collection[int] | None = None,
    completed: Callable[[int], None] = ignore,
) -> None:
    """Compute what is lacking of each shot, in order, in one pass over the video.

    ``only`` are the numbers of those to compute, and ``completed`` is told the number of each shot
    that is complete. Raises OutputError for a shot that another process computes at this moment.
    """
    cuts = plan.video.cuts
    with closing(_Reader(plan, warn)) as reader:
        for index, (start, stop) in enumerate(zip((0, *cuts), (*cuts, None), strict=True)):
            if only is not None and index not in only:
                continue
            # Of a video that is one shot, the run has claimed it.
            with claimed([shots[index].place] if cuts else ()):
                if not shots[index].complete:
                    watch = of_film(observer, plan.method, plan.video.shots, index)
                    _compute_shot(plan, estimator, shots[index], reader, start, stop, watch, warn)
            completed(index)


class _Reader:
    """The frames of the video, from the first that is asked for, decoded once, in a thread."""

    def __init__(self, plan: RunPlan, warn: Warn) -> None:
        self._plan, self._warn = plan, warn
        self._stream: Generator[Frame, None, None] | None = None
        self._said = deque[str]()  # by the thread

    def frames(self, first: int, stop: int | None) -> Iterator[Frame]:
        """Those from ``first`` on, which lies behind all that was read, to ``stop`` or the end."""
        if self._stream is None:
            request, video, size = self._plan.request, self._plan.video, self._plan.method.size
            frames = read_frames(request.video, size, video.reading, self._said.append, first)
            self._stream = ahead(frames, frames_ahead(self._plan.machine.device, size))
        try:
            for frame in self._stream:
                self._tell()
                if frame.index >= first:
                    yield frame
                if frame.index + 1 == stop:
                    return
        finally:
            self._tell()

    def _tell(self) -> None:
        while self._said:
            self._warn(self._said.popleft())

    def close(self) -> None:
        """Read no more."""
        if self._stream is not None:
            self._stream.close()


def _compute_shot(
    plan: RunPlan,
    estimator: Estimator,
    shot: ShotState,
    reader: _Reader,
    start: int,
    stop: int | None,
    observer: Observer,
    warn: Warn,
) -> None:
    """Every frame's raw disparity into the shot's spool, with the frame's time."""
    shot.begin()
    with shot.spool as spool, Behind(CHUNKS_BEHIND) as writing:
        point, times = shot.load() or (None, [])
        if point is None and (len(spool) or shot.progressed):
            warn(f"{shot.folder} does not fit together, and the run begins again.")
            spool.clear()
        pending, known = deque(times), start + len(spool) + len(times)
        first = start + (0 if point is None else estimator.first_read(point))
        end: Fraction | None = None

        def pictures() -> Iterator[RgbImage]:
            nonlocal end
            for frame in reader.frames(first, stop):
                time, duration = frame.time, frame.duration
                if plan.request.reference:
                    time, duration = frame.index / plan.video.rate, 1 / plan.video.rate
                if frame.index >= known:
                    pending.append(time)
                end = time + duration
                yield frame.rgb

        saved_at = -math.inf

        def keep(point: ResumePoint) -> None:
            nonlocal saved_at
            if not point.midway:
                require_unchanged(plan.request.video, plan.provenance.input)
            elif time.monotonic() - saved_at < _STEP_SECONDS:
                return
            writing.wait()  # no point may lie behind what is decoded on the disk
            shot.save(point, pending, end)
            saved_at = time.monotonic()

        total = plan.video.frames if stop is None else stop
        total = None if total is None else total - start
        stream = estimator(pictures(), total=total, observer=observer, resume_from=point, keep=keep)
        for disparity in stream:
            writing.do(spool.append, disparity, [pending.popleft() for _ in disparity])


def of_film(
    observer: Observer, method: MethodPlan, shots: Sequence[int | None], index: int
) -> Observer:
    """An observer of a shot's progress as that of the whole film, whose shots have such lengths."""
    if len(shots) == 1:
        return observer
    before, whole = work_of(method, shots[:index]), work_of(method, shots)
    passed, frames = (sum(filter(None, some)) for some in (shots[:index], shots))

    def observe(event: Progress) -> None:
        done, total = passed, frames
        if event.unit != "frames" and event.stage in whole:
            done = before[event.stage].total if index else 0
            total = whole[event.stage].total
        observer(replace(event, done=done + event.done, total=total))

    return observe
