"""Peak memory and open files of a run against the length of its video: they must not grow.

    python benchmarks/memory.py [--frames 1000 20000] [--side 64] [--steps 5]

Makes one clip per length, runs ``depthcrafter run`` on each in a process of its own, and prints the
peak resident memory and the most open files of each, and the ratios of the largest to the smallest.
Exit code 1 above 1.05.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

LIMIT, SAMPLED = 1.05, 50  # every so many events, open files are counted


def write_clip(path: Path, frames: int, side: int) -> None:
    """A drifting pattern: cheap to encode, never the same twice."""
    ramp = np.arange(side, dtype=np.uint16)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(25), options={"preset": "ultrafast"})
        stream.width = stream.height = side
        stream.pix_fmt = "yuv420p"
        for index in range(frames):
            plane = ((ramp[:, None] * 3 + ramp[None] * 2 + index) % 256).astype(np.uint8)
            picture = av.VideoFrame.from_ndarray(np.dstack([plane] * 3), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def run(clip: Path, out: Path, arguments: argparse.Namespace) -> dict[str, float]:
    """The last event of a run (frames, seconds, peak memory) and its most ``open_files``."""
    command = [sys.executable, "-m", "depthcrafter_cli", "run", clip, "--out", out, "--json"]
    options = ["--weights", arguments.weights, "--steps", arguments.steps, "--no-record"]
    options += ["--window", arguments.window, "--overlap", arguments.overlap]
    process = subprocess.Popen(
        [str(part) for part in (*command, *options, "--max-res", arguments.side)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    last, most = "{}", 0
    for index, line in enumerate(process.stdout):
        last = line
        if index % SAMPLED == 0:
            with suppress(OSError):  # it may have ended
                most = max(most, len(list(Path(f"/proc/{process.pid}/fd").iterdir())))
    if process.wait():
        raise SystemExit(last)
    return {**json.loads(last), "open_files": most}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, nargs="+", default=[1000, 20000])
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--window", type=int, default=12)
    parser.add_argument("--overlap", type=int, default=2)
    parser.add_argument("--weights", default="nano")
    arguments = parser.parse_args()
    peaks, files = [], []
    with tempfile.TemporaryDirectory() as folder:
        for frames in arguments.frames:
            clip = Path(folder) / f"{frames}.mp4"
            write_clip(clip, frames, arguments.side)
            done = run(clip, clip.with_suffix(".npz"), arguments)
            peaks.append(done["peak_memory_bytes"])
            files.append(done["open_files"])
            rate = done["frames_per_second"]
            print(
                f"{frames:7} frames  peak {peaks[-1] / 1e6:8.1f} MB  {files[-1]:3} open files  "
                f"{rate:6.2f} frames/s",
                flush=True,
            )
    ratio = max(peaks) / min(peaks)
    print(f"largest / smallest peak: {ratio:.3f}, open files {max(files)}/{min(files)}")
    return int(ratio > LIMIT or max(files) > LIMIT * min(files))


if __name__ == "__main__":
    sys.exit(main())
