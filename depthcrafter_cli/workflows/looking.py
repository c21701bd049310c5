"""What the commands that look at results are asked. Only options are imported."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from depthcrafter_cli.options import check_options, option
from depthcrafter_cli.text import video_path


@dataclass(frozen=True)
class CheckRequest:
    """What is looked at: an output, record or kept state of a run, or depth of any program."""

    depth: Path
    video: Path | None = option(
        None, help="What the depth is of, where no record tells.", read=video_path
    )
    outputs: tuple[Path, ...] = ()
    columns: tuple[float, ...] = option(
        (0.25, 0.5, 0.75),
        help="Places of the temporal profiles, from 0 (left) to 1. Default: 0.25,0.5,0.75.",
        read=lambda text: tuple(map(float, text.split(","))),
        accepts=lambda shares: bool(shares) and all(0 <= share <= 1 for share in shares),
        form="places from 0 (left) to 1 (right) with commas between, such as 0.25,0.5",
    )
    overwrite: bool = False

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True)
class CompareRequest:
    """One video and what is compared on it.

    ``methods`` are names, each with settings if wanted: ``depthcrafter:steps=1,weights=nano``.
    ``results`` are depth that is there. ``options`` are fields of a
    :class:`~depthcrafter_cli.workflows.request.RunRequest` and of its parts, for all methods.
    """

    video: Path
    outputs: tuple[Path, ...]
    methods: tuple[str, ...] = ()
    results: tuple[Path, ...] = ()
    column: float = option(
        0.5,
        help="Place of the temporal profiles, from 0 (left) to 1. Default: {default}.",
        minimum=0,
        maximum=1,
    )
    colormap: str = "inferno"
    overwrite: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True)
class ReportRequest:
    """What pages are made of: outputs, records or kept states of runs, reports of batches and of
    evaluations."""

    inputs: tuple[Path, ...]
    out: Path
    frames: int = option(
        120,
        help="The most frames that a page has. Default: {default}.",
        minimum=1,
        typed="page_frames",
    )
    max_mb: float = option(
        2.0,
        help="About how large a page may be, in megabytes. Default: {default}.",
        above=0,
    )
    overwrite: bool = False

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True)
class FigureRequest:
    """What a figure is made of: reports of evaluations or, for ``costs``, records of runs."""

    inputs: tuple[Path, ...]
    out: Path
    kind: Literal["scores", "errors", "costs"] = option(
        "scores",
        help="scores (default: bars), errors (against length), or costs (time and memory of runs).",
    )
    overwrite: bool = False

    def __post_init__(self) -> None:
        check_options(self)
