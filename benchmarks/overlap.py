"""What is done beside the model: CPU time of the launching thread, and a run with a simulated one.

    python benchmarks/overlap.py                 # two cores, some minutes
    python benchmarks/overlap.py --part launch   # or only --part run

In place of a tiny model's networks stands a pause of so many milliseconds a frame, in this
benchmark only; all else is real: reading, noise, windows, checkpoints, spool and outputs. What a
GPU would compute before and after its networks, from pictures that it was given to disparity,
counts as the model's, and the pauses are shorter by it. The run is of a film of shots, which are
written while the next one is computed, and of a single shot, whose range is known after its last
frame; its wall time is given relative to the pauses. Its source is the example at 1920x1080 with
light grain (natural), and textures of random colours that move, which compress badly (noise).
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import imageio_ffmpeg
import numpy as np
import torch
from torch import Tensor

from depthcrafter_cli.models.published.image_encoder import ImageEncoder
from depthcrafter_cli.pipeline import conditioning, decode, denoise, pipeline
from depthcrafter_cli.progress import Progress
from depthcrafter_cli.types import Size
from depthcrafter_cli.workflows.request import RunRequest
from depthcrafter_cli.workflows.runs import run

ROOT = Path(__file__).parents[1]
TINY_MODEL, EXAMPLE = ROOT / "tests/data/parity/tiny_model", ROOT / "examples/bunny.mp4"
LAUNCH, FULL = Size(576, 1024), Size(1080, 1920)
STEPS = 2
SETTINGS = {"window": 16, "overlap": 4, "steps": STEPS}
SHARES = {"encode": 0.2, "denoise": 0.6, "decode": 0.2}  # of a frame's pause
OUTPUTS = {"MP4": "depth.mp4", "PNG16": "png/depth_%05d.png", "NPZ by shot": "depth.npz"}


def main() -> int:
    parser = argparse.ArgumentParser(description="What is done beside the model.")
    parser.add_argument("--part", choices=("all", "launch", "run"), default="all")
    parser.add_argument("--source", choices=tuple(SOURCES), nargs="+", default=[*SOURCES])
    parser.add_argument("--frames", type=int, default=96)
    parser.add_argument("--shots", type=int, default=6)
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
            marks.setdefault("start", time.thread_time() - model.own)
            marks["end"] = time.thread_time() - model.own

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
            model.paused, own, began = 0.0, model.own, dict[str, float]()

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
                f"{1e3 * cpu / frames:.0f} CPU-ms a frame, of which "
                f"{1e3 * (model.own - own) / frames:.0f} are the model's",
                flush=True,
            )


def request(film: Path, out: Path, **more: Any) -> RunRequest:
    """A run of a tiny model of latents, at the size of the published model, to one output."""
    out.parent.mkdir(parents=True, exist_ok=True)
    return RunRequest(
        film, (out,), weights=str(TINY_MODEL), max_res=LAUNCH.width, settings=SETTINGS,
        device="cpu", create_folders=True, **more,
    )  # fmt: skip


class Simulated:
    """Pauses in place of networks; ``own`` is the CPU time of the model's part."""

    def __init__(self, size: Size, pause: float) -> None:
        self._pause, self.paused, self.own, self._credited = pause, 0.0, 0.0, 0.0
        rows, columns = torch.meshgrid(
            torch.linspace(0.1, 0.5, size.height), torch.linspace(-1, 1, size.width), indexing="ij"
        )
        noise = torch.randn(8, 3, *rows.shape, generator=torch.Generator().manual_seed(0))
        near = torch.stack([(columns - 0.05 * n).abs() < 0.3 for n in range(8)])[:, None]
        self._decoded = torch.where(near, 0.8, rows) + 0.004 * noise

    def wait(self, frames: int, stage: str, share: float = 1.0) -> None:
        """Take as long as a stage of so many frames, with the model's own work before it."""
        seconds = self._pause * SHARES[stage] * share * frames
        self.paused += seconds
        spent = min(seconds, self.own - self._credited)
        self._credited += spent
        time.sleep(seconds - spent)

    def counted(self, work: Callable[..., Any]) -> Callable[..., Any]:
        """The same, as the model's own work."""

        def run_it(*given: Any) -> Any:
            began = time.thread_time()
            result = work(*given)
            self.own += time.thread_time() - began
            return result

        return run_it

    def embed(self, pixels: Tensor) -> Any:
        """As the image encoder."""
        return SimpleNamespace(image_embeds=torch.zeros(len(pixels), 1))

    def encode(self, _vae: object, video: Tensor, _plan: object) -> Tensor:
        """As the VAE's encoder."""
        self.wait(len(video), "encode")
        return torch.zeros(len(video), 4, video.shape[2] // 8, video.shape[3] // 8)

    def forward(self, *_given: object) -> Any:
        """As the UNet: each step takes its part."""

        def predict(known: Tensor, *_given: object) -> Tensor:
            self.wait(len(known), "denoise", 1 / STEPS)
            return torch.zeros_like(known[:, :4])

        return self.counted(predict)

    def decode(self, _decoder: object, latents: Tensor, *_given: object) -> Tensor:
        """As the VAE's decoder."""
        self.wait(len(latents), "decode")
        return self._decoded[: len(latents)].clone()

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside, pictures go through this instead of networks."""
        places = [
            (ImageEncoder, "forward", lambda _self, pixels: self.embed(pixels)),
            (conditioning, "encode_images", self.encode),
            (conditioning, "clip_pixels", lambda video: video[:, :, :1, :1]),
            (denoise, "WindowForward", self.forward),
            (decode, "decode_latents", self.decode),
            (pipeline, "encode", self.counted(pipeline.encode)),
            (pipeline, "decode_disparity", self.counted(pipeline.decode_disparity)),
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
