"""How far windows drift in scale, and what their alignment mends: true depth, simulated windows.

    python benchmarks/drift.py                       # about two minutes of one core

The disparity of drawn clips is cut into windows, each of which is normalised by itself and errs by
a smooth field of its own, as a model's windows do; in the last case windows also disagree on 15 %
of the picture. They are stitched as the pipeline stitches, and aligned by the package's own
fit. AbsRel and delta1 are of the whole clip under one scale and one shift.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F

from depthcrafter_cli.datasets.generated import HELD_OUT
from depthcrafter_cli.depth.align import Alignment, Floats, Overlap, align
from depthcrafter_cli.evaluation.alignment import align_clip, fit_scale_shift
from depthcrafter_cli.evaluation.metrics import evaluate_clip
from depthcrafter_cli.pipeline.overlaps import compared_frames, skeleton_frames
from depthcrafter_cli.pipeline.stitch import stitch
from depthcrafter_cli.pipeline.windows import Layout, Window, split
from depthcrafter_cli.synthetic import draw_clip

HEIGHT, WIDTH, FRAMES, WINDOW, OVERLAP = 64, 96, 450, 110, 25
DECODE_CHUNK = 8
CASES = ((0.02, 0.0), (0.05, 0.0), (0.05, 0.15))  # error of a window, share it disagrees on
Windows = Sequence[tuple[Window, Floats]]


def main() -> None:
    parser = argparse.ArgumentParser(description="Drift of windows, before and after alignment.")
    parser.add_argument("--clips", type=int, default=4)
    parser.add_argument("--first", type=int, default=0, help="number of the first clip")
    given = parser.parse_args()
    depths = {
        seed: draw_clip(HELD_OUT + 100 + seed, FRAMES, HEIGHT, WIDTH).depth.numpy()
        for seed in range(given.first, given.first + given.clips)
    }
    for error, disagreeing in CASES:
        scores = defaultdict(list)
        for seed, depth in depths.items():
            for name, disparity in results(depth, error, disagreeing, np.random.default_rng(seed)):
                positive = np.clip(disparity - disparity.min() + 1e-3, 1e-3, None)
                found = evaluate_clip(
                    align_clip(positive.astype(np.float32), depth, max_depth=80.0)
                )
                scores[name].append((found.abs_rel, found.delta1))
        print(f"error {error}, disagreeing area {disagreeing}")
        for name, each in scores.items():
            abs_rel, delta1 = np.mean(each, axis=0)
            print(f"  {name:32}AbsRel {abs_rel:.4f}  delta1 {delta1:.3f}", flush=True)


def results(
    depth: np.ndarray, error: float, disagreeing: float, rng: np.random.Generator
) -> Iterator[tuple[str, Floats]]:
    """Disparity [T, H, W] of simulated windows, by what was done to steady them."""
    true = np.where(np.isfinite(depth), 1 / np.maximum(depth, 0.3), 0.0)
    windows = [
        (filled.window, estimate(true[list(filled.items)], error, disagreeing, rng))
        for filled in split(range(FRAMES), Layout(WINDOW, OVERLAP))
    ]
    stitched = stitch_all(windows)
    yield "crossfade", stitched
    seams = [seam(*each) for each in pairwise(windows)]
    yield "chained least squares", chained(windows)
    yield "aligned, not robust", aligned(stitched, align(seams, FRAMES, robust=False))
    yield "aligned", aligned(stitched, align(seams, FRAMES))
    keys = skeleton_frames(WINDOW, FRAMES)
    skeleton = estimate(true[list(keys)], error, 0.0, rng)
    pins = [pin(window, values, keys, skeleton) for window, values in windows]
    yield "aligned, with a skeleton", aligned(stitched, align([*seams, *pins], FRAMES))


def estimate(true: Floats, error: float, disagreeing: float, rng: np.random.Generator) -> Floats:
    """What a window makes of the true disparity [n, H, W]."""
    low, high = true.min(), true.max()
    seen = (true - low) / max(high - low, 1e-6) + smooth(rng, len(true), error)
    if disagreeing:
        seen[:, : HEIGHT // 2, : int(WIDTH * disagreeing * 2)] += rng.uniform(-0.4, 0.4)
    return seen


def smooth(rng: np.random.Generator, frames: int, deviation: float) -> Floats:
    """A field [frames, H, W] that varies over some 20 frames and a sixth of the picture."""
    coarse = torch.from_numpy(rng.standard_normal((1, 1, max(frames // 20, 2), 4, 6)))
    size = (frames, HEIGHT, WIDTH)
    fine = F.interpolate(coarse, size=size, mode="trilinear", align_corners=True)
    field: Floats = deviation * fine[0, 0].numpy()
    return field


def stitch_all(windows: Windows) -> Floats:
    """The windows' disparity joined as the pipeline joins their latents."""
    parts, kept = [], None
    for (window, values), following in zip(windows, [*windows[1:], None], strict=True):
        joined = stitch(torch.from_numpy(values)[:, None], kept)
        final = len(window) if following is None else following[0].start - window.start
        parts.append(joined[:final])
        kept = joined[final:]
    whole: Floats = torch.cat(parts)[:, 0].numpy()
    return whole


def seam(before: tuple[Window, Floats], after: tuple[Window, Floats]) -> Overlap:
    """What two neighbouring windows say of the frames that the pipeline compares."""
    (old, p), (new, q) = before, after
    runs = compared_frames(range(new.start, old.stop), DECODE_CHUNK)
    at = tuple(frame for run in runs for frame in run)
    return Overlap(new.start, at, p[np.subtract(at, old.start)], q[np.subtract(at, new.start)])


def pin(window: Window, values: Floats, keys: Sequence[int], skeleton: Floats) -> Overlap:
    """What the skeleton and a window say of the frames that both have."""
    places = [place for place, key in enumerate(keys) if window.start <= key < window.stop]
    at = tuple(keys[place] for place in places)
    return Overlap(window.start, at, skeleton[places], values[np.subtract(at, window.start)])


def chained(windows: Windows) -> Floats:
    """The windows, each fitted to the one before by least squares on all that they share."""
    fitted = [windows[0]]
    for window, values in windows[1:]:
        before, earlier = fitted[-1]
        shared = before.stop - window.start
        new, old = values[:shared], earlier[-shared:]
        scale, shift = fit_scale_shift(new, old, np.full(new.shape, True))
        fitted.append((window, scale * values + shift))
    return stitch_all(fitted)


def aligned(stitched: Floats, alignment: Alignment) -> Floats:
    steady: Floats = np.stack([alignment(at, frame) for at, frame in enumerate(stitched)])
    return steady


if __name__ == "__main__":
    main()
