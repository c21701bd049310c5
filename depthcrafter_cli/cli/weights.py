"""``depthcrafter weights``: list, pull, push, verify and find models."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from depthcrafter_cli.cli import options as opt
from depthcrafter_cli.cli.console import Reporting, reported
from depthcrafter_cli.cli.options import spread
from depthcrafter_cli.cli.streams import Line, put, tell, tell_paths
from depthcrafter_cli.text import expanded, size_in_words

if TYPE_CHECKING:
    from depthcrafter_cli.models.registry import ModelSpec

weights = typer.Typer(
    help="List, pull and check model weights.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)

Name = Annotated[
    str,
    typer.Argument(
        help="A model, as `depthcrafter weights list` names it, or a repository of the hub, "
        "org/name, to which one was pushed."
    ),
]
NameOrFolder = Annotated[
    str | None,
    typer.Argument(help="A model or a folder; the one `run` would use if left out."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


@weights.command("list")
def list_weights(as_json: Json = False, debug: opt.Debug = False) -> None:
    """Show every model: where it is, its size and its licence."""
    with reported(quiet=False, json=as_json, debug=debug):
        from depthcrafter_cli.models.registry import MODELS

        rows = [_describe(spec) for spec in MODELS.values()]
        if as_json:
            put(json.dumps(rows, indent=2) + "\n")
        else:
            tell(*_rows(rows))


def _rows(rows: list[dict[str, Any]]) -> Iterator[Line]:
    longest = max(len(row["name"]) for row in rows)
    for row in rows:
        numbers = f"{row['name']:<{longest}}{size_in_words(row['bytes']):>9}  "
        yield Line(row["path"] or "not on this machine", numbers)
        for licence in row["licences"]:
            yield Line(licence, " " * len(numbers))
    if any(row["command"] and not row["path"] for row in rows):
        yield Line("")
        yield Line("Get one that is not here with: depthcrafter weights pull NAME")


@weights.command("pull")
@spread
def pull_weights(
    name: Name = "depthcrafter",
    to: Annotated[
        Path | None,
        opt.option(
            "--to",
            text="Put the model's folder in here instead of the usual place.",
            parser=expanded,
        ),
    ] = None,
    given: Annotated[
        list[Path] | None,
        opt.option(
            "--from",
            text="Take the files from a folder, a Hugging Face cache or files on this machine, "
            "not from the network; may be given several times.",
            parser=expanded,
        ),
    ] = None,
    more: Annotated[
        list[Path] | None,
        typer.Argument(metavar="FILES", parser=opt.past_click(expanded), hidden=True),
    ] = None,
    *,
    how: Reporting,
) -> None:
    """Download a model, or continue a download that was cut off, and check every byte of it.

    Prints the licences first. The weights go to $DEPTHCRAFTER_WEIGHTS if that is set, else to
    the checkout's weights folder, else to your own data folder. With --from they are copied from
    there and checked the same way.
    """
    with reported(**vars(how)) as console:
        from depthcrafter_cli.errors import UsageError
        from depthcrafter_cli.models.download import find_repository, pull
        from depthcrafter_cli.models.registry import licence_notice
        from depthcrafter_cli.models.weights import is_repository, pull_root, registered
        from depthcrafter_cli.progress import Interrupted

        if is_repository(name) and not given:
            spec, settings = find_repository(name, console.warn)
        else:
            spec, settings = registered(name), {}
        notice = licence_notice(spec)
        lines = map(Line, notice.splitlines())
        console.say("licence", {"model": name, "notice": notice}, *lines, level="result")
        if more and not given:
            raise UsageError(
                f"got {more[0]} after the model's name, expected files only after --from: correct "
                "the command."
            )
        with console.observing() as observer:
            try:
                found = pull(
                    spec, to or pull_root(), observer, console.warn,
                    given=(*(given or ()), *(more or ())), settings=settings,
                )  # fmt: skip
            except Interrupted:
                console.hint = "Go on with: the same command."
                raise
        complete = Line(f"{name} is complete and checked")
        console.done([found.path], complete, model=name, path=str(found.path))


@weights.command("push")
@spread
def push_weights(
    folder: Annotated[
        Path,
        typer.Argument(
            help="A model or an adapter that `depthcrafter train` has made.",
            parser=opt.past_click(expanded),
        ),
    ],
    repository: Annotated[str, typer.Argument(help="Its owner and name on the hub, org/name.")],
    private: Annotated[
        bool, opt.option("--private", text="Only you see the repository, if it is made now.")
    ] = False,
    *,
    how: Reporting,
) -> None:
    """Upload a model to the Hugging Face Hub, from where `weights pull org/name` takes it.

    The folder must be whole, and have a README.md that tells its licence. Log in with `hf auth
    login`, or set HF_TOKEN.
    """
    with reported(**vars(how)) as console:
        from depthcrafter_cli.models.manifest import read_manifest
        from depthcrafter_cli.models.registry import MODELS
        from depthcrafter_cli.models.upload import push

        with console.observing() as observer:
            page = push(folder, repository, observer, private=private)
        manifest = read_manifest(folder)
        if manifest and manifest.base in MODELS and MODELS[manifest.base].non_commercial:
            console.warn(
                f"What was trained on from {MODELS[manifest.base].title} is for non-commercial use "
                "only: let the page say so."
            )
        console.done([], Line(f"get it with: depthcrafter weights pull {repository}"), paths=[page])


@weights.command("verify")
@spread
def verify_weights(
    name: NameOrFolder = None,
    *,
    how: Reporting,
) -> None:
    """Compare the size and SHA-256 of every file with what was recorded when it was pulled."""
    with reported(**vars(how)) as console:
        from depthcrafter_cli.errors import WeightsError
        from depthcrafter_cli.models.manifest import verify
        from depthcrafter_cli.models.weights import find_weights, pull_command

        found = find_weights(name)
        with console.observing() as observer:
            checks = [each for home in found.folders for each in verify(home, observer)]
        for check in checks:
            line = Line(f"{check.path}: {check.problem or 'ok'}")
            console.say("file", asdict(check), line, level="listing")
        damaged = [check.path for check in checks if check.problem]
        if damaged:
            raise WeightsError(
                f"{len(damaged)} of {len(checks)} files in {found.path} are not as recorded "
                f"({', '.join(damaged)}), expected all intact: "
                + (
                    f"repair them with: {pull_command(found.spec.name)}"
                    if found.spec.sources
                    else "copy or install the model again."
                )
            )


@weights.command("path")
def weights_path(name: NameOrFolder = None, debug: opt.Debug = False) -> None:
    """Print the folder of a model and nothing else."""
    with reported(quiet=False, json=False, debug=debug):
        from depthcrafter_cli.models.weights import find_weights

        tell_paths(*find_weights(name).folders)


def _describe(spec: "ModelSpec") -> dict[str, Any]:
    from depthcrafter_cli.models.weights import find_installed, pull_command

    found = find_installed(spec)
    files = [path for path in found.path.rglob("*") if path.is_file()] if found else []
    return {
        "name": spec.name,
        "description": spec.description,
        "path": str(found.path) if found else None,
        "bytes": sum(path.stat().st_size for path in files) or spec.download_bytes,
        "licences": [f"{licence.covers}: {licence.title}" for licence in spec.licences],
        "non_commercial": spec.non_commercial,
        "command": pull_command(spec.name) if spec.sources else None,
    }
