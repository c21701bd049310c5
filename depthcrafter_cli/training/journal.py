"""What a training run leaves to read: a line of JSON every few steps, and a picture of them.

Where it is asked for, the same lines go to TensorBoard, with pictures that validation shows.
"""

from __future__ import annotations

import json
import math
from contextlib import suppress
from pathlib import Path
from typing import Any

from depthcrafter_cli.depth.colorize import own_matplotlib
from depthcrafter_cli.errors import UsageError
from depthcrafter_cli.media.files import missing_package, replacing, write_whole
from depthcrafter_cli.structured import parse_object
from depthcrafter_cli.types import RgbImage

LOG, PLOT, EVENTS = "log.jsonl", "loss.png", "tensorboard"
_COLOURS = ("#2458a6", "#c2571a", "#2b8a3e", "#7a3e9d", "#a0203a")


def require_tensorboard() -> None:
    """Raises UsageError where the library that writes for TensorBoard is not there."""
    if lacking := missing_package("`tensorboard`", "tensorboard", "tensorboard", "leave it out"):
        raise UsageError(lacking)


class Journal:
    """The log of a work folder, with ``tensorboard`` for that program as well.

    A stage that goes on from a checkpoint first forgets what came after it, so that the log of a
    resumed run holds every step once.
    """

    def __init__(self, folder: Path, active: bool = True, tensorboard: bool = False) -> None:
        self._folder, self._active = folder, active
        self.has_pictures = active and tensorboard
        self._pictures: dict[str, RgbImage] = {}
        self._events: dict[str, Any] = {}  # by stage
        if active:
            folder.mkdir(parents=True, exist_ok=True)

    def rewind(self, stage: str, step: int) -> None:
        """Drop the entries of ``stage`` beyond ``step``."""
        kept = [line for line in self.lines() if line["stage"] != stage or line["step"] <= step]
        if self._active:
            text = "".join(json.dumps(line) + "\n" for line in kept)
            write_whole(self._folder / LOG, text.encode())
        if self.has_pictures:
            from torch.utils.tensorboard import SummaryWriter

            home = self._folder / EVENTS / stage
            self._events[stage] = SummaryWriter(home, purge_step=step + 1)

    def show(self, name: str, picture: RgbImage) -> None:
        """Keep a picture for what is written next."""
        self._pictures[name] = picture

    def write(self, stage: str, step: int, **values: Any) -> None:
        """Add a line to the file; a stage is rewound before its first."""
        if self._active:
            with (self._folder / LOG).open("a", encoding="utf-8") as file:
                file.write(json.dumps({"stage": stage, "step": step, **values}) + "\n")
        if events := self._events.get(stage):
            for name, value in values.items():
                if value is not None:
                    events.add_scalar(name, value, step)
            for name, picture in self._pictures.items():
                events.add_image(name, picture, step, dataformats="HWC")
            self._pictures.clear()
            events.flush()

    def lines(self) -> list[dict[str, Any]]:
        """The entries so far, without what is damaged, such as the half line a kill may leave."""
        path = self._folder / LOG
        if not path.exists():
            return []
        entries = []
        for line in path.read_bytes().splitlines():
            with suppress(ValueError, RecursionError):
                entry = parse_object(line)
                if isinstance(entry.get("stage"), str) and isinstance(entry.get("step"), int):
                    entries.append(entry)
        return entries

    def has_scores(self, stage: str, step: int) -> bool:
        """Whether the network was scored after so many steps of a stage."""
        return any(
            (line["stage"], line["step"]) == (stage, step) and "abs_rel" in line
            for line in self.lines()
        )

    def least(self, stage: str, score: str) -> float:
        """The least score of a stage so far; infinite before the first."""
        return min(
            (line[score] for line in self.lines() if line["stage"] == stage and score in line),
            default=math.inf,
        )

    def draw(self) -> None:
        """Loss and validation error of all stages, one after the other, as a picture."""
        if not self._active:
            return
        own_matplotlib()
        from matplotlib.figure import Figure

        entries = self.lines()
        figure = Figure(figsize=(9, 4))
        left = figure.add_axes((0.12, 0.13, 0.78, 0.83))
        left.set(xlabel="step, stage after stage", ylabel="loss (smoothed)", yscale="log")
        right, begin = None, 0
        for number, stage in enumerate(dict.fromkeys(entry["stage"] for entry in entries)):
            colour = _COLOURS[number % len(_COLOURS)]
            rows = [entry for entry in entries if entry["stage"] == stage]
            losses = [(begin + row["step"], row["loss"]) for row in rows if "loss" in row]
            left.plot(*zip(*losses, strict=True), color=colour, label=stage) if losses else None
            checks = [(begin + row["step"], row["abs_rel"]) for row in rows if "abs_rel" in row]
            if checks:
                right = right or left.twinx()
                right.plot(*zip(*checks, strict=True), color=colour, marker="o", linestyle=":")
            begin += max(row["step"] for row in rows)
        if right is not None:
            right.set(ylabel="AbsRel on held-out clips (dotted)")
        if left.lines:
            left.legend()
        with replacing(self._folder / PLOT) as file:
            figure.savefig(file, format="png", dpi=120)
