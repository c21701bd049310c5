"""How models see single frames, kind by kind of scene: AbsRel, delta1, and contours.

    python benchmarks/kinds.py --model nano 256 --model FOLDER 256 \
      --stacks levels=stacks/unseen [--foreign mujoco doom] [--frames 48] [--sheet kinds.png]

A training run is judged by it: every few hours beside the model that ships, on kinds of scenes it
never saw. Frames are shown at the size that ``run --max-res`` would give them, each alone, and get
a scale and a shift of their own. *Contours* is the F1 score of places where depth jumps by a
tenth, a fifth, a third and a half from one pixel to the next, larger jumps weighing more (as the
boundary score of Depth Pro, arXiv 2410.02073): 0 for a blur, however right its depths.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from foreign import SOURCES, clips
from PIL import Image

from depthcrafter_cli import DepthCrafterPipeline
from depthcrafter_cli.datasets.stacks import StackedFrames
from depthcrafter_cli.depth.colorize import colorize
from depthcrafter_cli.evaluation.alignment import align_clip
from depthcrafter_cli.evaluation.metrics import pixel_metrics

MAX_DEPTH = 80.0  # medians of the frame's depth
JUMPS = (1.1, 1.2, 1.35, 1.5)
FEWEST = 20  # contour pixels, for a frame to be scored on them
FROM_CLIP = (0, 9, 19)  # frames of a foreign clip
TILE = (256, 144)

Frame = tuple[np.ndarray, np.ndarray]
"""``rgb`` uint8 [H, W, 3] and ``depth`` [H, W] in medians, infinite for sky."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--model", nargs=2, action="append", required=True, metavar=("FOLDER", "MAX_RES")
    )
    parser.add_argument("--stacks", action="append", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--foreign", nargs="*", choices=SOURCES, default=[])
    parser.add_argument("--frames", type=int, default=48)
    parser.add_argument("--keep", type=Path, help="keep the foreign clips in this folder")
    parser.add_argument("--sheet", type=Path, help="picture of some frames: source, truth, models")
    return parser.parse_args()


def stacked(folder: Path, count: int) -> Iterator[Frame]:
    source = StackedFrames(folder)
    for index in np.linspace(0, len(source) - 1, min(count, len(source))).astype(int):
        clip = source.read(int(index), range(1))
        disparity = clip.disparity[0].numpy()
        depth = np.where(disparity > 0, 1 / np.maximum(disparity, 1e-6), np.inf)
        yield clip.rgb[0].numpy(), depth / np.median(depth[np.isfinite(depth)])


def foreign_frames(source: str, count: int, keep: Path | None) -> Iterator[Frame]:
    for rgb, depth in clips(source, -(-count // len(FROM_CLIP)), 20, keep):
        for number in FROM_CLIP:
            known = depth[number][np.isfinite(depth[number]) & (depth[number] > 0)]
            yield rgb[number], np.where(depth[number] > 0, depth[number], np.inf) / np.median(known)


def predictor(folder: str, max_res: int) -> Callable[[np.ndarray], np.ndarray]:
    pipeline = DepthCrafterPipeline.from_pretrained(folder, dtype="fp32")
    alone = partial(pipeline, max_res=max_res, size="model", window=1, overlap=0)
    return lambda rgb: alone(rgb[None]).disparity[0]


def scores(prediction: np.ndarray, depth: np.ndarray) -> tuple[float, float, float]:
    """AbsRel, delta1 and contours; NaN where the truth has next to no contours."""
    aligned = next(iter(align_clip(prediction[None], depth[None], max_depth=MAX_DEPTH)))
    valid = aligned.valid
    metrics = pixel_metrics(aligned.estimate[valid], aligned.truth[valid])
    truth = np.where(valid, aligned.truth, MAX_DEPTH)  # sky is far
    return metrics.abs_rel, metrics.delta1, contours(aligned.estimate, truth)


def contours(estimate: np.ndarray, truth: np.ndarray) -> float:
    total = weights = 0.0
    for jump in JUMPS:
        guessed, true = (jumps(depth, jump) for depth in (estimate, truth))
        present = sum(int(one.sum()) for one in true)
        if present < FEWEST:
            continue
        hits = sum(int((one & other).sum()) for one, other in zip(guessed, true, strict=True))
        f1 = 2 * hits / max(sum(int(one.sum()) for one in guessed) + present, 1)
        total, weights = total + jump * f1, weights + jump
    return total / weights if weights else float("nan")


def jumps(depth: np.ndarray, ratio: float) -> list[np.ndarray]:
    """Where depth jumps to the right, left, down and up, each bool [H, W] but for the border."""
    across, down = depth[:, 1:] / depth[:, :-1], depth[1:] / depth[:-1]
    return [part > ratio for part in (across, 1 / across, down, 1 / down)]


def tiles(rgb: np.ndarray, depth: np.ndarray, predictions: list[np.ndarray]) -> np.ndarray:
    """Source, truth and predictions side by side."""
    row = [np.asarray(Image.fromarray(rgb).resize(TILE))]
    for disparity in (1 / depth, *predictions):
        low, high = np.quantile(disparity, [0.005, 0.99])
        unit = np.clip((disparity - low) / max(high - low, 1e-6), 0, 1)
        row.append(np.asarray(Image.fromarray(colorize(unit, "inferno")).resize(TILE)))
    return np.concatenate(row, axis=1)


def main() -> int:
    torch.set_num_threads(1)
    given = arguments()
    predict = {folder: predictor(folder, int(side)) for folder, side in given.model}
    kinds = {
        name: stacked(Path(folder), given.frames)
        for name, folder in (one.split("=", 1) for one in given.stacks)
    }
    kinds |= {name: foreign_frames(name, given.frames, given.keep) for name in given.foreign}
    sheet = []
    print(f"{'kind':10} {'model':28} AbsRel  delta1  contours")
    for kind, frames in kinds.items():
        rows: dict[str, list[tuple[float, float, float]]] = {name: [] for name in predict}
        for number, (rgb, depth) in enumerate(frames):
            predictions = {name: one(rgb) for name, one in predict.items()}
            for name, prediction in predictions.items():
                rows[name].append(scores(prediction, depth))
            if number % 8 == 0:
                sheet.append(tiles(rgb, depth, [*predictions.values()]))
        for name, found in rows.items():
            abs_rel, delta1, edges = np.nanmean(found, axis=0)
            print(
                f"{kind:10} {name[-28:]:28} {abs_rel:6.3f}  {delta1:6.3f}  {edges:8.3f}", flush=True
            )
    if given.sheet:
        Image.fromarray(np.concatenate(sheet)).save(given.sheet)
    return 0


if __name__ == "__main__":
    sys.exit(main())
