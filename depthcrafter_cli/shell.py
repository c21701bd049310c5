"""Commands as people can type them, in the shell that they use."""

import re
import shlex
from contextlib import suppress
from pathlib import Path

from depthcrafter_cli import disk

_PLAIN = re.compile(r"[\w./\\:~-]+")
_POWERSHELL = ("powershell", "pwsh")
_POSIX = ("bash", "dash", "fish", "sh", "zsh")
_POWERSHELL_QUOTES = re.compile("(['‘’‚‛])")  # noqa: RUF001 - all of them end a string there


def quoted(argument: str | Path) -> str:
    """An argument such that the shell of this machine, or the one we were started from, takes it.

    On Windows that is cmd, PowerShell, or a POSIX shell such as Git's.
    """
    text = str(argument)
    shell = _windows_shell() if disk.WINDOWS else "sh"
    if shell in _POSIX:
        return shlex.quote(text)
    if _PLAIN.fullmatch(text):
        return text
    if shell in _POWERSHELL:
        return "'" + _POWERSHELL_QUOTES.sub(r"\1\1", text) + "'"
    return f'"{text}"'  # no file's name has a double quote there


def _windows_shell() -> str:
    """The nearest shell among the processes that started this one; cmd if none can be seen."""
    import psutil

    with suppress(psutil.Error, OSError):
        for process in psutil.Process().parents():
            name: str = process.name().lower().removesuffix(".exe")
            if name in ("cmd", *_POWERSHELL, *_POSIX):
                return name
    return "cmd"
