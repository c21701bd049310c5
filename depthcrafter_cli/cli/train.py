"""``depthcrafter train``: a recipe in, a model folder out."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from depthcrafter_cli.cli import options as opt
from depthcrafter_cli.cli.console import Reporting, reported
from depthcrafter_cli.cli.options import Some, Values, spread
from depthcrafter_cli.options import build
from depthcrafter_cli.text import expanded
from depthcrafter_cli.workflows.request import RunRequest
from depthcrafter_cli.workflows.training_request import TrainingRequest

Recipe = Annotated[
    Path,
    typer.Argument(
        help="The recipe, a TOML file such as examples/nano.toml.", parser=opt.past_click(expanded)
    ),
]
ModelFolder = Annotated[
    Path,
    opt.option("--out", "-o", text="The model folder to write, new or empty.", parser=expanded),
]

_NAMES = opt.names_of(TrainingRequest) | {"out": "--out", "device": "--device"}
_NON_COMMERCIAL = (
    "the trained weights keep the licences of those they were trained on from: for non-commercial "
    "use only (depthcrafter weights list)."
)


@spread
def train(
    recipe: Recipe,
    out: ModelFolder,
    *,
    asked: Annotated[Values, Some(TrainingRequest)],
    device: Annotated[Values, Some(RunRequest, names=("device",))],
    how: Reporting,
) -> None:
    """Train a model in stages: on your own clips, or on clips with true depth that are drawn.

    Stopped by Ctrl-C it saves the step it is at, and the same command goes on from there; killed
    at any moment, from its last checkpoint. On several GPUs, start it with `accelerate launch -m
    depthcrafter_cli train ...`.

    \b
    Examples:
      depthcrafter train examples/nano.toml --out my-nano
      depthcrafter train examples/fine-tune.toml --out my-model --work-dir tuning
      depthcrafter train my.toml --out best --work-dir tuning --export tuning/2-temporal.best.ckpt
    """
    if int(os.environ.get("RANK", "0")):
        how = replace(how, quiet=True)  # one of several processes speaks for all
    with reported(**vars(how), names=_NAMES) as console:
        console.keep_log_apart([recipe, out])
        from depthcrafter_cli.progress import Interrupted
        from depthcrafter_cli.training.recipe import load_recipe
        from depthcrafter_cli.workflows.train import train as carry_out

        request = build(TrainingRequest, {**asked, **device}, recipe=recipe, out=out)
        config = load_recipe(recipe)
        with console.watching(kept=config.stage_names) as observer:
            try:
                began_as = carry_out(config, request, observer, console.warn)
            except Interrupted:
                console.hint = "Go on with: the same command."
                raise
        from accelerate import PartialState

        if not PartialState().is_main_process:
            return
        if began_as.non_commercial:
            console.warn(_NON_COMMERCIAL)
        console.done([out])
