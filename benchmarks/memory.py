"""Peak memory of a run against the length of its video: it must not grow.

    python benchmarks/memory.py [--frames 200 5000] [--side 64] [--steps 5] [--weights nano]

Makes one clip per length, runs ``depthcrafter run`` on each in a process of its own, and prints the
peak resident memory of each and the ratio of the largest to the smallest. Exit code 1 above 1.10.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

LIMIT = 1.10


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
    """The last event of a run: frames, seconds, peak memory."""
    command = [sys.executable, "-m", "depthcrafter_cli", "run", clip, "--out", out, "--json"]
    options = ["--weights", arguments.weights, "--steps", arguments.steps, "--no-record"]
    finished = subprocess.run(
        [str(part) for part in (*command, *options, "--max-res", arguments.side)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return json.loads(finished.stdout.splitlines()[-1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, nargs="+", default=[200, 5000])
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--weights", default="nano")
    arguments = parser.parse_args()
    peaks = []
    with tempfile.TemporaryDirectory() as folder:
        for frames in arguments.frames:
            clip = Path(folder) / f"{frames}.mp4"
            write_clip(clip, frames, arguments.side)
            done = run(clip, clip.with_suffix(".npz"), arguments)
            peaks.append(done["peak_memory_bytes"])
            rate = done["frames_per_second"]
            print(f"{frames:7} frames  peak {peaks[-1] / 1e6:8.1f} MB  {rate:6.2f} frames/s")
    ratio = max(peaks) / min(peaks)
    print(f"largest / smallest peak: {ratio:.3f} (limit {LIMIT})")
    return int(ratio > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
