"""How good nano is on clips it never saw, beside predictors that look at no pixel.

    python benchmarks/nano.py [--model NAME=WEIGHTS ...] [--sources generated mujoco doom]
                              [--clips 20] [--frames 20] [--side 320] [--out nano-scores]
    python benchmarks/nano.py --ablation [--out nano-ablation]

Clips come from held-out seeds of the generator and from foreign renderers (foreign/README.md), and
are written to OUT/clips as `depthcrafter evaluate folder` reads them. Each model is evaluated by
that very command, clip by clip, so a stopped call goes on: OUT/SOURCE-MODEL.json. Prints a table
for each source. Exit code 1 unless the AbsRel of the first model is below the best trivial
predictor's by 45 % on generated clips and by 20 % on foreign ones, averaged.

With --ablation come the tables of docs/ablation.md: the nano that ships, also frame by frame, and
each former version, which is taken from this repository's history; 40 generated clips and 8 of each
foreign source, of 3 frames, seen at 256. What is in OUT and of the same weights is not computed
again: after a new nano only its own rows are.
"""

import argparse
import filecmp
import io
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import foreign
import numpy as np
import torch
from PIL import Image

from depthcrafter_cli.datasets.generated import HELD_OUT, NEAREST
from depthcrafter_cli.errors import OutputError
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
VERSIONS = {  # commits of this repository whose weights/nano they are
    "first version": "4bc4228", "nano 2": "d4cbb67", "nano 3": "7a3bf00", "nano 4": "192384e",
    "nano 5": "c1a8f6f",
}  # fmt: skip
SHIPPED = "nano, which ships"
SHOWN = ("AbsRel", "δ1", "flicker", "edge F1")
REPOSITORY = Path(__file__).resolve().parents[1]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", action="append", metavar="NAME=WEIGHTS")
    parser.add_argument("--sources", nargs="+", choices=SOURCES, default=SOURCES)
    parser.add_argument("--ablation", action="store_true", help="also all former versions")
    parser.add_argument("--clips", type=int, help="of each source")
    parser.add_argument("--frames", type=int)
    parser.add_argument("--side", type=int, help="the longest side that models see")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    frames, side, out = (3, 256, "nano-ablation") if given.ablation else (20, 320, "nano-scores")
    given.frames, given.side = given.frames or frames, given.side or side
    given.out = given.out or Path(out)
    return given


def clips_wanted(source: str, given: argparse.Namespace) -> int:
    usual = 20 if not given.ablation else 40 if source == "generated" else 8
    return int(given.clips or usual)


def clips_of(source: str, count: int, frames: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """``rgb`` uint8 [T, H, W, 3] and ``depth`` [T, H, W] (infinite for sky) of unseen clips."""
    if source != "generated":
        yield from foreign.clips(source, count, frames)
        return
    for seed in range(HELD_OUT, HELD_OUT + count):
        clip = draw_clip(seed, frames, foreign.HEIGHT, foreign.WIDTH)
        yield clip.rgb.numpy(), clip.depth.numpy()


def clips_in(source: str, count: int, frames: int, root: Path) -> Path:
    """The folder of these clips, in the training format; they are drawn if they are not there."""
    homes = [root / source / f"{number:03}" for number in range(count)]
    if not all((home / "disparity.npz").exists() for home in homes):
        # A process that has drawn MuJoCo's clips may end in a segmentation fault.
        drawing = get_context("spawn").Process(target=draw, args=(source, homes, frames))
        drawing.start()
        drawing.join()
    if lacking := [home for home in homes if not (home / "disparity.npz").exists()]:
        raise SystemExit(f"{lacking[0]} was not drawn: is its renderer installed?")
    return root / source


def draw(source: str, homes: list[Path], frames: int) -> None:
    """Write clips in the training format."""
    count = len(homes)
    for home, (rgb, depth) in zip(homes, clips_of(source, count, frames), strict=True):
        (home / "rgb").mkdir(parents=True, exist_ok=True)
        for index, picture in enumerate(rgb):
            Image.fromarray(picture).save(home / "rgb" / f"{index:04}.png")
        np.savez_compressed(home / "disparity.npz", depth=depth.astype(np.float32))


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


def former(out: Path) -> dict[str, str]:
    """The folders of former versions, from this repository's history, but of that which ships."""
    homes = {name: out / "versions" / commit for name, commit in VERSIONS.items()}
    for home in homes.values():
        if not (home / "weights/nano").exists():
            told = ["git", "archive", home.name, "weights/nano"]
            packed = subprocess.run(told, cwd=REPOSITORY, check=True, capture_output=True).stdout
            with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
                archive.extractall(home, filter="data")
    shipped, unet = REPOSITORY / "weights/nano", "unet/diffusion_pytorch_model.safetensors"
    return {
        name: str(home / "weights/nano") for name, home in homes.items()
        if not filecmp.cmp(home / "weights/nano" / unet, shipped / unet, shallow=False)
    }  # fmt: skip


def scored(source: str, root: Path, given: argparse.Namespace) -> dict[str, EvaluationReport]:
    """The reports by name: of the models, then of the trivial predictors."""
    shipped = str(REPOSITORY / "weights/nano")
    usual = {SHIPPED: shipped} | former(given.out) if given.ablation else {"nano": shipped}
    models = dict(item.split("=", 1) for item in given.model or ()) or usual
    asked: dict[str, dict[str, object]] = {
        name: {"weights": weights, "max_res": given.side} for name, weights in models.items()
    }
    if given.ablation:
        first = next(iter(models))
        one = {**asked[first], "settings": {"window": 1, "overlap": 0}}
        asked[f"{first}, frame by frame"] = one
    for name in TRIVIAL:
        asked[name] = {"method": name}
    asked["trivial-mean"]["weights"] = str(write_mean(given.out / "mean.npy"))
    reports = {}
    for name, how in asked.items():
        out = given.out / f"{source}-{name.replace(' ', '-')}.json"
        request = EvaluationRequest("folder", root, (out,), max_frames=given.frames, **how)
        try:
            reports[name] = evaluate(request)
        except OutputError:  # it is of other weights
            reports[name] = evaluate(replace(request, overwrite=True))
    return reports


def main() -> int:
    torch.set_num_threads(1)
    given = arguments()
    given.out.mkdir(parents=True, exist_ok=True)
    margins: dict[str, list[float]] = {}
    for source in given.sources:
        count = clips_wanted(source, given)
        root = clips_in(source, count, given.frames, given.out / "clips")
        reports = scored(source, root, given)
        print(f"\n## {source}: {count} clips of {given.frames} frames\n")
        best = min(reports[name].mean.abs_rel for name in TRIVIAL)
        for number, (name, report) in enumerate(reports.items()):
            titles, (row, *_published) = table(report)
            scores = dict(zip(titles, row, strict=True))
            if not number:
                print(f"| | {' | '.join(SHOWN)} | of the best trivial |")
                print("| --- " * (len(SHOWN) + 2) + "|")
            relative = f"{report.mean.abs_rel / best:.2f}"
            cells = [name, *(scores.get(title, "") for title in SHOWN), relative]
            print(f"| {' | '.join(cells)} |", flush=True)
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
