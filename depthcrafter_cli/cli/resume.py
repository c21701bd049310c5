"""``depthcrafter resume`` and ``finish``: go on from a run's folder."""

from dataclasses import replace

from depthcrafter_cli.cli import options as opt
from depthcrafter_cli.cli.console import Reporting, reported
from depthcrafter_cli.cli.groups import ResultOptions, spread
from depthcrafter_cli.cli.run import carry_out, files_of

_AS_BEFORE = "as before"


@spread
def resume(
    folder: opt.WorkFolder,
    keep_work: opt.KeepWork = False,
    max_vram: opt.MaxVram = _AS_BEFORE,
    max_ram: opt.MaxRam = _AS_BEFORE,
    *,
    how: Reporting,
) -> None:
    """Go on with a run that was stopped or killed, at its first unfinished step.

    Memory limits are those of the run unless others are given.

    \b
    Examples:
      depthcrafter resume depth.mp4.work
    """
    with reported(**vars(how)) as console:
        from depthcrafter_cli.workflows.state import RunState

        request = RunState(folder).saved().request
        if max_vram != _AS_BEFORE:
            request = replace(request, max_vram=opt.parse_gigabytes("--max-vram", max_vram))
        if max_ram != _AS_BEFORE:
            request = replace(request, max_ram=opt.parse_gigabytes("--max-ram", max_ram))
        kept = keep_work or request.keep_work
        request = replace(request, resume=True, resume_only=True, keep_work=kept)
        carry_out(request, console)


@spread
def finish(
    folder: opt.WorkFolder,
    out: opt.Outputs,
    result: ResultOptions,
    *,
    how: Reporting,
) -> None:
    """Make other outputs from a run that was kept (--keep-work), without its model.

    \b
    Examples:
      depthcrafter finish depth.mp4.work --out matte.mp4 --colormap gray
      depthcrafter finish depth.mp4.work --out frames/ --size 1280x720
    """
    with reported(**vars(how)) as console:
        from depthcrafter_cli.workflows.state import RunState

        kept = RunState(folder).saved().request
        request = replace(kept, outputs=tuple(out), create_folders=True, **result.asked())
        console.keep_log_apart(*files_of(request))
        with console.watching() as observer:
            from depthcrafter_cli.workflows import runs as workflow

            frames = workflow.finish(request, observer)
        console.done(request.outputs, frames=frames)
