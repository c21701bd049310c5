"""Progress as events: the layers below report, the command line draws.

A stage is a step of the data flow as the user would name it: ``read``, ``condition``,
``denoise``, ``decode``, ``write``, ``download``, ``verify``, and ``pause`` before another attempt.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """``done`` of ``total`` units of a stage are finished; ``total`` is None when unknown.

    The first event of a stage says where it starts from: nothing of it was done just now.
    """

    stage: str
    done: int
    total: int | None = None
    unit: str = "frames"
    detail: str = ""


Observer = Callable[[Progress], None]
"""Is told of the work; may raise :class:`Interrupted`, where it could go on from later."""


class Interrupted(BaseException):
    """Raised in place of KeyboardInterrupt, which the argument parser would turn into exit 1."""


Warn = Callable[[str], None]
"""Receives a sentence the user should know that stops nothing."""


def ignore(_event: object) -> None:
    """The observer, or the ear for warnings, of a caller who does not care."""


class Pace:
    """Tells when to report: of each subject at once, and then every so many ``seconds``."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._last: dict[object, float] = {}

    def due(self, subject: object = None) -> bool:
        """Whether a subject is to be reported now, which is then taken for done."""
        now = time.monotonic()
        is_due = now - self._last.get(subject, -math.inf) >= self._seconds
        if is_due:
            self._last[subject] = now
        return is_due


def spaced(observer: Observer, seconds: float = 0.1) -> Observer:
    """The observer, spared events of a stage that follow the last one within ``seconds``.

    The first and the last event of a stage always pass.
    """
    pace = Pace(seconds)

    def observe(event: Progress) -> None:
        if pace.due(event.stage) or event.done == event.total:
            observer(event)

    return observe


@dataclass(frozen=True)
class StageWork:
    """What a stage is expected to take before anything of it is measured.

    ``total`` units of ``operations`` each, in a unit that all stages share, and of ``seconds``
    that do not depend on how fast those are.
    """

    total: int
    operations: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True)
class Reading:
    """An event and what can be told from those before it; None is what is not known yet.

    ``rate`` is units of the stage per second, ``eta`` seconds to the end of all that is expected,
    ``share`` how much of that is done, from 0 to 1; it never falls.
    """

    event: Progress
    rate: float | None = None
    eta: float | None = None
    share: float | None = None


@dataclass
class _Stage:
    """What was seen of a stage: ``units`` of it were done in ``seconds``."""

    done: int
    total: int | None = None
    units: int = 0
    seconds: float = 0.0


class Meter:
    """Rates and the time left, from the events of one run as they come.

    The time between two events counts as work of the later one's stage, as stages take turns.
    ``expected`` are the stages of the whole run; without them the time left is that of the stage
    under way. It is told once the stage that takes most is measured.
    """

    def __init__(
        self,
        expected: Mapping[str, StageWork] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._expected, self._clock = expected or {}, clock
        self._stages: dict[str, _Stage] = {}
        self._last, self._share = clock(), 0.0

    def read(self, event: Progress) -> Reading:
        """Take an event into account, and tell what follows from it."""
        now = self._clock()
        seconds, self._last = now - self._last, now
        stage = self._stages.get(event.stage)
        if stage is None:
            stage = self._stages[event.stage] = _Stage(event.done)
        else:
            stage.seconds += seconds
            stage.units += max(0, event.done - stage.done)
        stage.done = event.done
        # A container's frame count may be an estimate.
        stage.total = None if event.total is None else max(event.total, event.done)
        rate = stage.units / stage.seconds if stage.units and stage.seconds else None
        if not self._expected:
            left = None if stage.total is None else stage.total - stage.done
            return Reading(event, rate, None if not rate or left is None else left / rate)
        return Reading(event, rate, self._eta(), self._share_done())

    def _eta(self) -> float | None:
        work = self._expected
        most = max(work, key=lambda name: work[name].total * work[name].operations)
        if not self._measured(most):
            return None
        speed = self._speed()
        return sum(
            (total - done) * self._cost(name, speed)
            for name in self._expected
            for done, total in [self._units(name)]
        )

    def _share_done(self) -> float:
        speed, did, whole = self._speed(), 0.0, 0.0
        for name in self._expected:
            (done, total), cost = self._units(name), self._cost(name, speed)
            did, whole = did + done * cost, whole + total * cost
        self._share = max(self._share, did / whole if whole else 0.0)
        return self._share

    def _units(self, name: str) -> tuple[int, int]:
        """Return (done, total) of a stage."""
        stage, expected = self._stages.get(name, _Stage(0)), self._expected[name].total
        return stage.done, stage.total or max(expected, stage.done)

    def _measured(self, name: str) -> bool:
        stage = self._stages.get(name)
        return stage is not None and stage.units > 0 and stage.seconds > 0

    def _speed(self) -> float:
        """Operations a second of what is measured; 1 before anything is."""
        operations = seconds = 0.0
        for name, work in self._expected.items():
            if work.operations and self._measured(name):
                operations += self._stages[name].units * work.operations
                seconds += self._stages[name].seconds
        return operations / seconds if seconds else 1.0

    def _cost(self, name: str, speed: float) -> float:
        """Seconds a unit: as measured, or else as expected."""
        if self._measured(name):
            return self._stages[name].seconds / self._stages[name].units
        work = self._expected[name]
        return work.operations / speed + work.seconds
