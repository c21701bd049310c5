"""How good nano is on clips it never saw, beside predictors that look at no pixel.

    python benchmarks/nano.py [--sources generated mujoco doom] [--clips 20] [--frames 20]
                              [--weights nano] [--keep FOLDER] [--sheet FOLDER]

Clips come from held-out seeds of the generator and from two foreign renderers (see
foreign/README.md). Prints AbsRel, delta1 and the temporal score of each predictor. Exit code 1
unless AbsRel is below the best trivial predictor's by 45 % on generated clips and by 20 % on
foreign ones, averaged.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from scoring import SOURCES, best_trivial, clips_of, compare, mean_training_disparity

from depthcrafter_cli import DepthCrafterPipeline

GOALS = {"generated": 0.45, "foreign": 0.20}  # AbsRel below that of the best trivial predictor


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sources", nargs="+", choices=SOURCES, default=SOURCES)
    parser.add_argument("--clips", type=int, default=20)
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument("--weights", default="nano")
    parser.add_argument("--keep", type=Path, help="keep the foreign clips in this folder")
    parser.add_argument("--sheet", type=Path, help="write pictures of every clip to this folder")
    return parser.parse_args()


def main() -> int:
    given = arguments()
    pipeline = DepthCrafterPipeline.from_pretrained(given.weights)
    mean = mean_training_disparity(200)
    margins: dict[str, list[float]] = {}
    for source in given.sources:
        pictures: list[np.ndarray] = []
        means = compare(
            {given.weights: lambda rgb: pipeline(rgb).disparity},
            clips_of(source, given.clips, given.frames, given.keep), mean, pictures,
        )  # fmt: skip
        if given.sheet:
            given.sheet.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.concatenate(pictures)).save(given.sheet / f"{source}.png")
        print(f"\n{source + f', {given.clips} clips':24}  AbsRel  delta1  temporal")
        for name, row in means.items():
            print(f"{name:24}  {row[0]:6.3f}  {row[1]:6.3f}  {row[2]:8.4f}", flush=True)
        margin = 1 - means[given.weights][0] / best_trivial(means, [given.weights])
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
