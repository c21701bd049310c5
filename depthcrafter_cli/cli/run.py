"""``depthcrafter run``: read the options, show the plan, run it, say where the files are."""

from collections.abc import Iterator
from pathlib import Path

from depthcrafter_cli.cli import options as opt
from depthcrafter_cli.cli.console import Reporting, reported
from depthcrafter_cli.cli.options import RunValues, spread
from depthcrafter_cli.options import build
from depthcrafter_cli.workflows.request import RunRequest


@spread
def run(
    video: opt.VideoToRun,
    out: opt.Outputs,
    asked: RunValues,
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
      depthcrafter run clip.mp4 --out depth.mp4 --start 1:05 --end 1:20 --fps 12
      ffmpeg -i clip.mp4 -f yuv4mpegpipe - | depthcrafter run - --out depth.mp4
    """
    with reported(**vars(how)) as console:
        from depthcrafter_cli.workflows.hand_off import laid_out

        request = laid_out(
            build(RunRequest, asked, video=video, outputs=tuple(out), create_folders=True)
        )
        console.keep_log_apart(*files_of(request))
        with console.watching() as observer:
            from depthcrafter_cli import workflows

            result = workflows.run(request, observer, console.warn, planned=console.planned)
        console.finished(request.outputs, result)


def files_of(request: RunRequest) -> Iterator[Path]:
    """What a run reads and writes under names that a user may know."""
    yield request.video
    yield from request.outputs
    if request.outputs:
        yield request.work_folder
    if request.outputs and (record := request.record_path):
        yield record
