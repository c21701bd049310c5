"""``depthcrafter doctor``: what this machine has, what a run would use, and what to mend."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import typer

from depthcrafter_cli.cli import options as opt
from depthcrafter_cli.cli.console import reported
from depthcrafter_cli.cli.outlets import emit
from depthcrafter_cli.cli.streams import Line, tell

if TYPE_CHECKING:
    from depthcrafter_cli.workflows.doctor import Row

_STYLES = {"ok": "green", "warning": "yellow", "fault": "red"}


def doctor(json: opt.Json = False, debug: opt.Debug = False) -> None:
    """Show what this machine has, what a run would use of it, and what is wrong with the remedy.

    Exit code 1 means that a run could not work here. With --json, one object.
    """
    with reported(quiet=False, json=json, debug=debug):
        from depthcrafter_cli.workflows.doctor import diagnose, works

        rows = [_as_typed(row) for row in diagnose()]
        if json:
            emit("doctor", works=works(rows), rows=[asdict(row) for row in rows])
        else:
            tell(*_lines(rows))
    if not works(rows):
        raise typer.Exit(1)


def _as_typed(row: "Row") -> "Row":
    found, remedy = (opt.as_typed(text, opt.NAMES) for text in (row.found, row.remedy))
    return replace(row, found=found, remedy=remedy)


def _lines(rows: Sequence["Row"]) -> Iterator[Line]:
    before = ""
    for row in rows:
        subject = "" if row.subject == before else row.subject
        before = row.subject
        yield Line(row.found, f"{row.level:<9}{subject:<11}", _STYLES[row.level])
        if row.remedy:
            yield Line(f"-> {row.remedy}", " " * 20)
    faults = sum(row.level == "fault" for row in rows)
    yield Line("")
    if faults:
        yield Line(f"A run cannot work here: mend what is marked as a fault ({faults}).")
    else:
        yield Line("A run works here.")
