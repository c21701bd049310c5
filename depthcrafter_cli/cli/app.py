"""The commands, and what ``depthcrafter --help`` says."""

from typing import Annotated

import typer

from depthcrafter_cli import __version__
from depthcrafter_cli.cli.batch import batch
from depthcrafter_cli.cli.doctor import doctor
from depthcrafter_cli.cli.evaluate import evaluate
from depthcrafter_cli.cli.fit import fit
from depthcrafter_cli.cli.plan import plan
from depthcrafter_cli.cli.resume import finish, resume
from depthcrafter_cli.cli.run import run
from depthcrafter_cli.cli.shots import shots
from depthcrafter_cli.cli.train import train
from depthcrafter_cli.cli.weights import app as weights

EXIT_CODES = """
Exit codes: 0 done, 1 unexpected, 2 usage, 3 input, 4 weights, 5 memory, 6 output, 7 videos of a
batch failed, 130 interrupted.
"""

app = typer.Typer(
    name="depthcrafter",
    no_args_is_help=True,
    # Rich's help costs a third of a second, every time.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command(epilog=EXIT_CODES)(run)
app.command(epilog=EXIT_CODES)(batch)
app.command(epilog=EXIT_CODES)(resume)
app.command(epilog=EXIT_CODES)(finish)
app.command(epilog=EXIT_CODES)(fit)
app.command(epilog=EXIT_CODES)(plan)
app.command(epilog=EXIT_CODES)(shots)
app.command(epilog=EXIT_CODES)(evaluate)
app.command(epilog=EXIT_CODES)(train)
app.command(epilog=EXIT_CODES)(doctor)
app.add_typer(weights, name="weights")


@app.callback(epilog=EXIT_CODES)
def depthcrafter(
    version: Annotated[
        bool, typer.Option("--version", "-V", help="Print the version and exit.")
    ] = False,
) -> None:
    """Turn any video into a temporally consistent depth video.

    \b
    Examples:
      depthcrafter run clip.mp4 --out depth.mp4
      depthcrafter run clip.mp4 --out depth.mp4 --out depth.npz --side-by-side
      depthcrafter batch shots/ --out depth/ --resume
      depthcrafter resume depth.mp4.work
      depthcrafter plan clip.mp4 --max-vram 8 --weights depthcrafter
      depthcrafter weights pull depthcrafter
      depthcrafter doctor
    """
    if version:
        print(f"depthcrafter {__version__}")
        raise typer.Exit
