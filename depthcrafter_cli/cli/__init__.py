"""The command line. Nothing heavy is imported here: ``--help`` and ``--version`` are instant."""

import sys
from pathlib import Path

from depthcrafter_cli import __version__
from depthcrafter_cli.cli.streams import Line, complain, prepare_streams, put, standard_output
from depthcrafter_cli.errors import INTERRUPTED_EXIT_CODE, DepthCrafterError, UsageError
from depthcrafter_cli.progress import Interrupted
from depthcrafter_cli.workflows.interrupts import raise_on_signals


def main() -> None:
    """Run the ``depthcrafter`` command and end the process with its exit code."""
    prepare_streams()
    try:
        if sys.argv[1:] in (["--version"], ["-V"]):
            put(f"depthcrafter {__version__}\n")
            return
        raise_on_signals()
        _require_folder()
        code = _run_command()
    except DepthCrafterError as error:
        code = error.exit_code
        _failed(str(error), code)
    except Interrupted:
        code = INTERRUPTED_EXIT_CODE
        _failed("interrupted.", code)
    if code:
        sys.exit(code)


def _require_folder() -> None:
    """Raises UsageError if the current folder was removed: libraries then break in many ways."""
    try:
        Path.cwd()
    except FileNotFoundError:
        raise UsageError(
            "the folder you are in was removed, expected one that is there: go to another with cd."
        ) from None


def _run_command() -> int:
    """Carry out what the arguments ask for; its exit code. Raises UsageError and OutputError."""
    import typer

    from depthcrafter_cli.cli.app import app
    from depthcrafter_cli.cli.options import PastClick

    # Typer brings click along, under a name that depends on its version.
    wrong_usage: type[Exception] = typer.BadParameter.__bases__[0]
    try:
        with standard_output():  # help is written by typer
            try:
                return app(standalone_mode=False) or 0
            except SystemExit as stop:
                if isinstance(stop.__context__, BrokenPipeError):  # typer's way to end quietly
                    raise stop.__context__ from None
                raise
    except PastClick as carrier:
        raise (carrier.__cause__ or carrier) from None
    except wrong_usage as error:
        sentence = error.format_message()  # type: ignore[attr-defined]
        context = getattr(error, "ctx", None)
        if context is None or sentence == context.get_help():  # of a command without arguments
            complain(*map(Line, sentence.splitlines()))
            return UsageError.exit_code
        raise UsageError(f"{sentence} See: {context.command_path} --help") from None
    return 0


def _failed(sentence: str, code: int) -> None:
    """What ended the command before, or after, its console was there to say so."""
    if "--json" in sys.argv:
        from depthcrafter_cli.cli.outlets import emit

        emit("error", message=sentence, exit_code=code)
    else:
        complain(Line(f"depthcrafter: {sentence}"))
