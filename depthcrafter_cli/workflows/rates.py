"""How fast models ran on this machine: what ``plan`` tells of a device that has no data sheet.

A run leaves its rate among the user's data, in operations a second, by which it holds for other
sizes, windows and steps as well. Nothing else reads it, and to remove it costs nothing but that.
"""

import json
import os
import platform
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from depthcrafter_cli.disk import user_folder
from depthcrafter_cli.errors import DepthCrafterError
from depthcrafter_cli.media.files import write_whole
from depthcrafter_cli.methods.base import Machine
from depthcrafter_cli.structured import json_object

_LONG = 10.0  # seconds: what begins and ends a run counts for little in one that takes longer
_MOST = 100  # of models and machines; the oldest go


@dataclass(frozen=True)
class Rate:
    """Operations a second of a model on a device, from a run of ``seconds`` on a ``day``."""

    operations: float
    seconds: float
    day: str


@dataclass(frozen=True)
class ByRate:
    """A run's time in seconds by the ``rate`` of one before it, without reading and writing."""

    total: float
    rate: Rate

    @property
    def stages(self) -> dict[str, float]:
        """Nothing: the rate is that of all stages together."""
        return {}


def note_rate(model: str, machine: Machine, operations: float, seconds: float) -> None:
    """Keep the rate of a run, unless it is a short one and another is known that took longer."""
    known = _read()
    name, before = _name(model, machine), known_rate(model, machine)
    if min(operations, seconds) <= 0 or (before and seconds < min(_LONG, before.seconds)):
        return
    known.pop(name, None)
    now = Rate(operations / seconds, seconds, time.strftime("%Y-%m-%d"))
    latest = dict([*known.items(), (name, vars(now))][-_MOST:])
    with suppress(OSError, RuntimeError, DepthCrafterError):  # as of users without a home
        _path().parent.mkdir(parents=True, exist_ok=True)
        write_whole(_path(), json.dumps(latest, indent=1).encode())


def known_rate(model: str, machine: Machine) -> Rate | None:
    """What the last run of a model told, None if there is none that fits this machine."""
    with suppress(KeyError, TypeError, ValueError):
        entry = _read()[_name(model, machine)]
        rate = Rate(float(entry["operations"]), float(entry["seconds"]), str(entry["day"]))
        return rate if rate.operations > 0 else None
    return None


def _name(model: str, machine: Machine) -> str:
    """A home may be that of several machines, and what runs may be given some of their cores."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    cores = os.environ.get("OMP_NUM_THREADS") or there
    place = f"{platform.node()} {platform.machine()}, {cores} cores"
    return f"{model} on {machine.name} in {machine.dtype}, {place}"


def _path() -> Path:
    return user_folder("data") / "rates.json"


def _read() -> dict[str, Any]:
    """All that is noted, nothing where that is missing or damaged."""
    with suppress(OSError, RuntimeError, ValueError, RecursionError):
        return json_object(_path())
    return {}
