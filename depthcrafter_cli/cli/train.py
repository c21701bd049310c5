"""``depthcrafter train``: a recipe in, a model folder out."""

from pathlib import Path
from typing import Annotated

import typer

from depthcrafter_cli.cli import options as opt
from depthcrafter_cli.cli.console import Reporting, reported
from depthcrafter_cli.cli.options import Some, Values, spread
from depthcrafter_cli.text import expanded
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

_NAMES = {name: f"--{name.replace('_', '-')}" for name in ("work_dir", "resume", "out", "device")}
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
    *,
    asked: Annotated[Values, Some(RunRequest, names=("device",))],
    how: Reporting,
) -> None:
    """Train a model in stages: on your own clips, or on clips with true depth that are drawn.

    Killed at any moment, the same command goes on from its last checkpoint. On several GPUs, start
    it with `accelerate launch -m depthcrafter_cli train ...`.

    \b
    Examples:
      depthcrafter train examples/nano.toml --out my-nano
      depthcrafter train examples/fine-tune.toml --out my-model --work-dir tuning
    """
    with reported(**vars(how), names=_NAMES) as console:
        console.keep_log_apart([recipe, out])
        from depthcrafter_cli.training.recipe import load_recipe
        from depthcrafter_cli.workflows.interrupts import Interrupted
        from depthcrafter_cli.workflows.train import train as carry_out

        config = load_recipe(recipe)
        with console.watching(kept=()) as observer:  # a recipe's stages may have any name
            try:
                began_as = carry_out(
                    config, recipe.stem, work_dir, out, observer, console.warn,
                    resume=resume, **asked,
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
