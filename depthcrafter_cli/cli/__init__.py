"""The command line. Nothing heavy is imported here: ``--help`` and ``--version`` are instant."""

import sys
from io import TextIOWrapper

from depthcrafter_cli import __version__
from depthcrafter_cli.errors import INTERRUPTED_EXIT_CODE, DepthCrafterError
from depthcrafter_cli.workflows.interrupts import Interrupted, raise_on_signals


def main() -> None:
    """Entry point of the ``depthcrafter`` command."""
    if sys.argv[1:] in (["--version"], ["-V"]):
        print(f"depthcrafter {__version__}")
        return
    _print_any_name()
    try:
        raise_on_signals()
        from depthcrafter_cli.cli.app import app

        app()
    except DepthCrafterError as error:
        print(f"depthcrafter: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except Interrupted:
        print("depthcrafter: interrupted.", file=sys.stderr)
        sys.exit(INTERRUPTED_EXIT_CODE)


def _print_any_name() -> None:
    """Names of files may be in no encoding, or in none that the output has: that is no error."""
    if isinstance(sys.stdout, TextIOWrapper):
        unicode = sys.stdout.encoding.lower() == "utf-8"
        sys.stdout.reconfigure(errors="surrogateescape" if unicode else "backslashreplace")
