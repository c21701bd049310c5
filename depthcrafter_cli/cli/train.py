"""``depthcrafter train``: a recipe in, a model folder out."""

import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from depthcrafter_cli.cli import options as opt
from depthcrafter_cli.cli.console import Reporting, reported
from depthcrafter_cli.cli.options import Some, Values, spread
from depthcrafter_cli.errors import UsageError
from depthcrafter_cli.text import clock_seconds, expanded
from depthcrafter_cli.workflows.request import RunRequest

Recipe = Annotated[
    Path,
    typer.Argument(
        help="The recipe, a TOML file such as examples/nano.toml.", parser=opt.past_click(expanded)
    ),
]
WorkFolder = Annotated[
    Path,
    opt.option(
        "--work-dir",
        text="Clips, latents and checkpoints; a run goes on from here. Default: training.",
        parser=expanded,
    ),
]
ModelFolder = Annotated[
    Path,
    opt.option("--out", "-o", text="The model folder to write, new or empty.", parser=expanded),
]
Resume = Annotated[
    bool, opt.option("--resume", text="Insist on going on: fail if there is no checkpoint yet.")
]


def _time_limit(text: str) -> float:
    """Seconds of a time as typed. Raises UsageError."""
    seconds = clock_seconds(text)
    if not seconds:
        raise UsageError(
            f"got --time-limit {text}, expected seconds or HH:MM:SS: write 5400 or 1:30:00."
        )
    return float(seconds)


TimeLimit = Annotated[
    float | None,
    typer.Option(
        "--time-limit",
        help="Save and stop after this time: seconds or HH:MM:SS. The same command goes on.",
        show_default=False,
        metavar="TIME",
        parser=opt.past_click(_time_limit),
    ),
]
ShareModel = Annotated[
    bool,
    opt.option(
        "--share-model",
        text="Processes share the model (FSDP), not the batch alone: each needs less memory.",
    ),
]
TensorBoard = Annotated[
    bool,
    opt.option(
        "--tensorboard",
        text="Write what the log tells, and pictures of validation, to WORK-DIR/tensorboard, too.",
    ),
]
Export = Annotated[
    Path | None,
    opt.option(
        "--export",
        text="Train nothing: write the model of a checkpoint of WORK-DIR, such as 1.best.ckpt.",
        parser=expanded,
    ),
]

_NAMES = {
    name: f"--{name.replace('_', '-')}"
    for name in ("work_dir", "resume", "out", "device", "share_model", "tensorboard")
}
_NON_COMMERCIAL = (
    "the trained weights keep the licences of those they were trained on from: for non-commercial "
    "use only (depthcrafter weights list)."
)


@spread
def train(
    recipe: Recipe,
    out: ModelFolder,
    work_dir: WorkFolder = Path("training"),
    resume: Resume = False,
    time_limit: TimeLimit = None,
    export: Export = None,
    share_model: ShareModel = False,
    tensorboard: TensorBoard = False,
    *,
    asked: Annotated[Values, Some(RunRequest, names=("device",))],
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

        config = load_recipe(recipe)
        with console.watching(kept=config.stage_names) as observer:
            try:
                began_as = carry_out(
                    config, recipe.stem, work_dir, out, observer, console.warn,
                    resume=resume, time_limit=time_limit or math.inf, export=export,
                    share_model=share_model, tensorboard=tensorboard,
                    recipe=recipe.read_text(encoding="utf-8"), **asked,
                )  # fmt: skip
            except Interrupted:
                console.hint = "Go on with: the same command."
                raise
        from accelerate import PartialState

        if not PartialState().is_main_process:
            return
        if began_as.non_commercial:
            console.warn(_NON_COMMERCIAL)
        console.done([out])
