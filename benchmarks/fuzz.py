"""Damaged videos against our reader, and against whole runs.

    python benchmarks/fuzz.py                          # 2,400 mutations, 80 whole runs
    python benchmarks/fuzz.py --mutations 200 --runs 5
    python benchmarks/fuzz.py --only 1234 --keep DIR   # one of them again, its file kept

Small clips (MP4, MKV, WebM, MOV, AVI, TS, PNG and JPEG sequences) are made on the spot, and their
bytes flipped, cut, swapped, zeroed and their lengths forged. Each is read to its end as a run does
it, by a worker with limits on memory and time, so that a crash of the native decoder is seen.
Returns 1 after a crash, a hang, an error that is no sentence of ours, or an incomplete file under a
final name.
"""

import argparse
import json
import math
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from multiprocessing.connection import Connection
from pathlib import Path

from mutations import FORMATS, FRAMES, make_seed, mutated

TINY = Path(__file__).parents[1] / "tests" / "data" / "parity" / "tiny_model"
READ_SECONDS, RUN_SECONDS = 5, 30  # of processor time; ten times as much by the clock
READ_BYTES, RUN_BYTES = 3 << 30, 8 << 30
# A container that consistently says less than it did cannot be told from one that always did.
GOOD = ("decoded", "decoded, damage told", "another length decoded", "error told", "finished")

Try = Callable[[Path, random.Random], str]


def main() -> int:
    parser = argparse.ArgumentParser(description="Damaged videos.")
    parser.add_argument("--mutations", type=int, default=2400)
    parser.add_argument("--runs", type=int, default=80, help="how many also go through a whole run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int)
    parser.add_argument("--keep", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        seeds = Path(arguments.keep or folder, "seeds")
        seeds.mkdir(parents=True)
        for kind in FORMATS:
            make_seed(seeds, kind)
        chosen = range(arguments.mutations) if arguments.only is None else [arguments.only]
        whole = random.Random(arguments.seed).sample(chosen, min(arguments.runs, len(chosen)))
        bad = [f"{arguments.seed}/{index}" for index in work("read", chosen, seeds, arguments.seed)]
        bad += [f"run {index}" for index in work("run", sorted(whole), seeds, arguments.seed)]
    print(f"{len(bad)} bad: {', '.join(bad)}" if bad else "none crashed, hung or failed unclearly")
    return 1 if bad else 0


def work(job: str, indices: "range | list[int]", seeds: Path, seed: int) -> list[int]:
    """Give a worker one mutation after the other; another worker where one dies. The bad ones."""
    limit = READ_SECONDS if job == "read" else RUN_SECONDS
    context, counts, bad = multiprocessing.get_context("spawn"), Counter[str](), []
    slowest, worker, line = 0.0, None, None
    for index in indices:
        if worker is None:
            line, far = context.Pipe()
            worker = context.Process(target=serve, args=(job, seeds, seed, far), daemon=True)
            worker.start()
            far.close()
            line.recv()  # ready
        started = time.monotonic()
        line.send(index)
        outcome, detail = "hang", ""
        try:
            if line.poll(10 * limit):
                outcome, detail = line.recv()
        except EOFError:
            worker.join()
            if worker.exitcode != -signal.SIGXCPU:
                outcome, detail = "crash", f"exit code {worker.exitcode}"
        seconds = time.monotonic() - started
        slowest = max(slowest, seconds)
        counts[outcome] += 1
        if outcome in ("hang", "crash"):
            worker.kill()
            worker.join()
            worker = None
        if outcome not in GOOD:
            bad.append(index)
            print(f"{job} {index}: {outcome} {detail}", flush=True)
    if worker is not None:
        line.send(None)
        worker.join()
    told = ", ".join(f"{count} {outcome}" for outcome, count in counts.most_common())
    print(f"{job}: {counts.total()} mutations: {told}; slowest {slowest:.1f} s", flush=True)
    return bad


def serve(job: str, seeds: Path, seed: int, line: Connection) -> None:
    """In a worker: do what is asked until None is."""
    import resource

    bytes_allowed, seconds = (
        (READ_BYTES, READ_SECONDS) if job == "read" else (RUN_BYTES, RUN_SECONDS)
    )
    resource.setrlimit(resource.RLIMIT_AS, (bytes_allowed, bytes_allowed))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try_one = reading() if job == "read" else running()
    line.send("ready")
    while (index := line.recv()) is not None:
        until = math.ceil(time.process_time()) + seconds
        resource.setrlimit(resource.RLIMIT_CPU, (until, resource.RLIM_INFINITY))
        lot = random.Random(f"{seed}/{index}")
        kind = FORMATS[index % len(FORMATS)]
        with tempfile.TemporaryDirectory() as folder:
            source = seeds / kind if (seeds / kind).is_dir() else seeds / f"seed.{kind}"
            place = Path(folder, f"clip.{kind}" if source.is_file() else "clip")
            what = mutated(source, place, lot)
            try:
                line.send((try_one(place, lot), what))
            except Exception:
                line.send(("unclear error", f"{kind} {what}\n{traceback.format_exc()}"))
    line.close()


def reading() -> Try:
    """Read a file as a run would: look into it, then all frames at the model's size."""
    from depthcrafter_cli.errors import DepthCrafterError
    from depthcrafter_cli.media.reader import probe, read_frames
    from depthcrafter_cli.media.resize import model_size
    from depthcrafter_cli.media.selection import ReadOptions

    def read(place: Path, lot: random.Random) -> str:
        told: list[str] = []
        options = ReadOptions(fps=Fraction(5)) if lot.random() < 0.3 else ReadOptions()
        try:
            size = model_size(probe(place, options).size, 64)
            frames = sum(1 for _ in read_frames(place, size, options, told.append))
        except DepthCrafterError:
            return "error told"
        if told:
            return "decoded, damage told"
        return "decoded" if frames == FRAMES or options.fps else "another length decoded"

    return read


def running() -> Try:
    """A whole run with the tiny model; what has a final name afterwards must be complete."""
    import av
    import numpy as np

    import depthcrafter_cli.models.loading  # noqa: F401  the first run's seconds shall be its own
    from depthcrafter_cli import workflows
    from depthcrafter_cli.errors import DepthCrafterError
    from depthcrafter_cli.workflows.model import LoadedModel

    model = LoadedModel()
    settings = {"steps": 1, "window": 8, "overlap": 2}

    def run(place: Path, _lot: random.Random) -> str:
        video, arrays = (place.parent / name for name in ("depth.mp4", "depth.npz"))
        request = workflows.RunRequest(
            place, (video, arrays), weights=str(TINY), max_res=64, settings=settings
        )
        try:
            result = workflows.run(request, model=model)
            frames = result.frames if result else 0
        except DepthCrafterError:
            left = {path.name for path in place.parent.iterdir()} - {place.name, "depth.mp4.work"}
            return f"left {', '.join(sorted(left))}" if left else "error told"
        with np.load(arrays) as archive, av.open(str(video)) as made:
            depth, metadata = archive["depth"], json.loads(str(archive["metadata_json"]))
            shown = sum(1 for _ in made.decode(video=0))
        if not len(depth) == shown == metadata["frames"] == frames:
            return f"incomplete: {len(depth)}, {shown} of {frames} frames"
        return "finished"

    return run


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
