"""Memory and disk of a film, short and long: neither should grow with its length.

    python benchmarks/films.py                       # 1,000 and 20,000 frames; about ten minutes

Each film has 40 shots, alternately short and long, and is run with a trivial method into a video
and images. Prints the peak of the process's memory, and of the raw disparity in the run's state
against what the longest shot has of it.
"""

import argparse
import json
import sys
import tempfile
import threading
import time
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import psutil

SHOTS, WIDTH, HEIGHT = 40, 96, 64
_PAUSE = 0.005  # seconds between two looks at the disk


def main() -> None:
    parser = argparse.ArgumentParser(description="Memory and disk, by the length of a film.")
    parser.add_argument("--frames", type=int, nargs="+", default=[1_000, 20_000])
    parser.add_argument("--out", nargs="+", default=["depth.mp4", "frames"], help="as run has it")
    arguments = parser.parse_args()
    peaks = []
    for frames in arguments.frames:
        with tempfile.TemporaryDirectory() as folder:
            peaks.append(measured(frames, arguments.out, Path(folder)))
    for one, other in pairwise(peaks):
        print(f"memory {100 * (other / one - 1):+.1f} %")


def measured(frames: int, outs: list[str], folder: Path) -> int:
    """Run a film of so many frames, print what it took, and return the peak of memory in bytes."""
    film = make_film(folder / "film.mp4", frames)
    outputs = [part for out in outs for part in ("--out", str(folder / out))]
    command = [
        sys.executable, "-m", "depthcrafter_cli", "run", str(film), *outputs, "--method",
        "trivial-gradient", "--size", "model", "--quiet",
    ]  # fmt: skip
    started = time.monotonic()
    process = psutil.Popen(command)
    watch = _Watch(process, folder)
    watch.start()
    code = process.wait()
    watch.join()
    if code:
        raise SystemExit(f"the run ended with {code}")
    shots = 1 + len(json.loads((folder / f"{outs[0]}.json").read_text())["cuts"])
    print(
        f"{frames} frames in {shots} shots: memory {watch.memory / 1e6:.0f} MB, disparity on the "
        f"disk at most {watch.disk / 1e3:.0f} kB, {watch.disk / watch.shot:.2f} times that of the "
        f"longest shot, {time.monotonic() - started:.0f} s",
        flush=True,
    )
    return watch.memory


class _Watch(threading.Thread):
    """Looks at a process's memory and at the spools below a folder until the process ends."""

    def __init__(self, process: psutil.Popen, folder: Path) -> None:
        super().__init__()
        self._process, self._folder = process, folder
        self.memory = self.disk = self.shot = 0

    def run(self) -> None:
        while self._process.is_running() and self._process.status() != psutil.STATUS_ZOMBIE:
            sizes = []
            for spool in self._folder.glob("*.work/shots/*/disparity.spool"):
                try:
                    sizes.append(spool.stat().st_size)
                except FileNotFoundError:  # released at this moment
                    continue
            self.disk = max(self.disk, sum(sizes))
            self.shot = max([self.shot, *sizes])
            try:
                self.memory = max(self.memory, self._process.memory_info().rss)
            except psutil.Error:
                return
            time.sleep(_PAUSE)


def make_film(path: Path, frames: int) -> Path:
    """A film of shots of one colour and texture each, which moves."""
    lengths = [
        frames // SHOTS + (frames // (2 * SHOTS)) * (1 if n % 2 else -1) for n in range(SHOTS)
    ]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for seed, length in enumerate(lengths):
            rng = np.random.default_rng(seed)
            wide = np.kron(rng.uniform(0, 255, (8, 32, 3)), np.ones((8, 8, 1))).astype(np.uint8)
            for at in range(length):
                shown = np.roll(wide, at % 256, 1)[:HEIGHT, :WIDTH]
                picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(shown), format="rgb24")
                container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


if __name__ == "__main__":
    main()
