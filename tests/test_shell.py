"""Printed commands can be pasted into the shell they came from."""

import subprocess

import psutil
import pytest

from depthcrafter_cli import disk
from depthcrafter_cli.shell import quoted

NAMES = [r"C:\films\depth.mp4.work", r"C:\my films\depth.mp4.work", r"D:\it's $5 `now`.work"]


class Started:
    """A process by its name, as psutil tells it."""

    def __init__(self, name: str) -> None:
        self._name = name

    def name(self) -> str:
        return self._name


@pytest.mark.parametrize(
    ("shells", "expected"),
    [
        (["depthcrafter.exe", "cmd.exe", "explorer.exe"],
         [NAMES[0], f'"{NAMES[1]}"', f'"{NAMES[2]}"']),
        (["python.exe", "pwsh.exe", "WindowsTerminal.exe"],
         [NAMES[0], f"'{NAMES[1]}'", r"'D:\it''s $5 `now`.work'"]),
        (["powershell.exe"], [NAMES[0], f"'{NAMES[1]}'", r"'D:\it''s $5 `now`.work'"]),
        (["explorer.exe"], [NAMES[0], f'"{NAMES[1]}"', f'"{NAMES[2]}"']),
        (["bash.exe", "mintty.exe"],
         [f"'{NAMES[0]}'", f"'{NAMES[1]}'", "'D:\\it'\"'\"'s $5 `now`.work'"]),
    ],
)  # fmt: skip
def test_on_windows_arguments_are_quoted_for_the_shell_that_started_us(
    monkeypatch, shells, expected
):
    monkeypatch.setattr(disk, "WINDOWS", True)
    monkeypatch.setattr(psutil.Process, "parents", lambda _: [Started(name) for name in shells])
    assert [quoted(name) for name in NAMES] == expected


def test_on_windows_without_a_view_of_other_processes_quotes_are_double(monkeypatch):
    def refuse(_process):
        raise psutil.AccessDenied

    monkeypatch.setattr(disk, "WINDOWS", True)
    monkeypatch.setattr(psutil.Process, "parents", refuse)
    assert quoted(NAMES[1]) == f'"{NAMES[1]}"'


@pytest.mark.skipif(disk.WINDOWS, reason="a shell of POSIX")
@pytest.mark.parametrize("name", [*NAMES, "a b", "it's", "-", "日本", "$HOME"])
def test_elsewhere_a_shell_takes_what_is_printed(name):
    command = ["sh", "-c", f"printf %s {quoted(name)}"]
    assert subprocess.run(command, capture_output=True, text=True).stdout == name
