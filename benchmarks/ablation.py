"""What each training stage brings: nano after every stage, on clips it never saw.

    python benchmarks/ablation.py --model NAME=FOLDER [--model ...] [--frame-by-frame NAME=FOLDER]
                                  [--clips 40] [--frames 8] [--side 320] [--scores FILE]
                                  [--out docs]

Clips come from held-out seeds of the generator and from foreign renderers (foreign/README.md),
and are shown to the models at the size that ``run --max-res SIDE`` would give them.
Scores are kept in FILE clip by clip, so that a model may be scored as soon as its stage is done,
and a stopped run goes on. Writes ``ablation.md`` and ``ablation.png`` to the folder ``--out``.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from scoring import SOURCES, clips_of, mean_training_disparity, score

from depthcrafter_cli import DepthCrafterPipeline
from depthcrafter_cli.evaluation.trivial import trivial_predictions

MEASURES = ("AbsRel", "delta1", "temporal")
TRIVIAL = ("mean image", "constant", "vertical gradient")
Scores = dict[str, dict[str, dict[str, list[float]]]]  # source, predictor, clip, measures
Predict = Callable[[np.ndarray], np.ndarray]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", action="append", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--frame-by-frame", action="append", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--sources", nargs="+", choices=SOURCES, default=list(SOURCES))
    parser.add_argument("--clips", type=int, default=40)
    parser.add_argument("--foreign-clips", type=int, default=20)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--side", type=int, default=320)
    parser.add_argument("--keep", type=Path, help="keep the foreign clips in this folder")
    parser.add_argument("--scores", type=Path, default=Path("ablation.json"))
    parser.add_argument("--out", type=Path, default=Path("docs"))
    return parser.parse_args()


def predictors(given: argparse.Namespace) -> dict[str, Predict]:
    """By name, in the order given; those frame by frame see windows of one frame."""
    made: dict[str, Predict] = {}
    settings: tuple[tuple[list[str], dict[str, int]], ...] = (
        (given.model, {}),
        (given.frame_by_frame, {"window": 1, "overlap": 0}),
    )
    for named, window in settings:
        for name, folder in (item.split("=", 1) for item in named):
            pipeline = DepthCrafterPipeline.from_pretrained(folder, dtype="bf16")
            call = partial(pipeline, max_res=given.side, size="model", **window)
            made[name] = lambda rgb, call=call: call(rgb).disparity
    return made


def measured(
    given: argparse.Namespace, source: str, known: dict[str, dict[str, list[float]]],
    predict: dict[str, Predict],
) -> Iterator[None]:  # fmt: skip
    """Fill in the scores that are missing, one clip at a time."""
    count = given.clips if source == "generated" else given.foreign_clips
    if all(len(known.get(name, {})) >= count for name in (*predict, *TRIVIAL)):
        return
    mean = mean_training_disparity(200)
    for number, (rgb, depth) in enumerate(clips_of(source, count, given.frames, given.keep)):
        missing = [name for name in predict if str(number) not in known.get(name, {})]
        predictions = {name: predict[name](rgb) for name in missing}
        predictions |= trivial_predictions(depth.shape, mean)
        for name, prediction in predictions.items():
            known.setdefault(name, {})[str(number)] = list(score(prediction, depth))
        yield


def averages(clips: dict[str, list[float]]) -> np.ndarray:
    """AbsRel, delta1, temporal."""
    return np.mean(list(clips.values()), axis=0)


def report(scores: Scores, order: list[str], given: argparse.Namespace) -> Iterator[str]:
    """The tables, as Markdown."""
    yield "# What each training stage brings\n"
    yield (
        "nano after each stage of its recipe, on clips it never saw. AbsRel and temporal: lower is "
        "better; delta1: higher. The last column is AbsRel relative to the best predictor that "
        f"looks at no pixel. The models see the clips as `run --max-res {given.side}` shows them. "
        "Written by `benchmarks/ablation.py`.\n"
    )
    for source, known in scores.items():
        best = min(averages(known[name])[0] for name in TRIVIAL)
        yield f"\n## {source}: {len(known[TRIVIAL[0]])} clips of {given.frames} frames\n"
        yield f"| | {' | '.join(MEASURES)} | of the best trivial |"
        yield "| --- | --- | --- | --- | --- |"
        for name in [*(name for name in order if name in known), *TRIVIAL]:
            row = averages(known[name])
            yield f"| {name} | {row[0]:.3f} | {row[1]:.3f} | {row[2]:.4f} | {row[0] / best:.2f} |"
    yield "\n![AbsRel, delta1 and temporal score after each stage](ablation.png)"


def draw(scores: Scores, order: list[str], path: Path) -> None:
    """One panel a measure, one line a source, a dashed one for its best trivial predictor."""
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    for column, panel in enumerate(figure.subplots(1, len(MEASURES))):
        for number, (source, known) in enumerate(scores.items()):
            names = [name for name in order if name in known]
            values = [averages(known[name])[column] for name in names]
            panel.plot(names, values, marker="o", color=f"C{number}", label=source)
            trivial = [averages(known[name])[column] for name in TRIVIAL]
            best = max(trivial) if MEASURES[column] == "delta1" else min(trivial)
            panel.axhline(best, color=f"C{number}", linestyle="--", linewidth=0.8)
        panel.set_title(MEASURES[column])
        for label in panel.get_xticklabels():
            label.set(rotation=30, horizontalalignment="right", rotation_mode="anchor")
    figure.legend(*panel.get_legend_handles_labels(), loc="outside right upper")
    figure.savefig(path, dpi=120)


def main() -> int:
    torch.set_num_threads(1)
    given = arguments()
    predict = predictors(given)
    scores: Scores = json.loads(given.scores.read_text()) if given.scores.exists() else {}
    for source in given.sources:
        for _ in measured(given, source, scores.setdefault(source, {}), predict):
            given.scores.write_text(json.dumps(scores))
        for name, row in scores[source].items():
            print(f"{source:12} {name:24} {averages(row).round(3)}", flush=True)
    given.out.mkdir(parents=True, exist_ok=True)
    text = "\n".join(report(scores, list(predict), given)) + "\n"
    (given.out / "ablation.md").write_text(text, encoding="utf-8")
    draw(scores, list(predict), given.out / "ablation.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
