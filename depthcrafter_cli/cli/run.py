"""``depthcrafter run``: read the options, show the plan, run it, say where the files are."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from depthcrafter_cli.cli import options as opt
from depthcrafter_cli.cli.console import Console, Reporting, reported
from depthcrafter_cli.cli.options import RunValues, Some, Values, spread
from depthcrafter_cli.cli.streams import Line
from depthcrafter_cli.errors import UsageError
from depthcrafter_cli.options import build
from depthcrafter_cli.progress import Observer, Progress
from depthcrafter_cli.shell import quoted
from depthcrafter_cli.text import counted
from depthcrafter_cli.workflows.batches.options import BatchOptions, Workers
from depthcrafter_cli.workflows.request import RunRequest

if TYPE_CHECKING:
    from depthcrafter_cli.workflows.batches.engine import Engine
    from depthcrafter_cli.workflows.runs import RunResult


@spread
def run(
    video: opt.VideoToRun,
    out: opt.Outputs,
    asked: RunValues,
    workers: Annotated[Values, Some(Workers)],
    shard: Annotated[Values, Some(BatchOptions, names=("shard",))],
    how: Reporting,
) -> None:
    """Turn a video into depth: disparity, larger is nearer.

    \b
    Examples:
      depthcrafter run clip.mp4 --out depth.mp4
      depthcrafter run clip.mp4 --out depth.npz --out frames/ --size model
      depthcrafter run clip.mp4 --out depth.mp4 --max-vram 8
      depthcrafter run clip.mp4 --out both.mp4 --side-by-side --colormap gray
      depthcrafter run film.mp4 --out depth.mp4 --resume
      depthcrafter run film.mp4 --out depth.mp4 --devices cuda:0,cuda:1
      depthcrafter run film.mp4 --out depth.mp4 --shard 3/8
      depthcrafter run clip.mp4 --out depth.mp4 --start 1:05 --end 1:20 --fps 12
      ffmpeg -i clip.mp4 -f yuv4mpegpipe - | depthcrafter run - --out depth.mp4
    """
    with reported(**vars(how), names=opt.names_of(RunRequest, BatchOptions, Workers)) as console:
        from depthcrafter_cli.workflows.hand_off import laid_out

        request = laid_out(
            build(RunRequest, asked, video=video, outputs=tuple(out), create_folders=True)
        )
        console.keep_log_apart(files_of(request))
        from depthcrafter_cli import workflows

        if shard:
            if workers:
                raise UsageError(
                    "got --shard with --engine or --devices, expected one process in each job: "
                    "leave them out, and say --device."
                )
            _shard(request, build(BatchOptions, shard).shard, console)
            return
        if workers:
            result = _on_workers(request, build(Workers, workers), console)
        else:
            with console.watching() as observer:
                result = workflows.run(request, observer, console.warn, planned=console.planned)
        console.finished(request, result)


def _shard(request: RunRequest, shard: str, console: Console) -> None:
    """Compute a part of the film's shots, and say what is left to do."""
    from depthcrafter_cli.workflows.batches.shots import of_shard
    from depthcrafter_cli.workflows.runs import run_shard

    with console.watching() as observer:
        frames, left = run_shard(
            request, of_shard(shard), observer, console.warn, planned=console.planned
        )
    state = (
        f"{counted(left, 'shot')} are left to other shards; when all are complete, write the film:"
        if left
        else "all shots are complete; write the film:"
    )
    writes = f"depthcrafter resume {quoted(request.work_folder)}"
    console.done((), Line(state, command=writes), frames=frames, shots_left=left)


def _on_workers(request: RunRequest, workers: Workers, console: Console) -> "RunResult | None":
    """Run, with the shots of the film computed by several workers."""
    from depthcrafter_cli import workflows
    from depthcrafter_cli.workflows.batches.shots import on_engine

    with at_work(workers, request.device, console) as (engine, observer):
        request = replace(request, device=workers.devices.split(",")[0].strip())
        return workflows.run(
            request, observer, console.warn, planned=console.planned, elsewhere=on_engine(engine)
        )


@contextmanager
def at_work(workers: Workers, device: str, console: Console) -> Iterator[tuple["Engine", Observer]]:
    """The engine that was asked for, and the observer of its work, which Ctrl-C ends.

    Raises UsageError for a ``device`` beside it.
    """
    from depthcrafter_cli.workflows.batches.engine import engine_for

    if device != "auto":
        raise UsageError(
            "got --device with --engine or --devices, expected one way to say where the work is "
            "done: leave --device out."
        )
    engine = engine_for(workers, console.warn)
    with (
        console.observing() as observer,
        engine.interruptible(console.stopping) as beat,
    ):

        def observe(event: Progress) -> None:
            observer(event)
            beat(event)

        yield engine, observe


def files_of(request: RunRequest) -> Iterator[Path]:
    """What a run reads and writes under names that a user may know."""
    yield request.video
    yield from request.outputs
    if request.outputs:
        yield request.work_folder
    if request.outputs and (record := request.record_path):
        yield record
