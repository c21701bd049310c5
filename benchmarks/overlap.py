"""What is done beside the model: CPU time of the launching thread, and a run with a simulated one.

    python benchmarks/overlap.py                 # two cores, some minutes
    python benchmarks/overlap.py --part launch   # or only --part run

In place of what a GPU computes, from pictures to disparity, stands a pause of so many milliseconds
a frame, in this benchmark only, and copies in memory stand for those to and from a card; all else
is real: reading, noise, windows, checkpoints, spool and outputs. The run is of a film of shots,
which are written while the next one is computed, and of a single shot, whose range is known after
its last frame; its wall time is given relative to the pauses. Its source is the example at
1920x1080 with light grain (natural), and textures of random colours that move, which compress badly
(noise). Where the disk is slower than an NPZ grows, 140 MB/s, set TMPDIR to one in memory.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import imageio_ffmpeg
import numpy as np
import torch
from torch import Tensor

from depthcrafter_cli.pipeline import denoise, pipeline
from depthcrafter_cli.pipeline.conditioning import Conditioning
from depthcrafter_cli.progress import Progress
from depthcrafter_cli.types import Size
from depthcrafter_cli.workflows import compute
from depthcrafter_cli.workflows.queues import frames_ahead
from depthcrafter_cli.workflows.request import RunRequest
from depthcrafter_cli.workflows.runs import run

ROOT = Path(__file__).parents[1]
TINY_MODEL, EXAMPLE = ROOT / "tests/data/parity/tiny_model", ROOT / "examples/bunny.mp4"
LAUNCH, FULL = Size(576, 1024), Size(1080, 1920)
STEPS = 5
SETTINGS = {"window": 110, "overlap": 25, "steps": STEPS}
SHARES = {"encode": 0.2, "denoise": 0.6, "decode": 0.2}  # of a frame's pause
OUTPUTS = {"MP4": "depth.mp4", "PNG16": "png/depth_%05d.png", "NPZ by shot": "depth.npz"}


def main() -> int:
    parser = argparse.ArgumentParser(description="What is done beside the model.")
    parser.add_argument("--part", choices=("all", "launch", "run"), default="all")
    parser.add_argument("--source", choices=tuple(SOURCES), nargs="+", default=[*SOURCES])
    parser.add_argument("--frames", type=int, default=330)
    parser.add_argument("--shots", type=int, default=3)
    parser.add_argument("--pause", type=float, default=60.0, help="milliseconds a frame")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as folder:
        if arguments.part != "run":
            launching(Path(folder), arguments.frames)
        for source in arguments.source if arguments.part != "launch" else ():
            overlapped(
                Path(folder) / source, source, arguments.frames, arguments.shots,
                arguments.pause / 1e3,
            )  # fmt: skip
    return 0


def launching(folder: Path, frames: int) -> None:
    """Print what the launching thread takes for a frame outside the model's calls."""
    film, model = make_film(folder / "launch.mp4", LAUNCH, [frames]), Simulated(LAUNCH, 0.0)
    marks = dict[str, float]()

    def watch(event: Progress) -> None:
        if event.stage in ("condition", "decode"):
            marks.setdefault("start", time.thread_time())
            marks["end"] = time.thread_time()

    with model.in_place():
        run(request(film, folder / "launch.npz", cuts="none"), watch)
    taken = 1e3 * (marks["end"] - marks["start"]) / frames
    print(f"launching thread, {LAUNCH}: {taken:.1f} CPU-ms a frame outside the model")


def overlapped(folder: Path, source: str, frames: int, shots: int, pause: float) -> None:
    """Print the wall time of runs to each kind of output, relative to the pauses alone."""
    folder.mkdir()
    lengths = [frames // shots] * shots
    film, model = SOURCES[source](folder / "film.mp4", FULL, lengths), Simulated(LAUNCH, pause)
    cuts = folder / "cuts.txt"
    starts = [sum(lengths[:n]) for n in range(1, shots)]
    cuts.write_text("".join(f"{start}\n" for start in starts))
    for kind, given in (("film", str(cuts)), ("one shot", "none")):
        for name, out in OUTPUTS.items():
            asked = request(film, folder / kind / out, cuts=given, per_shot="by shot" in name)
            model.paused, began = 0.0, dict[str, float]()

            def watch(event: Progress, began: dict[str, float] = began) -> None:
                if event.stage == "condition":
                    began.setdefault("at", time.perf_counter())

            with model.in_place():
                cpu = time.process_time()
                run(asked, watch)
            wall, cpu = time.perf_counter() - began["at"], time.process_time() - cpu
            print(
                f"{source:<7} {kind:<8} {name:<11} {FULL}: wall {wall:6.2f} s, "
                f"pauses {model.paused:6.2f} s, {wall / model.paused:.2f}; "
                f"{1e3 * cpu / frames:.0f} CPU-ms a frame",
                flush=True,
            )
            shutil.rmtree(asked.outputs[0].parent)  # some gigabytes


def request(film: Path, out: Path, **more: Any) -> RunRequest:
    """A run of a tiny model of latents, at the size of the published model, to one output."""
    out.parent.mkdir(parents=True, exist_ok=True)
    return RunRequest(
        film, (out,), weights=str(TINY_MODEL), max_res=LAUNCH.width, settings=SETTINGS,
        device="cpu", create_folders=True, **more,
    )  # fmt: skip


class Simulated:
    """Pauses and copies in place of what a GPU computes, for which as much is read ahead."""

    def __init__(self, size: Size, pause: float) -> None:
        self._pause, self.paused = pause, 0.0
        self._card = torch.empty(8 * 3 * size.width * size.height)
        rows, columns = torch.meshgrid(
            torch.linspace(0.55, 0.75, size.height),
            torch.linspace(-1, 1, size.width),
            indexing="ij",
        )
        noise = torch.randn(8, *rows.shape, generator=torch.Generator().manual_seed(0))
        near = torch.stack([(columns - 0.05 * n).abs() < 0.3 for n in range(8)])
        self._decoded = torch.where(near, 0.9, rows) + 0.001 * noise

    def wait(self, frames: int, stage: str, share: float = 1.0) -> None:
        """Take as long as a stage of so many frames."""
        seconds = self._pause * SHARES[stage] * share * frames
        self.paused += seconds
        time.sleep(seconds)

    def encode(self, _networks: object, frames: Tensor, added: Sequence[Tensor]) -> Conditioning:
        """As the encoders, which are given pictures and noise."""
        height, width = frames.shape[1:3]
        self._card[: frames.numel()].copy_(frames.flatten())
        for image in added:
            self._card[: image.numel()].copy_(image.flatten())
        self.wait(len(frames), "encode")
        latents = torch.zeros(len(frames), 4, height // 8, width // 8)
        return Conditioning(torch.zeros(len(frames), 1), latents)

    def forward(self, *_given: object) -> Any:
        """As the UNet: each step takes its part."""

        def predict(known: Tensor, *_given: object) -> Tensor:
            self.wait(len(known), "denoise", 1 / STEPS)
            return torch.zeros_like(known[:, :4])

        return predict

    def decode(self, _networks: object, latents: Tensor) -> Tensor:
        """As the decoder, whose disparity comes back."""
        self.wait(len(latents), "decode")
        return self._decoded[: len(latents)].clone()

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside, pictures go through this instead of networks."""
        places: list[tuple[Any, str, Any]] = [
            (pipeline, "encode", self.encode),
            (denoise, "WindowForward", self.forward),
            (denoise, "euler_step", lambda latents, *_given: latents),
            (pipeline, "decode_disparity", self.decode),
            (compute, "frames_ahead", lambda _device, size: frames_ahead("cuda", size)),
        ]
        before = [getattr(module, name) for module, name, _ in places]
        for module, name, stand_in in places:
            setattr(module, name, stand_in)
        try:
            yield
        finally:
            for (module, name, _), own in zip(places, before, strict=True):
                setattr(module, name, own)


def make_film(path: Path, size: Size, lengths: list[int]) -> Path:
    """A film in H.264 of shots of one texture each, which moves."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24, options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = size.width, size.height, "yuv420p"
        for seed, length in enumerate(lengths):
            coarse = np.random.default_rng(seed).integers(0, 255, (9, 16, 3))
            wide = np.kron(coarse, np.ones((128, 128, 1))).astype(np.uint8)
            for at in range(length):
                shown = np.roll(wide, 4 * at, 1)[: size.height, : size.width]
                picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(shown), format="rgb24")
                container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def make_natural(path: Path, size: Size, lengths: list[int]) -> Path:
    """The example again and again, enlarged, with light grain, in H.264."""
    grain = f"scale={size.width}:{size.height},noise=alls=4:allf=t"
    command = (
        imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-stream_loop", "-1", "-i", EXAMPLE, "-vf",
        grain, "-frames:v", sum(lengths), "-an", "-c:v", "libx264", "-preset", "veryfast", path,
    )  # fmt: skip
    subprocess.run([*map(str, command)], check=True)
    return path


SOURCES = {"natural": make_natural, "noise": make_film}

if __name__ == "__main__":
    sys.exit(main())
