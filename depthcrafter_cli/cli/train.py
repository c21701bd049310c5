"""``depthcrafter train``: a recipe in, a model folder out."""

from pathlib import Path
from typing import Annotated

import typer

from depthcrafter_cli.cli import options as opt
from depthcrafter_cli.cli.console import reported

Recipe = Annotated[Path, typer.Argument(help="The recipe, a TOML file such as examples/nano.toml.")]
WorkFolder = Annotated[
    Path,
    typer.Option("--work-dir", help="Clips, latents and checkpoints; a run goes on from here."),
]
ModelFolder = Annotated[Path, typer.Option("--out", "-o", help="The model folder to write.")]


def train(
    recipe: Recipe,
    out: ModelFolder,
    work_dir: WorkFolder = Path("training"),
    quiet: opt.Quiet = False,
    json: opt.Json = False,
    debug: opt.Debug = False,
) -> None:
    """Train a small model from nothing, on clips with true depth that are drawn as well.

    Killed at any moment, the same command goes on from its last checkpoint.

    \b
    Example:
      depthcrafter train examples/nano.toml --out my-nano
    """
    with reported(quiet=quiet, json=json, debug=debug) as console:
        from depthcrafter_cli.training.config import load_config
        from depthcrafter_cli.workflows.train import train as carry_out

        config = load_config(recipe)
        with console.watching() as observer:
            carry_out(config, recipe.stem, work_dir, out, observer)
        if not quiet and not json:
            print(out)
