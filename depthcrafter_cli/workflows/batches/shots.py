"""One film on many workers: its shots in parts, each a task of an engine."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace

from depthcrafter_cli.errors import DepthCrafterError
from depthcrafter_cli.progress import Observer, Progress, Warn
from depthcrafter_cli.workflows.batches.engine import Engine
from depthcrafter_cli.workflows.batches.queue import run_tasks
from depthcrafter_cli.workflows.batches.task import EndedAttempt, Task
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
        parts = _parts(lacking, lengths)
        if not writes_early(request):
            parts.sort(key=lambda part: -sum(lengths[index] for index in part))
        of = {f"shots {part[0]} to {part[-1]}": part for part in parts}
        tasks = [Task(name, replace(request, only_shots=tuple(part))) for name, part in of.items()]
        open_ = set(lacking)
        first, done = dict[str, int](), dict[str, int]()
        before = sum(lengths) - sum(lengths[index] for index in lacking)

        def watch(task: Task, worker: str, event: Progress) -> None:
            if event.stage in ("decode", "estimate"):
                done[task.name] = event.done - first.setdefault(task.name, event.done)
                observer(Progress(event.stage, before + sum(done.values()), sum(lengths)))

        def failed(ended: EndedAttempt, again: bool) -> None:
            if again:
                warn(f"{ended.task.name}: {ended.outcome.error} They are tried again.")

        told, ahead = set[str](), 0
        with closing(run_tasks(tasks, engine, retries, watch, failed)) as reports:
            for report in reports:
                if report.error:
                    raise _error(report.error, report.exit_code)
                for sentence in report.warnings:
                    if sentence not in told:
                        warn(sentence)
                    told.add(sentence)
                open_.difference_update(of[report.name])
                while ahead < len(shots) and ahead not in open_:
                    completed(ahead)
                    ahead += 1

    return compute


def _parts(lacking: Sequence[int], lengths: Sequence[int]) -> list[list[int]]:
    """Shots that lie together, in parts of about as many frames."""
    share = sum(lengths[index] for index in lacking) / _PARTS
    parts: list[list[int]] = []
    frames = share
    for index in lacking:
        if frames >= share:
            parts.append([])
            frames = 0
        parts[-1].append(index)
        frames += lengths[index]
    return parts


def _error(sentence: str, exit_code: int) -> DepthCrafterError:
    kinds = {kind.exit_code: kind for kind in DepthCrafterError.__subclasses__()}
    return kinds.get(exit_code, DepthCrafterError)(sentence)
