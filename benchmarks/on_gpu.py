"""What the first ten minutes on a GPU run, in one go; it stops at the first failure.

    python benchmarks/on_gpu.py --out on_gpu.json       what is done already there is left out
    python benchmarks/on_gpu.py --dry-run --out x.json  every step at a tiny size, on the CPU

Of the package it needs no more than PyTorch, diffusers, transformers, av and numcodecs. The figures
go into one JSON file, step by step, and into one table.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import psutil
import torch
import torch.nn.functional as F
import vram
from full_size import write_model
from simulation import CONFIGS, Simulation

from depthcrafter_cli.memory.architecture import Architecture
from depthcrafter_cli.memory.budget import card_budget
from depthcrafter_cli.memory.estimate import Workload, estimate
from depthcrafter_cli.models.fused import fusion
from depthcrafter_cli.models.host import HostMemory
from depthcrafter_cli.models.layout import network_configs
from depthcrafter_cli.models.loading import load_components
from depthcrafter_cli.pipeline.config import PipelineConfig
from depthcrafter_cli.pipeline.pipeline import estimate_disparity
from depthcrafter_cli.types import MemoryPlan, Size

ROOT = Path(__file__).parents[1]
NANO = ROOT / "weights" / "nano"
Figures = dict[str, Any]
# Largest difference from float32 on the CPU, of a range of about 1.
LIMITS = {"float32": 3e-3, "float16": 5e-3, "bfloat16": 5e-2}
CARDS = (4, 8, 24)  # GB
OFFLOADS = ("offload_networks", "offload_blocks", "offload_skips", "recompute_decode")


class FiguresError(Exception):
    """A step whose figures are not what they have to be."""


@dataclass(frozen=True)
class Bench:
    """Where the steps run; ``dry`` is at a tiny size."""

    device: torch.device
    dry: bool

    def frames(self) -> np.ndarray:
        """Random pictures uint8 [n, H, W, 3] with smooth parts, the same every time."""
        count, height, width = (4, 64, 64) if self.dry else (48, 192, 320)
        coarse = np.random.default_rng(0).integers(0, 255, (count, height // 16, width // 16, 3))
        return coarse.repeat(16, axis=1).repeat(16, axis=2).astype(np.uint8)

    def disparity(
        self, device: torch.device, dtype: torch.dtype, plan: MemoryPlan | None = None
    ) -> np.ndarray:
        """What nano makes of the frames."""
        components = load_components(NANO, device=device, dtype=dtype, plan=plan)
        steps, window = (1, 4) if self.dry else (2, 24)
        config = PipelineConfig(steps=steps, window=window, overlap=window // 4)
        return np.concatenate([*estimate_disparity(components, config, self.frames())])

    def script(self, name: str, *arguments: str) -> Figures:
        """Another benchmark's output; that it starts, where it is dry."""
        command = [sys.executable, ROOT / "benchmarks" / name]
        command += ["--help"] if self.dry else arguments
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
        if done.returncode:
            raise FiguresError(f"{name} ended with {done.returncode}: {done.stderr[-500:]}")
        return {"output": done.stdout.splitlines()}

    def seconds(self, work: Callable[[], Any]) -> float:
        """Of the best of three runs, from idle to idle."""
        times = []
        for _ in range(3):
            self.wait()
            start = time.perf_counter()
            work()
            self.wait()
            times.append(time.perf_counter() - start)
        return min(times)

    def wait(self) -> None:
        """Until the GPU is idle."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def versions(bench: Bench) -> Figures:
    """What is here, and what norms and gates are computed by."""
    found = fusion(bench.device.type)
    figures = {"torch": torch.__version__, "kernels": found.words, "python": sys.version}
    if bench.device.type == "cuda":
        figures |= {
            "card": torch.cuda.get_device_name(), "cudnn": torch.backends.cudnn.version(),
            "capability": torch.cuda.get_device_capability(),
            "tf32": torch.backends.cudnn.allow_tf32,
        }  # fmt: skip
        if found.kernels is None:
            raise FiguresError(found.words)
    return figures


def precisions(bench: Bench) -> Figures:
    """Each precision against float32 on the CPU."""
    expected = bench.disparity(torch.device("cpu"), torch.float32)
    names = [name for name in LIMITS if name != "float16" or bench.device.type != "cpu"]
    figures = {}
    for name in names:
        found = bench.disparity(bench.device, getattr(torch, name))
        figures[name] = float(np.abs(found - expected).max())
        if not figures[name] <= LIMITS[name]:
            raise FiguresError(f"{name} differs by {figures[name]}, more than {LIMITS[name]}")
    return figures


def plans(bench: Bench) -> Figures:
    """Copies do no arithmetic: whatever waits on the host, the result is the same to the bit."""
    dtype = torch.float32 if bench.dry else torch.float16
    usual = MemoryPlan.default(bench.device.type)
    expected = bench.disparity(bench.device, dtype, usual)
    for offload in OFFLOADS:
        plan = MemoryPlan(usual.chunk_values, **{offload: True})
        if not np.array_equal(bench.disparity(bench.device, dtype, plan), expected):
            raise FiguresError(f"{offload} changes the result")
    if not np.array_equal(bench.disparity(bench.device, dtype, usual), expected):
        raise FiguresError("the same plan gives another result the second time")
    return {"equal": list(OFFLOADS)}


def pinning(bench: Bench) -> Figures:
    """Host memory is pinned, and what is refused leaves no error behind."""
    size, told = 10**6 if bench.dry else 8 * 10**9, list[str]()
    host = HostMemory(told.append)
    took = bench.seconds(lambda: host.memory(size, bench.device))
    if float((torch.ones(2, device=bench.device) + 1).sum()) != 4:
        raise FiguresError("the device does not compute any more")
    return {"bytes": size, "seconds": took, "warnings": told}


def attention(bench: Bench) -> Figures:
    """Heads of 512, whole and in pieces."""
    places, dtype = (64, torch.float32) if bench.dry else (9216, torch.float16)
    query = torch.randn(8, 1, places, 512, device=bench.device, dtype=dtype)
    pieces = query.split(640, dim=2)
    whole = bench.seconds(lambda: F.scaled_dot_product_attention(query, query, query))
    parts = bench.seconds(
        lambda: [F.scaled_dot_product_attention(piece, query, query) for piece in pieces]
    )
    return {"whole_seconds": whole, "pieces_seconds": parts}


def shortage(bench: Bench) -> Figures:
    """Memory runs out while frames are denoised: the run goes on under a smaller plan."""
    components = load_components(
        NANO, device=bench.device, dtype=torch.float32, plan=MemoryPlan(1 << 20)
    )
    left, went = [1], list[str]()

    def fail(*_: Any) -> None:
        if left:
            left.pop()
            torch.empty(1 << 60, device=bench.device)

    def smaller(plan: MemoryPlan, place: str) -> MemoryPlan:
        went.append(place)
        return MemoryPlan(plan.chunk_values // 2)

    hook = components.unet.conv_in.register_forward_pre_hook(fail)
    config = PipelineConfig(steps=1, window=4, overlap=1)
    list(estimate_disparity(components, config, bench.frames()[:4], fallback=smaller))
    hook.remove()
    if went not in (["denoise"], ["host"]):
        raise FiguresError(f"it went on {went}, expected once")
    return {"went_on_in": went}


def peaks(bench: Bench) -> Figures:
    """Cards of 4, 8 and 24 GB: the peak within a tenth of the prediction, and on the card.

    Where it is dry, allocations of the same plans are simulated, for small pictures.
    """
    if bench.dry:
        simulation, model = Simulation(CONFIGS), Architecture.of(**network_configs(CONFIGS))
        workload = Workload(Size(64, 64), 8, 8, 2)
        choices = {card: vram.chosen(model, vram.HD, card) for card in CARDS}
        found = {
            card: {
                "predicted": estimate(model, workload, choice.plan).device,
                "peak": max(simulation.peaks(workload, choice.plan).values()),
            }
            for card, choice in choices.items()
        }
    else:
        with tempfile.TemporaryDirectory(prefix="depthcrafter-on-gpu-") as folder:
            write_model(Path(folder))
            found = {card: vram.in_process(folder, vram.HD, card, steps=2) for card in CARDS}
    for card, figures in found.items():
        if "error" in figures:
            raise FiguresError(f"{card} GB: {figures['error']}")
        if abs(figures["peak"] / figures["predicted"] - 1) > vram.LIMIT:
            raise FiguresError(f"{card} GB: {figures}, expected the prediction within a tenth")
        if figures["peak"] > card_budget(card, "cuda"):
            raise FiguresError(f"{card} GB: {figures['peak']} bytes, more than the card has")
    return {f"{card} GB": figures for card, figures in found.items()}


def killed_worker(bench: Bench) -> Figures:
    """A batch whose worker is killed in the middle of a clip tries that again and ends well."""
    with tempfile.TemporaryDirectory() as folder:
        clips, out = Path(folder, "clips"), Path(folder, "out")
        clips.mkdir()
        for number in range(2):
            _encode(clips / f"{number}.mkv", bench.frames())
        command = [
            sys.executable, "-m", "depthcrafter_cli", "batch", str(clips), "--out", str(out),
            "--format", "npz", "--weights", str(NANO), "--steps", "2", "--json",
            "--engine", "processes", "--devices", "cpu" if bench.dry else "cuda:0",
        ]  # fmt: skip
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert process.stdout is not None
        retries, killed = 0, 0
        for line in process.stdout:
            event = json.loads(line)
            retries += event["event"] == "retry"
            if not killed and event.get("stage") == "denoise":
                workers = [
                    child
                    for child in psutil.Process(process.pid).children()
                    if "spawn_main" in " ".join(child.cmdline())
                ]
                killed = workers[0].pid
                workers[0].kill()
        code, made = process.wait(), sorted(path.name for path in out.glob("*.npz"))
    if (code, retries, made) != (0, 1, ["0.npz", "1.npz"]) or not killed:
        raise FiguresError(f"it ended with {code}, {retries} retries and {made}")
    return {"retries": retries, "made": made}


def _encode(path: Path, frames: np.ndarray) -> None:
    """Write frames uint8 [n, H, W, 3] as a video that loses nothing."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=24)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "bgr0"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))


def resumed(bench: Bench) -> Figures:
    """Runs that are killed at moments drawn by lot, and go on, give the same bytes."""
    if bench.dry:
        return bench.script("kill_resume.py")
    return bench.script("kill_resume.py", "--rounds", "6", "--film", "--frames", "40")


STEPS: dict[str, Callable[[Bench], Figures]] = {
    "versions": versions,
    "precisions": precisions,
    "plans": plans,
    "resumed": resumed,
    "pinning": pinning,
    "attention": attention,
    "shortage": shortage,
    "peaks": peaks,
    "speed": lambda bench: bench.script("speed.py", "--part", "stages", "--rounds", "2"),
    "killed_worker": killed_worker,
}


def main() -> int:
    parser = argparse.ArgumentParser(description="The first ten minutes on a GPU.")
    parser.add_argument("--out", type=Path, required=True, help="the JSON file of all figures")
    parser.add_argument("--dry-run", action="store_true", help="at a tiny size, on the CPU")
    arguments = parser.parse_args()
    if not arguments.dry_run and not torch.cuda.is_available():
        parser.error("no GPU is here: pass --dry-run")
    bench = Bench(torch.device("cpu" if arguments.dry_run else "cuda"), arguments.dry_run)
    done = json.loads(arguments.out.read_text()) if arguments.out.is_file() else {}
    for name, step in STEPS.items():
        if name in done:
            continue
        start = time.perf_counter()
        try:
            figures = step(bench)
        except Exception as error:  # of any library
            print(f"{name} failed: {type(error).__name__}: {error}", file=sys.stderr)
            return 1
        done[name] = {"took": round(time.perf_counter() - start, 2), **figures}
        arguments.out.write_text(json.dumps(done, indent=2, default=str) + "\n")
    print("| step | seconds | figures |\n| --- | --- | --- |")
    for name, figures in done.items():
        told = "; ".join(
            f"{key} {value}" for key, value in figures.items() if key not in ("took", "output")
        )
        print(f"| {name} | {figures['took']} | {told} |")
    for name in ("resumed", "speed"):
        print(f"\n{name}\n", *done[name]["output"], sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
