"""Peaks of device memory: predicted beside real, for the published size with random weights.

    python benchmarks/vram.py                  # a GPU if there is one, else a simulation
    python benchmarks/vram.py --pixels 1024x576 --card 4 6    # only these; all take 15 minutes
    python benchmarks/vram.py --simulate       # needs no GPU; a few minutes of one core

On a GPU every budget is a run of its own process, held to that budget by PyTorch's allocator: one
full window from frames to disparity, its peak, its seconds per frame, and a denoising step's time
beside that of diffusers' own forward, in the same process without the cap, where that fits. It
needs 5 GB of temporary disk. The simulation (see simulation.py) compares the prediction with the
real code's allocations on configurations of all kinds, and returns 1 if one is off by more than 10%
or a promised budget is exceeded.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from depthcrafter_cli.errors import MemoryLimitError
from depthcrafter_cli.memory.architecture import Architecture
from depthcrafter_cli.memory.budget import Budget, card_budget
from depthcrafter_cli.memory.estimate import Workload, estimate
from depthcrafter_cli.memory.planner import MemoryChoice, choose
from depthcrafter_cli.models.components import Components
from depthcrafter_cli.models.layout import network_configs
from depthcrafter_cli.types import MemoryPlan, Size

HD, FULL_HD = Size(576, 1024), Size(1088, 1920)
BUDGETS = [(HD, gb) for gb in (4, 6, 8, 10, 12, 16, 24)] + [(FULL_HD, gb) for gb in (8, 12, 24)]
# Under which bytes the run must stay: a 4 GB card's usable part, 6 and 8 GB cards.
PROMISES = {(HD, 4): 3.4e9, (HD, 6): 6e9, (FULL_HD, 8): 8e9}
LIMIT, DRAWN = 0.10, 30
WINDOW, OVERLAP, BATCH = 110, 25, 8


def main() -> int:
    parser = argparse.ArgumentParser(description="Predicted and real peaks of device memory.")
    parser.add_argument("--simulate", action="store_true", help="even if there is a GPU")
    parser.add_argument("--seed", type=int, default=0, help="of the simulated configurations")
    parser.add_argument("--pixels", choices=sorted({str(size) for size, _ in BUDGETS}))
    parser.add_argument("--card", type=int, nargs="+", help="only these GB")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        folder, *numbers = arguments.child
        print(json.dumps(_measure(Path(folder), *map(int, numbers), arguments.steps)))
        return 0
    if arguments.simulate or not torch.cuda.is_available():
        return simulate(arguments.seed)
    wanted = [
        (size, gigabytes)
        for size, gigabytes in BUDGETS
        if arguments.pixels in (None, str(size)) and gigabytes in (arguments.card or (gigabytes,))
    ]
    return measure(wanted, arguments.steps)


def chosen(model: Architecture, size: Size, gigabytes: float) -> MemoryChoice:
    """The planner's choice for a card."""
    workload = Workload(size, WINDOW, 8, 2)
    budget = Budget(card_budget(gigabytes, "cuda"))
    return choose(model, workload, budget, "cuda", batch=BATCH, overlap=OVERLAP)


def simulate(seed: int) -> int:
    """Compare on every configuration; print one line each."""
    from simulation import CONFIGS, Simulation

    print("A simulation: allocations of the real code on tensors without values, no GPU.")
    simulation = Simulation(CONFIGS)
    worst, exceeded, count = 0.0, [], 0
    print(f"{'pixels':>10} {'T':>4}  {'plan':<34} {'predicted':>9} {'simulated':>9}  worst stage")
    for workload, plan, promise in _configurations(simulation.architecture, seed):
        # Only from the second step on is the next block sent for ahead.
        real = simulation.peaks(workload, plan, steps=1 + plan.offload_blocks)
        predicted = estimate(simulation.architecture, workload, plan)
        stage, error = max(
            ((name, getattr(predicted, name) / peak - 1) for name, peak in real.items()),
            key=lambda item: abs(item[1]),
        )
        peak = max(real.values())
        worst, count = max(worst, abs(error)), count + 1
        if promise and peak > promise:
            exceeded.append(f"{workload.size} in {promise / 1e9:.1f} GB")
        print(
            f"{workload.size!s:>10} {workload.window:>4}  {_short(plan):<34} "
            f"{predicted.device / 1e9:>6.2f} GB {peak / 1e9:>6.2f} GB  {error:+.1%} {stage}",
            flush=True,
        )
    print(f"{count} configurations, largest error of any stage {worst:.1%} (limit {LIMIT:.0%})")
    for promise in exceeded:
        print(f"exceeded: {promise}")
    return int(worst > LIMIT or bool(exceeded))


def _configurations(
    model: Architecture, seed: int
) -> Iterator[tuple[Workload, MemoryPlan, float | None]]:
    """What the planner chooses for cards, then plans and pictures of all kinds, drawn by lot."""
    for size, gigabytes in BUDGETS:
        choice = chosen(model, size, gigabytes)
        yield choice.workload, choice.plan, PROMISES.get((size, gigabytes))
    drawn = random.Random(seed)
    for _ in range(DRAWN):
        size = Size(64 * drawn.randint(4, 12), 64 * drawn.randint(4, 12))
        plan = MemoryPlan(
            chunk_values=MemoryPlan.default("cuda").chunk_values // drawn.randint(1, 4),
            encode_batch=drawn.choice((1, 2, 4, 8)),
            offload_networks=drawn.random() < 0.7,
            offload_blocks=drawn.random() < 0.5,
            offload_skips=drawn.random() < 0.5,
            encode_by_rows=drawn.random() < 0.3,
            recompute_decode=drawn.random() < 0.5,
        )
        yield Workload(size, drawn.randint(1, WINDOW), drawn.choice((8, 8, 5, 3)), 2), plan, None


def _short(plan: MemoryPlan) -> str:
    words = [f"{plan.chunk_values / 1e6:.1f}M", f"b{plan.encode_batch}"]
    words += ["swap"] * plan.offload_networks + ["stream"] * plan.offload_blocks
    words += ["park"] * plan.offload_skips + ["rows"] * plan.encode_by_rows
    return " ".join(words + ["recompute"] * plan.recompute_decode)


def measure(budgets: list[tuple[Size, int]], steps: int) -> int:
    """Run each of the ``budgets`` in a process of its own; print one line each."""
    from full_size import write_model

    print(f"{torch.cuda.get_device_name()}, fp16, {WINDOW} frames, {steps} steps")
    print(
        f"{'pixels':>10} {'GB':>3}  {'predicted':>9} {'measured':>9} {'s/frame':>8} {'/ plain':>8}"
    )
    failed = 0
    with tempfile.TemporaryDirectory(prefix="depthcrafter-vram-") as folder:
        write_model(Path(folder))
        for size, gigabytes in budgets:
            done = in_process(folder, size, gigabytes, steps)
            if "error" in done:
                failed += 1
                print(f"{size!s:>10} {gigabytes:>3}  {done['error']}")
                continue
            ratio = f"{done['step'] / done['plain_step']:.2f}" if done["plain_step"] else "-"
            print(
                f"{size!s:>10} {gigabytes:>3}  {done['predicted'] / 1e9:>6.2f} GB "
                f"{done['peak'] / 1e9:>6.2f} GB {done['seconds'] / WINDOW:>8.3f} {ratio:>8}",
                flush=True,
            )
    return int(failed > 0)


def in_process(folder: str, size: Size, gigabytes: int, steps: int) -> dict[str, Any]:
    """The figures of one budget, by a process of its own; ``error`` alone if it failed."""
    numbers = [str(number) for number in (size.height, size.width, gigabytes)]
    command = [sys.executable, __file__, "--steps", str(steps), "--child", folder, *numbers]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        return {"error": f"failed with exit code {done.returncode}"}
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _measure(folder: Path, height: int, width: int, gigabytes: int, steps: int) -> dict[str, Any]:
    """One window from frames to disparity, then the plain forward of the denoiser."""
    from depthcrafter_cli.models.loading import load_components
    from depthcrafter_cli.pipeline.config import PipelineConfig
    from depthcrafter_cli.pipeline.pipeline import estimate_disparity
    from depthcrafter_cli.training.networks import trainable_networks
    from depthcrafter_cli.workflows.memory import cap_device

    device, size = torch.device("cuda", 0), Size(height, width)
    try:
        choice = chosen(Architecture.of(**network_configs(folder)), size, gigabytes)
    except MemoryLimitError as error:
        return {"error": str(error)}
    cap_device("cuda:0", gigabytes)
    components = load_components(
        folder, device=device, dtype=torch.float16, plan=choice.plan, build=trainable_networks
    )
    config = PipelineConfig(steps=steps, window=choice.workload.window, overlap=OVERLAP)
    frames = np.random.default_rng(0).integers(0, 255, (WINDOW, height, width, 3), dtype=np.uint8)
    steps_done, start = [], _now()
    for _ in estimate_disparity(
        components,
        config,
        frames,
        observer=lambda event: event.stage == "denoise" and steps_done.append(_now()),
    ):
        pass
    measured = {
        "predicted": choice.peaks.device,
        "peak": torch.cuda.max_memory_allocated(device),
        "seconds": _now() - start,
        # The first event is of the window's beginning.
        "step": (steps_done[-1] - steps_done[0]) / max(1, len(steps_done) - 1),
    }
    torch.cuda.set_per_process_memory_fraction(1.0, device)
    return {**measured, "plain_step": _plain_step(components, size)}


def _plain_step(networks: Components, size: Size) -> float | None:
    """Seconds of a step of diffusers' own forward on as large a window; None without room."""
    device = networks.device
    resident = MemoryPlan.default("cuda")
    marks = []
    try:
        unet = networks.under(resident).unet
        shape = (1, WINDOW, 8, size.height // 8, size.width // 8)
        sample = torch.randn(shape).to(device, torch.float16)
        embeds = torch.randn(WINDOW, 1, unet.config.cross_attention_dim).to(device, torch.float16)
        ids = torch.tensor([[7.0, 127.0, 0.02]]).to(device, torch.float16)
        with torch.inference_mode():
            for _ in range(3):
                unet(sample, torch.tensor([1.0], device=device), embeds, ids)
                marks.append(_now())
    except torch.cuda.OutOfMemoryError:
        return None
    return (marks[-1] - marks[0]) / (len(marks) - 1)


def _now() -> float:
    torch.cuda.synchronize()
    return time.perf_counter()


if __name__ == "__main__":
    sys.exit(main())
