"""``depthcrafter weights``: list, pull, verify and find the models on this machine."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from depthcrafter_cli.cli import options as opt
from depthcrafter_cli.cli.console import reported
from depthcrafter_cli.progress import Observer, Progress

if TYPE_CHECKING:
    from depthcrafter_cli.models.variants import ModelVariant

app = typer.Typer(help="List, pull and check model weights.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="A model, as `depthcrafter weights list` names it.")]
NameOrFolder = Annotated[
    str | None,
    typer.Argument(help="A model or a folder; the one `run` would use if left out."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]


@app.command("list")
def list_weights(as_json: Json = False, debug: opt.Debug = False) -> None:
    """Show every model: where it is, its size and its licence."""
    with reported(quiet=False, json=as_json, debug=debug):
        from depthcrafter_cli.models.variants import VARIANTS

        rows = [_describe(variant) for variant in VARIANTS.values()]
        if as_json:
            print(json.dumps(rows, indent=2))
        else:
            _print_table(rows)


def _print_table(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("model")
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("where", overflow="fold")
    table.add_column("licence")
    for row in rows:
        where = Text(row["path"] or "not on this machine")
        table.add_row(row["name"], _gigabytes(row["bytes"]), where, "\n".join(row["licences"]))
    Console().print(table)
    for row in rows:
        if row["command"] and not row["path"]:
            print(f"\nGet {row['name']} with: {row['command']}")


@app.command("pull")
def pull_weights(
    name: Name = "depthcrafter",
    to: Annotated[
        Path | None,
        typer.Option("--to", help="Put the model's folder in here instead of the usual place."),
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
    debug: opt.Debug = False,
) -> None:
    """Download a model, or continue a download that was cut off, and check every byte of it.

    Prints the licences first. The weights go to $DEPTHCRAFTER_WEIGHTS if that is set, else to
    the checkout's weights folder, else to your own data folder.
    """
    with reported(quiet=quiet, json=as_json, debug=debug):
        from depthcrafter_cli.models.download import pull
        from depthcrafter_cli.models.variants import licence_notice
        from depthcrafter_cli.models.weights import known_variant, pull_root

        variant, root = known_variant(name), to or pull_root()
        if as_json:
            _print_json(event="licence", model=name, notice=licence_notice(variant))
        elif not quiet:
            print(licence_notice(variant))
        with _observed(quiet, as_json) as observer:
            found = pull(variant, root, observer)
        if as_json:
            _print_json(event="done", model=name, path=str(found.path))
        elif not quiet:
            print(f"{name} is complete and checked: {found.path}")


@app.command("verify")
def verify_weights(
    name: NameOrFolder = None,
    quiet: Quiet = False,
    as_json: Json = False,
    debug: opt.Debug = False,
) -> None:
    """Compare the size and SHA-256 of every file with what was recorded when it was pulled."""
    with reported(quiet=quiet, json=as_json, debug=debug):
        from depthcrafter_cli.errors import WeightsError
        from depthcrafter_cli.models.manifest import verify
        from depthcrafter_cli.models.weights import find_weights, pull_command

        found = find_weights(name)
        with _observed(quiet, as_json) as observer:
            checks = verify(found.path, observer)
        for check in checks:
            if as_json:
                _print_json(event="file", **asdict(check))
            elif not quiet:
                print(f"{check.path}: {check.problem or 'ok'}")
        damaged = [check.path for check in checks if check.problem]
        if damaged:
            raise WeightsError(
                f"{len(damaged)} of {len(checks)} files in {found.path} are not as recorded "
                f"({', '.join(damaged)}), expected all intact: "
                + (
                    f"repair them with: {pull_command(found.variant.name)}"
                    if found.variant.sources
                    else "copy or install the model again."
                )
            )


@app.command("path")
def weights_path(name: NameOrFolder = None, debug: opt.Debug = False) -> None:
    """Print the folder of a model and nothing else."""
    with reported(quiet=False, json=False, debug=debug):
        from depthcrafter_cli.models.weights import find_weights

        print(find_weights(name).path)


def _describe(variant: "ModelVariant") -> dict[str, Any]:
    from depthcrafter_cli.models.weights import find_variant, pull_command

    found = find_variant(variant)
    files = [path for path in found.path.rglob("*") if path.is_file()] if found else []
    return {
        "name": variant.name,
        "description": variant.description,
        "path": str(found.path) if found else None,
        "bytes": sum(path.stat().st_size for path in files) or variant.download_bytes,
        "licences": [f"{licence.covers}: {licence.title}" for licence in variant.licences],
        "non_commercial": variant.non_commercial,
        "command": pull_command(variant.name) if variant.sources else None,
    }


@contextmanager
def _observed(quiet: bool, as_json: bool) -> Iterator[Observer]:
    """An observer that draws a bar of bytes, prints JSON lines, or does nothing."""
    if as_json:
        yield lambda event: _print_json(event="progress", **asdict(event))
    elif quiet:
        yield lambda _event: None
    else:
        with _byte_bar() as observer:
            yield observer


@contextmanager
def _byte_bar() -> Iterator[Observer]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[detail]}"),
    )
    screen = Console(stderr=True)
    with Bars(*columns, console=screen, transient=True, disable=not screen.is_terminal) as bars:
        tasks: dict[str, Any] = {}

        def draw(event: Progress) -> None:
            if event.stage not in tasks:
                tasks[event.stage] = bars.add_task(event.stage, detail="")
            task = tasks[event.stage]
            bars.update(task, completed=event.done, total=event.total, detail=event.detail)

        yield draw


def _print_json(**event: Any) -> None:
    print(json.dumps(event), flush=True)


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
