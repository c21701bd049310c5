"""Train a model of pixels for so many minutes, on frames that are made meanwhile.

    pip install -e ".[levels]"
    python examples/train_timed.py MODEL OUT --minutes 8 --device cuda --data openarena \
      --levels 9 --drawn 4 --workers 3

For machines that are there for minutes only: no stage has a length, the rate falls with the time
that is left, and the model is saved every minute, so that at most one is lost. ``MODEL`` is
weights/nano, what examples/grow_pixels.py makes, or what an earlier call left in ``OUT``. Stacks
that are there already (``--stacks``) are used from the first second; so many processes record
``--levels`` of the game in ``--data`` and ``--drawn`` scenes beside them, and ``--workers`` cut
views of them. Small views come first, large ones in the last third of the time.
"""

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from depthcrafter_cli.datasets.stacks import StackedFrames
from depthcrafter_cli.models.loading import load_components
from depthcrafter_cli.models.manifest import read_manifest, write_manifest
from depthcrafter_cli.pipeline.conditioning import clip_pixels
from depthcrafter_cli.training import loss
from depthcrafter_cli.training.config import StageConfig, ViewsConfig, ViewSize
from depthcrafter_cli.training.data.latents import Latents
from depthcrafter_cli.training.data.targets import depth_cells, target_disparity
from depthcrafter_cli.training.data.views import drawn_size, view
from depthcrafter_cli.training.depth_error import depth_error
from depthcrafter_cli.training.ema import MovingAverage
from depthcrafter_cli.training.layers import select_layers
from depthcrafter_cli.training.networks import save_trained, trainable_networks
from depthcrafter_cli.training.optimizers import optimizer_of
from depthcrafter_cli.training.precision import Precision
from depthcrafter_cli.training.shortcuts import (
    collapse_cross_attention,
    flatten_temporal_convolutions,
    keep_blind,
    recompute_blocks,
)
from depthcrafter_cli.training.stages.estimates import velocity_of

HERE = Path(__file__).parent
ASLEEP = ["temporal_", "time_mixer", "time_pos_embed"]
SIGMA, DEPTH_WEIGHT = 700.0, 3.0  # as in nano-pixels.toml
WARMUP = 50  # steps
LARGE_FROM = 2 / 3  # of the time
LOOK_EVERY = 20  # batches, for new stacks


@dataclass(frozen=True)
class Plan:
    """``small`` views come in batches of ``batch``, ``large`` ones in a quarter of that."""

    small: ViewsConfig
    large: ViewsConfig
    batch: int


class Views(IterableDataset[tuple[Tensor, Tensor, Tensor]]):
    """Batches of views of whatever stacks are there: pictures, disparity and inverse depth.

    Pictures are uint8 [B, 1, h, w, 3], the others as the trainer's, [B, 1, 1, h, w].
    """

    def __init__(self, roots: list[Path], plan: Plan, begun: float, end: float) -> None:
        self._roots, self._plan, self._begun, self._end = roots, plan, begun, end

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        torch.set_num_threads(1)
        worker = get_worker_info()
        rng = np.random.default_rng([int(self._begun), worker.id if worker else 0])
        sources: list[StackedFrames] = []
        for number in range(sys.maxsize):
            if number % LOOK_EVERY == 0 or not sources:
                sources = [
                    StackedFrames(root) for root in self._roots if any(root.glob("*/rgb.npy"))
                ]
            if not sources:
                time.sleep(1)
                continue
            late = (time.time() - self._begun) / (self._end - self._begun) > LARGE_FROM
            views = self._plan.large if late else self._plan.small
            yield self._batch(sources, views, max(1, self._plan.batch // (4 if late else 1)), rng)

    def _batch(
        self, sources: list[StackedFrames], views: ViewsConfig, count: int, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        size, parts = drawn_size(views, rng), []
        for _ in range(count):
            source = sources[int(rng.integers(len(sources)))]
            clip = view(source.read(int(rng.integers(len(source))), range(1)), size, views, rng)
            clip = clip.mirrored() if rng.random() < 0.5 else clip
            target = target_disparity(clip.disparity, clip.valid)[:, None]
            parts.append((clip.rgb, target, depth_cells(clip.disparity, clip.valid, 1)))
        pictures, targets, inverse = (torch.stack(part) for part in zip(*parts, strict=True))
        return pictures, targets, inverse


def main(
    model: Annotated[Path, typer.Argument(help="Folder of the model to go on from.")],
    out: Annotated[Path, typer.Argument(help="Folder for the models.")],
    minutes: Annotated[float, typer.Option(help="From the first step on.")] = 8.0,
    device: str = "cuda",
    batch: Annotated[int, typer.Option(min=4, help="Small views of a step.")] = 128,
    rate: Annotated[float, typer.Option(help="Muon's learning rate at most.")] = 2e-3,
    stacks: Annotated[list[Path] | None, typer.Option(help="Of frames; again for more.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of the game's packages.")] = None,
    levels: Annotated[int, typer.Option(help="Processes that record levels.")] = 0,
    drawn: Annotated[int, typer.Option(help="Processes that draw scenes.")] = 0,
    workers: Annotated[int, typer.Option(help="Processes that cut views.")] = 3,
    save_every: Annotated[float, typer.Option(help="Seconds.")] = 60.0,
    height: Annotated[int, typer.Option(help="Of the large views.")] = 144,
) -> None:
    """Train a model of pixels for so many minutes."""
    scratch = out / "stacks"
    makers = _makers(scratch, data, levels, drawn)
    width = height * 16 // 9
    plan = Plan(
        ViewsConfig([ViewSize(height // 2, width // 2), ViewSize(width // 3, width // 3, 0.2)]),
        ViewsConfig([ViewSize(height, width), ViewSize(width // 2, width // 2, 0.2)], [0.7, 1.0]),
        batch,
    )
    try:
        roots = [scratch / f"{kind}-{n}" / "train" for kind, n in _jobs(levels, drawn)]
        _train(
            model, out, [*(stacks or []), *roots], plan, minutes, device, rate, workers, save_every
        )
    finally:
        for maker in makers:
            maker.terminate()


def _jobs(levels: int, drawn: int) -> list[tuple[str, int]]:
    return [("levels", n) for n in range(levels)] + [("drawn", n) for n in range(drawn)]


def _makers(
    scratch: Path, data: Path | None, levels: int, drawn: int
) -> list[subprocess.Popen[bytes]]:
    """Processes that fill a folder each, with small stacks, so that the first is soon there."""
    found = []
    for kind, number in _jobs(levels, drawn):
        script = "record_levels.py" if kind == "levels" else "draw_stacks.py"
        command = [sys.executable, str(HERE / script), str(scratch / f"{kind}-{number}")]
        command += ["--shards", "1000", "--first", str(1000 * (1 + number))]
        command += ["--each", "8"] if kind == "levels" else ["--scenes", "60"]
        if data:
            command += ["--data" if kind == "levels" else "--packages", str(data)]
        found.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
    return found


def _train(
    model: Path, out: Path, roots: list[Path], plan: Plan, minutes: float, device: str,
    rate: float, workers: int, save_every: float,
) -> None:  # fmt: skip
    place, precision = torch.device(device), Precision("bf16", torch.device(device))
    networks = load_components(model, device=place, dtype=torch.float32, build=trainable_networks)
    unet, tower = networks.unet, networks.image_encoder
    flatten_temporal_convolutions(unet)
    collapse_cross_attention(unet)
    select_layers(unet, "all", ASLEEP)
    recompute_blocks(unet, enabled=False)
    keep_blind(unet.train())
    trained = [parameter for parameter in unet.parameters() if parameter.requires_grad]
    stage = StageConfig(
        name="timed", trains="all", sources={}, frames=[1, 1], steps=1, learning_rate=rate,
        optimizer="muon",
    )  # fmt: skip
    optimizer, average = optimizer_of(stage, trained), MovingAverage(unet, 0.999)
    begun = time.time()
    end = begun + 60 * minutes
    loader = DataLoader(Views(roots, plan, begun, end), batch_size=None, num_workers=workers)
    saved, views, told = begun, 0, []
    for step, part in enumerate(loader):
        pictures, targets, inverse = (tensor.to(place, non_blocking=True) for tensor in part)
        left = max(0.0, (end - time.time()) / (end - begun))
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1, (step + 1) / WARMUP) * min(1.0, 0.02 + left / 0.6)
        optimizer.zero_grad(set_to_none=True)
        value = _loss(
            unet, tower, networks.vae.config.scaling_factor, pictures, targets, inverse, precision
        )
        value.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        average.update(step + 1)
        views += len(pictures)
        told.append(value.detach())
        done = time.time() > end
        if done or time.time() - saved > save_every:
            saved = time.time()
            with average.in_network():
                _save(out / "model", model, unet)
            mean, seconds = float(torch.stack(told).mean()), saved - begun
            pace = f"{views} views, {views / seconds:.1f} a second"
            print(f"{seconds:.0f} s: step {step + 1}, {pace}, loss {mean:.4f}", flush=True)
            told = []
        if done:
            return


def _loss(
    unet: Any, tower: Any, scaling: float, pictures: Tensor, targets: Tensor, inverse: Tensor,
    precision: Precision,
) -> Tensor:  # fmt: skip
    """As the trainer's, of one noise level: pixels are latents, so nothing has to be encoded."""
    image = pictures.permute(0, 1, 4, 2, 3).float() / 127.5 - 1
    with torch.no_grad(), precision():
        embeds = tower(clip_pixels(image.flatten(0, 1))).image_embeds.float()[:, None]
    clean = (targets * 2 - 1).expand(-1, -1, 3, -1, -1) * scaling
    sigma = image.new_full((len(image), 1, 1, 1, 1), SIGMA)
    noisy = clean + sigma * torch.randn_like(clean)
    seen = Latents(image, clean, embeds, torch.ones_like(targets), inverse)
    velocity = velocity_of(unet, noisy, sigma, seen, precision)
    matching = loss.score_matching_loss(noisy, velocity, clean, sigma, seen.mask)
    estimate = loss.clean_estimate(noisy, velocity, sigma) / scaling
    disparity = (estimate.mean(2, keepdim=True) + 1) / 2
    return matching + DEPTH_WEIGHT * depth_error(disparity, inverse).mean()


def _save(folder: Path, start: Path, unet: Any) -> None:
    """Replace the model in ``folder``; there is a whole one at any moment but for a rename."""
    unfinished, before = folder.with_name("model.partial"), folder.with_name("model.before")
    shutil.rmtree(unfinished, ignore_errors=True)
    save_trained(unfinished, start, unet)
    manifest = read_manifest(start)
    settings, base = (manifest.settings, manifest.base) if manifest else ({}, "")
    write_manifest(unfinished, "timed", settings=settings, base=base)
    shutil.rmtree(before, ignore_errors=True)
    if folder.exists():
        folder.replace(before)
    unfinished.replace(folder)


if __name__ == "__main__":
    typer.run(main)
