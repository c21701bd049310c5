"""How good nano is on clips it never saw, beside predictors that look at no pixel.

    python benchmarks/nano.py [--model NAME=WEIGHTS ...] [--sources generated mujoco doom]
                              [--clips 20] [--frames 20] [--side 320] [--out nano-scores]

Clips come from held-out seeds of the generator and from foreign renderers (foreign/README.md), and
are written to OUT/clips as `depthcrafter evaluate folder` reads them. Each model is evaluated by
that very command, clip by clip, so a stopped call goes on: OUT/SOURCE-MODEL.json. Prints a table
for each source. Exit code 1 unless the AbsRel of the first model is below the best trivial
predictor's by 45 % on generated clips and by 20 % on foreign ones, averaged.

docs/ablation.md is the same with a model for each version. A call that has
drawn MuJoCo's clips may end in a segmentation fault; the same command goes on with those clips.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import foreign
import numpy as np
import torch
from PIL import Image

from depthcrafter_cli.datasets.generated import HELD_OUT, NEAREST
from depthcrafter_cli.evaluation.alignment import resize_bilinear
from depthcrafter_cli.evaluation.report import EvaluationReport, table
from depthcrafter_cli.synthetic import draw_clip
from depthcrafter_cli.training.data.targets import target_disparity
from depthcrafter_cli.types import Size
from depthcrafter_cli.workflows.evaluate import evaluate
from depthcrafter_cli.workflows.looking import EvaluationRequest

SOURCES = ("generated", *foreign.SOURCES)
GOALS = {"generated": 0.45, "foreign": 0.20}  # AbsRel below that of the best trivial predictor
TRIVIAL = ("trivial-mean", "trivial-constant", "trivial-gradient")
MEAN_CLIPS = 200


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", action="append", metavar="NAME=WEIGHTS")
    parser.add_argument("--sources", nargs="+", choices=SOURCES, default=SOURCES)
    parser.add_argument("--clips", type=int, default=20)
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument("--side", type=int, default=320, help="the longest side that models see")
    parser.add_argument("--out", type=Path, default=Path("nano-scores"))
    return parser.parse_args()


def clips_of(source: str, count: int, frames: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """``rgb`` uint8 [T, H, W, 3] and ``depth`` [T, H, W] (infinite for sky) of unseen clips."""
    if source != "generated":
        yield from foreign.clips(source, count, frames)
        return
    for seed in range(HELD_OUT, HELD_OUT + count):
        clip = draw_clip(seed, frames, foreign.HEIGHT, foreign.WIDTH)
        yield clip.rgb.numpy(), clip.depth.numpy()


def write_clips(source: str, count: int, frames: int, root: Path) -> Path:
    """Write the clips that are not there yet, in the training format; returns their folder."""
    homes = [root / source / f"{number:03}" for number in range(count)]
    if all((home / "disparity.npz").exists() for home in homes):
        return root / source
    for home, (rgb, depth) in zip(homes, clips_of(source, count, frames), strict=True):
        (home / "rgb").mkdir(parents=True, exist_ok=True)
        for index, picture in enumerate(rgb):
            Image.fromarray(picture).save(home / "rgb" / f"{index:04}.png")
        np.savez_compressed(home / "disparity.npz", depth=depth.astype(np.float32))
    return root / source


def write_mean(path: Path) -> Path:
    """The mean disparity of the first frames of training clips, which trivial-mean predicts."""
    if not path.exists():
        frames = (draw_clip(seed, 1, 96, 160).depth for seed in range(MEAN_CLIPS))
        maps = [1 / frame.clamp_min(NEAREST) for frame in frames]
        targets = [target_disparity(each, torch.ones_like(each, dtype=bool))[0] for each in maps]
        size = Size(foreign.HEIGHT, foreign.WIDTH)
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, np.mean([resize_bilinear(each.numpy(), size) for each in targets], axis=0))
    return path


def scored(source: str, root: Path, given: argparse.Namespace) -> dict[str, EvaluationReport]:
    """The reports by name: of the models, then of the trivial predictors."""
    models = dict(item.split("=", 1) for item in given.model or ["nano=nano"])
    asked: dict[str, dict[str, object]] = {
        name: {"weights": weights, "max_res": given.side} for name, weights in models.items()
    }
    for name in TRIVIAL:
        asked[name] = {"method": name}
    asked["trivial-mean"]["weights"] = str(write_mean(given.out / "mean.npy"))
    return {
        name: evaluate(
            EvaluationRequest(
                "folder", root, (given.out / f"{source}-{name}.json",), max_frames=given.frames,
                **how,
            )
        )
        for name, how in asked.items()
    }  # fmt: skip


def main() -> int:
    torch.set_num_threads(1)
    given = arguments()
    given.out.mkdir(parents=True, exist_ok=True)
    margins: dict[str, list[float]] = {}
    for source in given.sources:
        root = write_clips(source, given.clips, given.frames, given.out / "clips")
        reports = scored(source, root, given)
        print(f"\n## {source}: {given.clips} clips of {given.frames} frames\n")
        for number, (name, report) in enumerate(reports.items()):
            titles, (row, *_published) = table(report)
            lines = [] if number else [titles, ["---"] * len(titles)]
            for line in [*lines, [name, *row[1:]]]:
                print(f"| {' | '.join(line)} |", flush=True)
        best = min(reports[name].mean.abs_rel for name in TRIVIAL)
        margin = 1 - next(iter(reports.values())).mean.abs_rel / best
        margins.setdefault("generated" if source == "generated" else "foreign", []).append(margin)
    print()
    reached = True
    for kind, values in margins.items():
        margin = float(np.mean(values))
        reached &= margin >= GOALS[kind]
        print(f"{kind}: AbsRel {margin:.0%} below the best trivial one (goal {GOALS[kind]:.0%})")
    return int(not reached)


if __name__ == "__main__":
    sys.exit(main())
