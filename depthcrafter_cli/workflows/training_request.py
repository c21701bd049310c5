"""What is asked of a training run, apart from its recipe. Only options are imported."""

from dataclasses import dataclass
from pathlib import Path

from depthcrafter_cli.options import option, settle_options
from depthcrafter_cli.text import clock_seconds, expanded


def _limit(text: str) -> float:
    """Seconds of a time as typed. Raises ValueError for none, and for other text."""
    seconds = clock_seconds(text)
    if not seconds:
        raise ValueError(f"{text} is no time")
    return float(seconds)


@dataclass(frozen=True)
class TrainingRequest:
    """A recipe to carry out, in ``work_dir``, and the folder ``out`` of the model to write.

    Raises UsageError for a value outside its range.
    """

    recipe: Path
    out: Path
    work_dir: Path = option(
        Path("training"),
        help="Clips, latents and checkpoints; a run goes on from here. Default: {default}.",
        read=expanded,
    )
    resume: bool = option(False, help="Insist on going on: fail if there is no checkpoint yet.")
    time_limit: float | None = option(
        None,
        help="Save and stop after this time: seconds or HH:MM:SS. The same command goes on.",
        unit="seconds",
        above=0,
        read=_limit,
        form="seconds or HH:MM:SS: write 5400 or 1:30:00",
    )
    export: Path | None = option(
        None,
        help="Train nothing: write the model of a checkpoint of WORK-DIR, such as 1.best.ckpt.",
        read=expanded,
    )
    share_model: bool = option(
        False,
        help="Processes share the model (FSDP), not the batch alone: each needs less memory.",
    )
    tensorboard: bool = option(
        False,
        help="Write what the log tells, and pictures of validation, to WORK-DIR/tensorboard, too.",
    )
    device: str = "auto"

    def __post_init__(self) -> None:
        settle_options(self)
