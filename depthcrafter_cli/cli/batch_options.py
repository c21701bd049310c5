"""The options that ``batch`` has beside those of ``run``."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

import typer

from depthcrafter_cli.cli.options import NAMES as RUN_NAMES
from depthcrafter_cli.cli.options import option
from depthcrafter_cli.text import expanded

Sources = Annotated[
    list[str],
    typer.Argument(
        help="Folders (with all below), quoted patterns such as 'shots/**/*.mov', lists (.txt with "
        "a path a line; .csv with a column 'video', one 'name' and options of run), videos.",
        metavar="SOURCE...",
    ),
]
OutFolder = Annotated[
    Path,
    option(
        "--out", "-o", text="The folder of the results, which mirrors the sources.", parser=expanded
    ),
]
Formats = Annotated[
    list[str] | None,
    option(
        "--format",
        "-f",
        text="mp4 (default), mov, mkv, npz, npy, png, tif or exr; may be given several times.",
    ),
]
Resume = Annotated[
    bool,
    option(
        "--resume",
        text="Skip what is complete, go on with what was stopped, do the rest.",
    ),
]
SkipExisting = Annotated[
    bool,
    option(
        "--skip-existing",
        text="Skip videos whose results are complete, by their records and contents.",
    ),
]
Retries = Annotated[
    int,
    option(
        "--retries",
        text="How often a video is tried again if memory, a disk or a worker failed. Default: 2.",
    ),
]
DryRun = Annotated[bool, option("--dry-run", text="Check every video and say what would be done.")]
Report = Annotated[
    Path | None,
    option("--report", text="Write what came of every video: .json or .csv.", parser=expanded),
]
Shard = Annotated[
    str | None,
    option("--shard", text="Only the i-th of n parts, as i/n: one for each job of an array."),
]
Devices = Annotated[
    str,
    option(
        "--devices",
        text="One worker each: auto (default: every GPU), or a list such as cuda:0,cuda:1.",
    ),
]
Engine = Annotated[
    str,
    option(
        "--engine",
        text="auto (default: a process for each GPU), local (this process), processes, or ray.",
    ),
]
RayAddress = Annotated[
    str | None,
    option("--ray-address", text="A Ray cluster, such as auto or head:6379. Default: a new one."),
]
KeepWork = Annotated[
    bool,
    option("--keep-work", text="Keep that folder, to make other outputs with 'finish'."),
]
WorkDir = Annotated[
    Path | None,
    option(
        "--work-dir",
        text="Where the videos keep their state. Default: beside the results.",
        parser=expanded,
    ),
]


@dataclass(frozen=True)
class BatchOptions:
    """How a batch is carried out, apart from what is asked of its videos."""

    format: Formats = None
    resume: Resume = False
    skip_existing: SkipExisting = False
    retries: Retries = 2
    dry_run: DryRun = False
    report: Report = None
    shard: Shard = None
    devices: Devices = "auto"
    engine: Engine = "auto"
    ray_address: RayAddress = None
    work_dir: WorkDir = None
    keep_work: KeepWork = False


NAMES = RUN_NAMES | {each.name: f"--{each.name.replace('_', '-')}" for each in fields(BatchOptions)}
NAMES |= {"device": "--devices", "skip_complete": "--resume"}
"""The options that set what sentences name, of a batch."""
