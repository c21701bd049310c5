"""Draw single frames of many scenes, with true depth, for sources of the kind "stacks" in a recipe.

    apt-get install openarena-081-textures mate-backgrounds plasma-workspace-wallpapers
    python examples/draw_stacks.py stacks --shards 40 --pictures /usr/share/wallpapers \
      --pictures /usr/share/backgrounds --packages /usr/share/games/openarena

The scenes are those of recipes' generated sources. Half of their surfaces get patterns from
photographs in the folders ``--pictures``, and from the textures of a game's packages. Some ten
frames a second on a core. ``stacks/train`` gets a stack for each shard, which appears when it is
complete, so that the same command goes on where it was stopped.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from levels.packages import Packages
from levels.stacks import write_stack
from PIL import Image

from depthcrafter_cli.synthetic import draw_views, textures

FIRST_SEED = 20_000_000  # none of these scenes are those of generated clips
SCENES = 400  # of a stack
ATLASES = 8  # of a stack, none of which another one has
Rng = np.random.Generator
Picture = Callable[[Rng], Image.Image | None]


def main(
    out: Annotated[Path, typer.Argument(help="Folder for the stacks.")],
    shards: Annotated[int, typer.Option(min=1, help="Stacks, of some 800 frames each.")] = 40,
    first: Annotated[int, typer.Option(min=0, help="Number of the first stack.")] = 0,
    scenes: Annotated[int, typer.Option(min=1, help="Scenes of a stack.")] = SCENES,
    views: Annotated[int, typer.Option(min=1, help="Frames of a scene.")] = 2,
    size: Annotated[str, typer.Option(help="WIDTHxHEIGHT.")] = "256x144",
    pictures: Annotated[list[Path] | None, typer.Option(help="Folder; again for more.")] = None,
    packages: Annotated[Path | None, typer.Option(help="Folder of a game's packages.")] = None,
) -> None:
    """Draw frames of scenes whose surfaces have patterns of pictures."""
    torch.set_num_threads(1)
    width, height = map(int, size.split("x"))
    greys = sources(pictures or [], packages)
    for number in range(first, first + shards):
        home = out / "train" / f"drawn-{number:05d}"
        if not home.is_dir():
            write_stack(home, stack(number, scenes, views, (height, width), greys))
        typer.echo(f"{home}: {len(np.load(home / 'rgb.npy', mmap_mode='r'))} frames")


def stack(
    number: int,
    scenes: int,
    views: int,
    size: tuple[int, int],
    greys: list[Picture],
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pictures and disparity of a stack's frames."""
    frames = []
    for scene in range(scenes):
        if scene % -(-scenes // ATLASES) == 0:
            rng = np.random.default_rng([number, scene])
            atlas = textures.atlas(rng)
            if greys:
                atlas = textures.printed(atlas, rng, lambda rng: grey(rng, greys))
        seed = FIRST_SEED + number * SCENES + scene
        for clip in draw_views(seed, views, *size, atlas):
            depth = clip.depth[0].numpy()
            inverse = np.where(np.isfinite(depth), 1 / np.maximum(depth, 1e-3), 0)
            inverse /= np.median(inverse[inverse > 0])
            frames.append((clip.rgb[0].numpy(), np.clip(inverse, 0, 1000).astype(np.float16)))
    return frames


def sources(folders: list[Path], packages: Path | None) -> list[Picture]:
    """What gives a random picture each: the textures of packages, and parts of the files."""
    found: list[Picture] = []
    if packages:
        held = Packages(packages)
        names = held.names(r"textures/.*\.(jpg|tga|png)$")

        def texture(rng: Rng) -> Image.Image | None:
            texels = held.texture(str(rng.choice(names)))
            return None if texels is None else Image.fromarray(texels)

        found.append(texture)
    files = sorted(
        path for folder in folders for path in folder.rglob("*")
        if path.suffix in (".jpg", ".png", ".webp") and path.stat().st_size > 20_000
    )  # fmt: skip
    small: dict[Path, Image.Image] = {}

    def part(rng: Rng) -> Image.Image | None:
        path = files[int(rng.integers(len(files)))]
        if path not in small:
            small[path] = Image.open(path).convert("RGB")
            small[path].thumbnail((1280, 1280))
        whole = small[path]
        side = int(rng.integers(textures.SIDE, max(min(whole.size), textures.SIDE + 1)))
        left, top = (int(rng.integers(max(length - side, 0) + 1)) for length in whole.size)
        return whole.crop((left, top, left + side, top + side))

    return [*found, part] if files else found


def grey(rng: Rng, greys: list[Picture]) -> np.ndarray:
    """The grey of a random picture that is not plain, [SIDE, SIDE] from 0 to 1, turned or not."""
    while True:
        picture = greys[int(rng.integers(len(greys)))](rng)
        if picture is None:
            continue
        small = picture.convert("L").resize(
            (textures.SIDE, textures.SIDE), Image.Resampling.LANCZOS
        )
        values = np.asarray(small, np.float32)
        low, high = np.quantile(values, (0.02, 0.98))
        if high - low > 8:
            unit = np.clip((values - low) / (high - low), 0, 1)
            return np.rot90(unit, int(rng.integers(4)) if rng.random() < 0.5 else 0).copy()


if __name__ == "__main__":
    typer.run(main)
