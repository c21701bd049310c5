"""The commands, and what ``depthcrafter --help`` says."""

from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from depthcrafter_cli import __version__

EXIT_CODES = """
Exit codes: 0 done, 1 unexpected, 2 usage, 3 input, 4 weights, 5 memory, 6 output, 7 videos of a
batch failed, 130 interrupted.
"""

# The file of this folder in which each command is.
_COMMANDS = {
    "run": "run",
    "batch": "batch",
    "resume": "resume",
    "finish": "resume",
    "fit": "fit",
    "plan": "plan",
    "shots": "shots",
    "evaluate": "evaluate",
    "report": "report",
    "check": "check",
    "compare": "compare",
    "figure": "figure",
    "train": "train",
    "doctor": "doctor",
    "weights": "weights",
}


class Commands(TyperGroup):
    """The commands, each of which is imported when it is used."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The names in the order of the help."""
        return list(_COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of a name, as typer makes it; None if there is none."""
        if cmd_name not in _COMMANDS:
            return None
        command = getattr(import_module(f"depthcrafter_cli.cli.{_COMMANDS[cmd_name]}"), cmd_name)
        if isinstance(command, typer.Typer):
            return get_command(command)
        alone = typer.Typer(add_completion=False, rich_markup_mode=None)
        alone.command(cmd_name, epilog=EXIT_CODES)(command)
        return get_command(alone)


app = typer.Typer(
    name="depthcrafter",
    cls=Commands,
    no_args_is_help=True,
    # Rich's help costs a third of a second, every time.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


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
