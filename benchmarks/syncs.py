"""How much of a run is waiting for the disk, so that a power cut costs nothing.

    python benchmarks/syncs.py                                 # the whole example, nano
    python benchmarks/syncs.py --frames 24 --folder /mnt/disk  # its outputs and state there

Runs ``depthcrafter run`` on the example in this process and times each call that waits. Exit code 1
if they take more than a fiftieth of the run. A disk of memory (tmpfs) waits for nothing: choose a
folder on one that does.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

EXAMPLE = next((Path(__file__).parents[1] / "examples").glob("*.mp4"))
LIMIT = 0.02
waits: list[float] = []


def timed(wait: Callable[[int], None], descriptor: int) -> None:
    started = time.perf_counter()
    try:
        wait(descriptor)
    finally:
        waits.append(time.perf_counter() - started)


def main() -> int:
    parser = argparse.ArgumentParser(description="The share of syncing in a run.")
    parser.add_argument("--frames", type=int)
    parser.add_argument("--folder", type=Path, help="where outputs and state go")
    parser.add_argument("--weights", default="nano")
    arguments = parser.parse_args()

    from depthcrafter_cli import disk
    from depthcrafter_cli.cli import main as depthcrafter

    flush = disk._flush  # through which all that is synced goes
    disk._flush = lambda descriptor: timed(flush, descriptor)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        outputs = [part for name in ("d.mp4", "d.npz") for part in ("--out", f"{folder}/{name}")]
        limit = ["--max-frames", str(arguments.frames)] if arguments.frames else []
        sys.argv = ["depthcrafter", "run", str(EXAMPLE), *outputs, *limit]
        sys.argv += ["--weights", arguments.weights, "--quiet"]
        started = time.perf_counter()
        depthcrafter()
        seconds = time.perf_counter() - started
    share = sum(waits) / seconds
    print(
        f"syncing took {sum(waits):.3f} s of {seconds:.1f} s ({share:.2%}): {len(waits)} calls, "
        f"the longest {max(waits) * 1e3:.0f} ms"
    )
    return int(share > LIMIT)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
