"""How many videos, or the shots of a film, are carried out: what users may say of it."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from depthcrafter_cli.media.formats import format_names
from depthcrafter_cli.options import documented, option, settle_options
from depthcrafter_cli.text import expanded


@documented
@dataclass(frozen=True)
class Workers:
    """Who computes: on which devices, and what gives them their work.

    Raises UsageError for an engine that there is not.
    """

    devices: str = option(
        "auto", help="One worker each: {default} (default: every GPU), or a list: cuda:0,cuda:1."
    )
    engine: Literal["auto", "local", "processes", "ray"] = option(
        "auto",
        help="{default} (default: a process for each GPU), local (this process), processes, or "
        "ray.",
    )
    ray_address: str | None = option(
        None, help="A Ray cluster, such as auto or head:6379. Default: a new one."
    )

    def __post_init__(self) -> None:
        settle_options(self)


def _read_formats(text: str) -> tuple[str, ...]:
    """Each of the formats once, in their order. Raises ValueError for none."""
    if not text.strip():
        raise ValueError(text)
    return tuple(dict.fromkeys(text.split()))


def _is_shard(text: str) -> bool:
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    return found is not None and 1 <= int(found[1]) <= int(found[2])


@documented
@dataclass(frozen=True)
class BatchOptions:
    """How a batch is carried out, apart from what is asked of its videos.

    Raises UsageError for a value outside its range.
    """

    formats: tuple[str, ...] = option(
        ("mp4",),
        help=f"{', '.join(format_names())} (default: mp4); may be given several times.",
        typed="format",
        short="f",
        many=True,
        read=_read_formats,
        form="names of formats, such as mp4",
    )
    resume: bool = option(
        False, help="Skip what is complete, go on with what was stopped, do the rest."
    )
    skip_existing: bool = option(
        False, help="Skip videos whose results are complete, by their records and contents."
    )
    retries: int = option(
        2,
        help="How often a video is tried again if memory, a disk or a worker failed. "
        "Default: {default}.",
        minimum=0,
    )
    dry_run: bool = option(False, help="Check every video and say what would be done.")
    report: Path | None = option(
        None, help="Write what came of every video: .json or .csv.", read=expanded
    )
    shard: str = option(
        "1/1",
        help="Only the i-th of n parts, as i/n: one for each job of an array.",
        accepts=_is_shard,
        form="a part and how many there are, from 1/8 to 8/8",
    )
    workers: Workers = field(default_factory=Workers)
    work_dir: Path | None = option(
        None,
        help="Where the videos keep their state. Default: beside the results.",
        read=expanded,
    )

    def __post_init__(self) -> None:
        settle_options(self)
