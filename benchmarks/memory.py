"""Memory, open files and time per frame of a run against the length of its video: all stay.

With ``--clips``, memory, open files and what is left over of a batch of as many clips.

    python benchmarks/memory.py                            # nano, 1,000 and 20,000 frames of 64x64
    python benchmarks/memory.py --frames 200 2000 --weights tests/data/parity/tiny_model --steps 1
    python benchmarks/memory.py --clips 200 --frames 8     # a batch

Makes one clip per length, runs ``depthcrafter run`` on each in a process of its own, and prints the
peak resident memory, the most open files and the processor time per frame of each (the time by the
clock says more of what else the machine does), of its first and of its last tenth of decoding as
well, and how much the last needs of what the first does. Exit code 1 where memory or files grow by
more than a twentieth.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import psutil

LIMIT, SAMPLED = 1.05, 3  # every so many events, open files are counted: some are open briefly


def write_clip(path: Path, frames: int, height: int, width: int) -> None:
    """A drifting pattern: cheap to encode, never the same twice."""
    down, across = (np.arange(side, dtype=np.uint16) for side in (height, width))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(25), options={"preset": "ultrafast"})
        stream.width, stream.height = width, height
        stream.pix_fmt = "yuv420p"
        for index in range(frames):
            plane = ((down[:, None] * 3 + across[None] * 2 + index) % 256).astype(np.uint8)
            picture = av.VideoFrame.from_ndarray(np.dstack([plane] * 3), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def run(clip: Path, out: Path, arguments: argparse.Namespace) -> dict[str, float]:
    """The last event of a run (frames, peak memory), ``open_files`` and ``cpu_seconds`` of work."""
    command = [sys.executable, "-m", "depthcrafter_cli", "run", clip, "--out", out, "--json"]
    options = ["--weights", arguments.weights, "--steps", arguments.steps, "--no-record"]
    options += ["--window", arguments.window, "--overlap", arguments.overlap]
    process = subprocess.Popen(
        [str(part) for part in (*command, *options, "--max-res", arguments.side)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    last, most, loading = "{}", 0, 0.0
    decoded: list[tuple[int, float]] = []  # how many frames at which processor time
    for index, line in enumerate(process.stdout):
        last = line
        if '"stage": "decode"' in line:
            decoded.append((json.loads(line)["done"], cpu_seconds(process.pid)))
        if not loading and '"condition"' in line:
            loading = cpu_seconds(process.pid)
        if index % SAMPLED == 0:
            with suppress(OSError):  # it may have ended
                most = max(most, len(list(Path(f"/proc/{process.pid}/fd").iterdir())))
    _pid, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(last)
    working = usage.ru_utime + usage.ru_stime - loading
    first, end = _tenths(decoded)
    told = {"open_files": most, "cpu_seconds": working, "first_tenth": first, "last_tenth": end}
    return {**json.loads(last), **told}


def _tenths(decoded: list[tuple[int, float]]) -> tuple[float, float]:
    """Processor time a frame in the first and in the last tenth of what was decoded.

    All that is done for a frame lies between two of these events, but for the writing.
    """
    whole = decoded[-1][0]
    head = [one for one in decoded if one[0] <= whole / 10]
    tail = [one for one in decoded if one[0] >= whole * 9 / 10]
    first, last = ((part[-1][1] - part[0][1], part[-1][0] - part[0][0]) for part in (head, tail))
    return first[0] / max(first[1], 1), last[0] / max(last[1], 1)


def run_batch(folder: Path, arguments: argparse.Namespace) -> bool:
    """Print what a batch of small clips needs after each tenth of it, and whether that stays."""
    (folder / "in").mkdir()
    write_clip(folder / "in" / "clip0.mp4", arguments.frames[0], arguments.side, arguments.side)
    for number in range(1, arguments.clips):
        shutil.copy(folder / "in" / "clip0.mp4", folder / "in" / f"clip{number}.mp4")
    command = [sys.executable, "-m", "depthcrafter_cli", "batch", folder / "in", "--json"]
    options = ["--out", folder / "out", "--format", "npz", "--devices", "cpu", "--engine", "local"]
    options += ["--weights", arguments.weights, "--steps", arguments.steps]
    options += ["--window", arguments.window, "--overlap", arguments.overlap]
    process = psutil.Popen(
        [str(part) for part in (*command, *options, "--max-res", arguments.side)],
        stdout=subprocess.PIPE,
        text=True,
    )
    after = []
    for line in process.stdout:
        if json.loads(line).get("event") == "video":
            after.append((process.memory_info().rss, process.num_fds()))
            if len(after) % max(arguments.clips // 10, 1) == 0:
                memory, files = after[-1]
                told = f"{len(after):7} clips  {memory / 1e6:8.1f} MB  {files:3} open files"
                print(told, flush=True)
    if process.wait() or len(after) != arguments.clips:
        raise SystemExit(f"{len(after)} of {arguments.clips} clips, exit code {process.returncode}")
    results = {".npz", ".json", ".csv"}
    left = [file for file in (folder / "out").rglob("*") if file.suffix not in results]
    print(f"{len(left)} files left over")
    # The first clips fill caches that later ones find full.
    (memory, files), (last_memory, last_files) = after[arguments.clips // 10], after[-1]
    return last_memory <= LIMIT * memory and last_files <= files and not left


def cpu_seconds(pid: int) -> float:
    """The processor time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, nargs="+", default=[1000, 20000])
    parser.add_argument("--clips", type=int, help="a batch of so many, of the first length")
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--window", type=int, default=12)
    parser.add_argument("--overlap", type=int, default=2)
    parser.add_argument("--weights", default="nano")
    arguments = parser.parse_args()
    made = []
    with tempfile.TemporaryDirectory() as folder:
        if arguments.clips:
            return int(not run_batch(Path(folder), arguments))
        for frames in arguments.frames:
            clip = Path(folder) / f"{frames}.mp4"
            write_clip(clip, frames, arguments.side, arguments.side)
            done = run(clip, clip.with_suffix(".npz"), arguments)
            made.append(
                (done["peak_memory_bytes"], done["open_files"], done["cpu_seconds"] / frames)
            )
            peak, files, cost = made[-1]
            print(
                f"{frames:7} frames  peak {peak / 1e6:8.1f} MB  {files:3} open files  "
                f"{cost * 1e3:7.2f} ms of processor a frame, {done['first_tenth'] * 1e3:.2f} in "
                f"the first tenth of decoding, {done['last_tenth'] * 1e3:.2f} in the last",
                flush=True,
            )
    peak, files, cost = (last / first for first, last in zip(made[0], made[-1], strict=True))
    print(f"last / first: memory {peak:.3f}, open files {files:.3f}, time per frame {cost:.3f}")
    return int(peak > LIMIT or files > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
