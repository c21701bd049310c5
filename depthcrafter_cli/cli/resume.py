"""``depthcrafter resume`` and ``finish``: go on from a run's folder."""

from dataclasses import replace

from depthcrafter_cli.cli import options as opt
from depthcrafter_cli.cli.console import Reporting, reported
from depthcrafter_cli.cli.options import ResultValues, ResumeValues, spread
from depthcrafter_cli.cli.run import files_of
from depthcrafter_cli.workflows.request import FINISHED


@spread
def resume(
    folder: opt.WorkFolder,
    asked: ResumeValues,
    how: Reporting,
) -> None:
    """Go on with a run that was stopped or killed, at its first unfinished step.

    Memory limits are those of the run unless others are given.

    \b
    Examples:
      depthcrafter resume depth.mp4.work
    """
    with reported(**vars(how)) as console:
        from depthcrafter_cli import workflows
        from depthcrafter_cli.workflows.state import RunState

        stopped = RunState(folder).saved().request
        console.keep_log_apart(files_of(stopped))
        asked["keep_work"] |= stopped.keep_work
        with console.watching() as observer:
            result = workflows.resume(
                folder, observer, console.warn, planned=console.planned, **asked
            )
        console.finished(stopped, result)


@spread
def finish(
    folder: opt.WorkFolder,
    out: opt.Outputs,
    asked: ResultValues,
    how: Reporting,
) -> None:
    """Make other outputs from a run that was kept (--keep-work), without its model.

    \b
    Examples:
      depthcrafter finish depth.mp4.work --out matte.mp4 --colormap gray
      depthcrafter finish depth.mp4.work --out frames/ --size 1280x720
    """
    with reported(**vars(how)) as console:
        from depthcrafter_cli import workflows
        from depthcrafter_cli.workflows.hand_off import laid_out
        from depthcrafter_cli.workflows.record import written
        from depthcrafter_cli.workflows.state import RunState

        # Other outputs look as is asked now, not as those of the run that was kept.
        look = {**FINISHED, **asked}
        saved = RunState(folder).saved().request
        request = laid_out(replace(saved, outputs=tuple(out), **look))
        console.keep_log_apart(files_of(request))
        console.warn_of_unread([request])
        with console.watching() as observer:
            frames = workflows.finish(folder, out, observer, console.warn, **look)
        made = written(request, 1 + len(RunState(folder).saved().provenance.cuts))
        console.done(made, frames=frames)
