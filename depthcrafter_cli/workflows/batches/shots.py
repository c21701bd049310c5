"""One film on many workers: its shots in parts, each a task of an engine."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import chain

from depthcrafter_cli.progress import Observer, Warn
from depthcrafter_cli.workflows.batches.engine import Engine
from depthcrafter_cli.workflows.batches.parts import carried_out, raise_error
from depthcrafter_cli.workflows.batches.task import VideoTask
from depthcrafter_cli.workflows.places import writes_early
from depthcrafter_cli.workflows.run_plan import RunPlan
from depthcrafter_cli.workflows.runs import ComputeShots
from depthcrafter_cli.workflows.shot_state import ShotState

# Each part decodes the film up to its shots, so there are not many more than workers.
_PARTS = 16


def on_engine(engine: Engine, retries: int = 2) -> ComputeShots:
    """What computes the shots of a run by an engine's workers, for
    :func:`~depthcrafter_cli.workflows.runs.run`. They write into the run's folder, which all see.

    Parts come in the film's order where shots are written as they finish, else the longest first.
    It raises what failed ``retries`` times more.
    """

    def compute(
        plan: RunPlan,
        shots: Sequence[ShotState],
        observer: Observer,
        warn: Warn,
        completed: Callable[[int], None],
    ) -> None:
        lengths = [frames or 0 for frames in plan.video.shots]
        lacking = [index for index, shot in enumerate(shots) if not shot.complete]
        request = replace(plan.request, resume=True, resume_only=True)
        parts = _parts(lacking, lengths, _PARTS)
        if not writes_early(request):
            parts.sort(key=lambda part: -sum(lengths[index] for index in part))
        of = {f"shots {part[0]} to {part[-1]}": part for part in parts}
        tasks = [
            VideoTask(name, replace(request, only_shots=tuple(part))) for name, part in of.items()
        ]
        open_, ahead = set(lacking), 0
        before = sum(lengths) - sum(lengths[index] for index in lacking)
        ends = carried_out(
            tasks, engine, retries, observer, warn, before=before, total=sum(lengths)
        )
        with closing(ends):
            for end in ends:
                raise_error(end.outcome)
                open_.difference_update(of[end.task.name])
                while ahead < len(shots) and ahead not in open_:
                    completed(ahead)
                    ahead += 1

    return compute


def of_shard(shard: str) -> Callable[[RunPlan], Sequence[int]]:
    """What tells the shots of the i-th of n parts of a film, for ``i/n``; there may be none."""
    part, parts = map(int, shard.split("/"))

    def shots_of(plan: RunPlan) -> Sequence[int]:
        lengths = [frames or 0 for frames in plan.video.shots]
        return [*chain(*_parts(range(len(lengths)), lengths, parts)[part - 1 : part])]

    return shots_of


def _parts(lacking: Sequence[int], lengths: Sequence[int], most: int) -> list[list[int]]:
    """Shots that lie together, in at most so many parts of about as many frames."""
    share = sum(lengths[index] for index in lacking) / most
    parts: list[list[int]] = []
    frames = share
    for index in lacking:
        if frames >= share:
            parts.append([])
            frames = 0
        parts[-1].append(index)
        frames += lengths[index]
    return parts
