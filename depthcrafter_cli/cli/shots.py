"""``depthcrafter shots``: find where a film is cut, as a list that people can edit."""

from pathlib import Path
from typing import Annotated

from depthcrafter_cli.cli import options as opt
from depthcrafter_cli.cli.console import Reporting, reported
from depthcrafter_cli.cli.options import Some, Values, spread
from depthcrafter_cli.cli.streams import Line
from depthcrafter_cli.media.selection import ReadOptions
from depthcrafter_cli.options import build
from depthcrafter_cli.text import counted, expanded
from depthcrafter_cli.workflows.request import RunRequest

Out = Annotated[
    list[Path],
    opt.option(
        "--out",
        "-o",
        text="Where to write; may be given several times: .csv (a list to edit), .edl (CMX3600) or "
        ".png (a sheet with the first, middle and last frame of each shot).",
        parser=expanded,
    ),
]


@spread
def shots(
    video: opt.Video,
    out: Out,
    reading: Annotated[Values, Some(ReadOptions, names=("sequence_rate",))],
    asked: Annotated[Values, Some(RunRequest, names=("cuts", "overwrite"))],
    how: Reporting,
) -> None:
    """Find the shots of a film as `run` does: a list of its cuts, and a sheet of pictures.

    \b
    Examples:
      depthcrafter shots film.mp4 --out shots.csv --out shots.png
      depthcrafter shots film.mp4 --out shots.csv --cuts transnetv2
      depthcrafter shots film.mp4 --out shots.png --cuts shots.csv
    """
    with reported(**vars(how)) as console:
        console.keep_log_apart([video, *out])
        from depthcrafter_cli.workflows.film import find_shots
        from depthcrafter_cli.workflows.shots import check_shot_outputs, write_shots

        request = build(
            RunRequest, asked, video=video, outputs=(), reading=build(ReadOptions, reading)
        )
        check_shot_outputs(video, out, overwrite=request.overwrite)
        with console.observing() as observer:
            film = find_shots(request, observer, console.warn)
            write_shots(film, out, overwrite=request.overwrite)
        lengths = [len(shot) for shot in film.shots]
        each = f", of {min(lengths)} to {max(lengths)} frames" * (len(lengths) > 1)
        console.done(
            out,
            Line(f"{counted(len(lengths), 'shot')} in {counted(sum(lengths), 'frame')}{each}"),
            frames=sum(lengths),
            shots=[[shot.start, shot.stop] for shot in film.shots],
        )
