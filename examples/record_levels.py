"""Record single frames with true depth in levels of games in the Quake 3 format.

    pip install embreex
    apt-get install openarena-081-maps openarena-081-textures openarena-081-players \
      openarena-oacmp1 openarena-data
    python examples/record_levels.py stacks --shards 40

The levels are ray-cast with Embree, on a CPU, some twenty frames a second: their own textures and
baked light, a camera anywhere, and things, furniture and people put before it. ``stacks/train``
gets stacks for sources of the kind "stacks" in a recipe, ``stacks/unseen`` one of the levels in
``UNSEEN``, which are for validation. Every stack appears when it is complete, so that the same
command goes on where it was stopped.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from levels.level import Level
from levels.packages import Packages
from levels.stacks import write_stack
from levels.things import Studio
from levels.view import frame

UNSEEN = [
    "ce1m7", "czest2ctf", "hydronex", "islandctf", "oa_dm4", "oa_shouse", "oacmpdm3", "pul1ctf",
]  # fmt: skip
VISITED = 18  # levels of a stack
PATIENCE = 6  # views tried for one that shows something


def main(
    out: Annotated[Path, typer.Argument(help="Folder for the stacks.")],
    shards: Annotated[int, typer.Option(min=1, help="Stacks, of about 1,000 frames each.")] = 40,
    first: Annotated[int, typer.Option(min=0, help="Number of the first stack.")] = 0,
    each: Annotated[int, typer.Option(min=1, help="Frames of a level in a stack.")] = 60,
    size: Annotated[str, typer.Option(help="WIDTHxHEIGHT.")] = "256x144",
    data: Annotated[Path, typer.Option(help="Folder of the game's packages.")] = Path(
        "/usr/share/games/openarena"
    ),
) -> None:
    """Record frames of the levels of a game."""
    width, height = map(int, size.split("x"))
    studio = Studio(Packages(data))
    names = studio.packages.names(r"maps/.*\.bsp$")
    unseen = [name for name in names if Path(name).stem in UNSEEN]
    seen = [name for name in names if name not in unseen]
    if unseen:
        record(studio, unseen, out / "unseen" / "levels", 0, each, (height, width))
    for number in range(first, first + shards):
        some = np.random.default_rng(number).permutation(seen)[:VISITED]
        home = out / "train" / f"levels-{number:05d}"
        made = record(studio, [*some], home, 1 + number, each, (height, width))
        typer.echo(f"{home}: {made} frames")


def record(
    studio: Studio, names: list[str], home: Path, seed: int, each: int, size: tuple[int, int]
) -> int:
    """Write one stack, unless it is there; the number of its frames."""
    if home.is_dir():
        return len(np.load(home / "rgb.npy", mmap_mode="r"))
    frames = []
    for name in names:
        level, rng = Level(studio.packages, name), np.random.default_rng([seed, *name.encode()])
        tried = (frame(studio, level, rng, *size) for _ in range(each * PATIENCE))
        found = (one for one in tried if one is not None)
        frames += [one for one, _ in zip(found, range(each), strict=False)]
    write_stack(home, frames)
    return len(frames)


if __name__ == "__main__":
    typer.run(main)
