"""How accurate long single takes are by their length, with and without alignment of windows.

    python benchmarks/takes.py                       # 20 takes of 500 frames
    python benchmarks/takes.py --frames 150 --first 14
    python benchmarks/takes.py --takes 2 --frames 5000
    python benchmarks/takes.py --keep takes          # stopped, it goes on; complete, it only solves

Takes are drawn with true depth; in the last four the camera zooms in by 3, whips from side to side,
and a wall or something near fills what three windows share with the ones before. AbsRel is of the
first frames of a take under one scale and one shift, by how many they are: as stitched (off),
aligned by what windows share (windows), and by a window over the whole take (skeleton). ``--keep``
names a folder for what the model made of each take.
"""

import argparse
import pickle
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from depthcrafter_cli.datasets.generated import HELD_OUT
from depthcrafter_cli.depth.align import Overlap, align
from depthcrafter_cli.disk import part_path
from depthcrafter_cli.evaluation.alignment import align_clip
from depthcrafter_cli.evaluation.metrics import evaluate_clip
from depthcrafter_cli.models.loading import load_components
from depthcrafter_cli.models.weights import find_weights
from depthcrafter_cli.pipeline.config import PipelineConfig
from depthcrafter_cli.pipeline.pipeline import estimate_disparity
from depthcrafter_cli.pipeline.windows import Layout
from depthcrafter_cli.synthetic import draw_clip
from depthcrafter_cli.types import MemoryPlan

HEIGHT, WIDTH = 64, 64
FIRST_SPECIAL = 16  # seed, however many plain takes there are
SPECIAL = ("tele zoom", "whip pan", "flat overlap", "near overlap")
Take = tuple[np.ndarray, np.ndarray]  # rgb uint8 [T, H, W, 3] and depth [T, H, W]
Estimated = tuple[np.ndarray, np.ndarray, list[Overlap]]  # stitched [T, H, W], depth, overlaps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--takes", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="leave out so many takes")
    parser.add_argument("--frames", type=int, default=500)
    parser.add_argument("--weights", default="nano")
    parser.add_argument("--keep", type=Path, help="a folder for what the model made of each take")
    given = parser.parse_args()
    model = find_weights(given.weights)
    config = PipelineConfig(
        steps=model.settings.steps, window=model.settings.window, overlap=model.settings.overlap,
        align="skeleton",
    )  # fmt: skip
    device, plan = torch.device("cpu"), MemoryPlan.default("cpu")
    networks = load_components(model.path, device=device, dtype=torch.float32, plan=plan)
    estimate = partial(estimated, partial(estimate_disparity, networks, config))
    lengths = [given.frames // 5, given.frames // 2, given.frames]
    heads = (f"{name} {length}" for length in lengths for name in ("off", "windows", "skeleton"))
    print(f"{'take':14}" + "".join(f"{head:>14}" for head in heads) + "   seams", flush=True)
    rows = []
    for name, draw in islice(takes(given.takes, given.frames, config), given.first, None):
        file = None if given.keep is None else given.keep / f"{name} {given.frames}.pickle"
        stitched, depth, told = kept(file, draw, estimate)
        seams = [each.start for each in told].index(0)
        found = [align(told[:seams], len(depth)), align(told, len(depth))]
        results = [stitched]
        for each in found:
            results.append(np.stack([each(at, frame) for at, frame in enumerate(stitched)]))
        errors = [abs_rel(result, depth, length) for length in lengths for result in results]
        rows.append(errors)
        residuals = " ".join(f"{each.seams.before:.4f}>{each.seams.after:.4f}" for each in found)
        print(
            f"{name:14}" + "".join(f"{error:14.4f}" for error in errors), " ", residuals, flush=True
        )
    table = np.array(rows)
    print(f"{'mean':14}" + "".join(f"{error:14.4f}" for error in table.mean(axis=0)))
    changes = table[:, -2:] / table[:, -3:-2] - 1
    for way, change in zip(("windows", "skeleton"), changes.T, strict=True):
        worse = int((change > 0.01).sum())
        print(
            f"{way} against off, whole takes: worst {change.max():+.2%}, best {change.min():+.2%}, "
            f"{worse} of {len(rows)} more than 1 % worse"
        )


def estimated(estimate: Callable[..., Iterator[np.ndarray]], draw: Callable[[], Take]) -> Estimated:
    """What the model makes of a take, with its true depth."""
    (rgb, depth), told = draw(), list[Overlap]()
    parts = estimate(rgb, keep=lambda point: told.extend(point.overlaps))
    return np.concatenate(list(parts)), depth, told


def kept(
    file: Path | None, draw: Callable[[], Take], estimate: Callable[[Callable[[], Take]], Estimated]
) -> Estimated:
    """As :func:`estimated`, once: later calls read it from ``file``, if that is given."""
    if file is None:
        return estimate(draw)
    if not file.exists():
        made = estimate(draw)
        file.parent.mkdir(parents=True, exist_ok=True)
        part_path(file).write_bytes(pickle.dumps(made))
        part_path(file).replace(file)
    found: Estimated = pickle.loads(file.read_bytes())
    return found


def abs_rel(disparity: np.ndarray, depth: np.ndarray, length: int) -> float:
    positive = disparity[:length] - min(float(disparity[:length].min()), 0)
    return evaluate_clip(align_clip(positive, depth[:length], max_depth=80.0)).abs_rel


def takes(
    count: int, frames: int, config: PipelineConfig
) -> Iterator[tuple[str, Callable[[], Take]]]:
    """Drawn takes; the last ones are special where there are more than these."""
    plain = count - len(SPECIAL) if count > len(SPECIAL) else count
    for seed in range(plain):
        yield f"take {seed}", partial(drawn, seed, frames, 1)
    starts = Layout(config.window, config.overlap, frames).start
    shared = [range(starts(window), starts(window) + config.overlap) for window in range(4, 7)]
    for seed, name in enumerate(SPECIAL[: count - plain], FIRST_SPECIAL):
        yield name, partial(special, name, seed, frames, shared)


def drawn(seed: int, frames: int, times: int) -> Take:
    clip = draw_clip(HELD_OUT + 300 + seed, frames, HEIGHT * times, WIDTH * times)
    return clip.rgb.numpy(), clip.depth.numpy()


def special(name: str, seed: int, frames: int, shared: list[range]) -> Take:
    """A take that is seen in part only, or through what is put into the frames ``shared``."""
    rgb, depth = drawn(seed, frames, 2)
    rows, columns = np.arange(HEIGHT), np.arange(WIDTH)
    if name == "tele zoom":
        sides = [2 * 3 ** -(frame / (frames - 1)) for frame in range(frames)]
        at = [
            [((np.arange(n) - n / 2) * side + n).astype(int) for n in (HEIGHT, WIDTH)]
            for side in sides
        ]
    elif name == "whip pan":
        moves = [abs((frame // 40) % 2 - min(frame % 40, 6) / 6) for frame in range(frames)]
        at = [[rows + HEIGHT // 2, columns + int(move * WIDTH)] for move in moves]
    else:
        at = [[2 * rows, 2 * columns]] * frames
    picked = [np.ix_(*each) for each in at]
    rgb = np.stack([frame[pick] for frame, pick in zip(rgb, picked, strict=True)])
    depth = np.stack([frame[pick] for frame, pick in zip(depth, picked, strict=True)])
    for frame in (each for overlap in shared for each in overlap):
        if name == "flat overlap":
            rgb[frame], depth[frame] = 150, 3.0
        elif name == "near overlap":
            noise = torch.from_numpy(np.random.default_rng(frame).uniform(0, 255, (1, 3, 6, 12)))
            near = F.interpolate(noise, (HEIGHT, WIDTH), mode="bilinear")[0].permute(1, 2, 0)
            rgb[frame, 8:, 8:] = near.numpy().astype(np.uint8)[8:, 8:]
            depth[frame, 8:, 8:] = 0.6
    return rgb, depth


if __name__ == "__main__":
    main()
