"""Kill real runs at random moments, resume them, and compare the results byte for byte.

    python benchmarks/kill_resume.py                 # nano, 40 kills; about 20 minutes of one core
    python benchmarks/kill_resume.py --rounds 4 --weights DIR
    python benchmarks/kill_resume.py --film --frames 100 --out depth.mp4 frames    # five shots

Each round starts ``depthcrafter run`` on several windows, waits for a stage drawn by lot and a
moment in it drawn by lot, sends SIGKILL, and resumes. Returns 1 if a resumed run's files differ
from those of a run that nothing disturbed, or if a half-written file got its final name.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import imageio_ffmpeg

EXAMPLE = next((Path(__file__).parents[1] / "examples").glob("*.mp4"))
STAGES = ("denoise", "write", "decode", "end", "start", "condition", "load", "read")
OUTPUTS = ("depth.mp4", "depth.npz", "frames")  # with the second a film is written at the end
OPTIONS = ("--window", "12", "--overlap", "4", "--steps", "2", "--max-res", "128")


def main() -> int:
    parser = argparse.ArgumentParser(description="Kill, resume, compare.")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--frames", type=int, default=45)
    parser.add_argument("--source", type=Path, default=EXAMPLE)
    parser.add_argument("--weights", default="nano")
    parser.add_argument("--film", action="store_true", help="cut the source into a film of shots")
    parser.add_argument("--out", nargs="+", default=OUTPUTS)
    parser.add_argument("--align", default="off", help="as run has it")
    arguments = parser.parse_args()
    lot, told, failures = random.Random(arguments.seed), Counter[str](), 0
    with tempfile.TemporaryDirectory() as folder:
        if arguments.film:
            arguments.source = _film(arguments.source, Path(folder, "film.mp4"), arguments.frames)
        undisturbed = Path(folder, "undisturbed")
        seconds = _timed_run(_command(arguments, undisturbed))
        expected = _contents(undisturbed, arguments.out)
        for index in range(arguments.rounds):
            place = Path(folder, f"round{index}")
            stage = STAGES[index % len(STAGES)]
            killed = _kill(_command(arguments, place), stage, lot, seconds)
            early = _published(place, arguments.out)
            subprocess.run(
                [*_command(arguments, place), "--resume"], check=True, stdout=subprocess.DEVNULL
            )
            same = _contents(place, arguments.out) == expected
            whole = all(expected[name] == data for name, data in early.items())
            failures += not (same and whole)
            told[stage] += killed
            print(
                f"{index + 1:3} {'killed' if killed else 'finished first'} in {stage:9} "
                f"{'identical' if same and whole else 'DIFFERENT'}",
                flush=True,
            )
    moments = ", ".join(f"{count} in {stage}" for stage, count in told.items())
    print(f"{told.total()} kills ({moments}), {failures} of {arguments.rounds} rounds differ")
    return 1 if failures else 0


def _film(source: Path, path: Path, frames: int) -> Path:
    """Five shots of the source: it itself, mirrored, upside down, in other colours, and again."""
    looks = ("null", "hflip", "vflip", "negate", "null")
    length = frames // len(looks)
    parts = [
        f"[0:v]trim=start_frame={index * length}:end_frame={(index + 1) * length},"
        f"setpts=PTS-STARTPTS,{look}[v{index}]"
        for index, look in enumerate(looks)
    ]
    joined = "".join(f"[v{index}]" for index in range(len(looks)))
    graph = ";".join([*parts, f"{joined}concat=n={len(looks)}"])
    ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
    command = [ffmpeg, "-v", "error", "-i", str(source), "-filter_complex", graph, str(path)]
    subprocess.run(command, check=True)
    return path


def _command(arguments: argparse.Namespace, place: Path) -> list[str]:
    place.mkdir(exist_ok=True)
    outputs = [part for name in arguments.out for part in ("--out", str(place / name))]
    return [
        sys.executable, "-m", "depthcrafter_cli", "run", str(arguments.source), *outputs, *OPTIONS,
        "--weights", str(arguments.weights), "--max-frames", str(arguments.frames), "--align",
        arguments.align, "--json",
    ]  # fmt: skip


def _timed_run(command: list[str]) -> float:
    """Seconds from the first to the last progress of a run that nothing disturbs."""
    started = time.monotonic()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    if done.returncode:
        raise SystemExit(f"exit code {done.returncode}: {events[-1:]}")
    plan = next(event for event in events if event["event"] == "plan")
    print(f"{plan['frames']} frames, {plan['shots']} shots, {plan['windows']} windows", flush=True)
    return time.monotonic() - started


def _kill(command: list[str], stage: str, lot: random.Random, seconds: float) -> bool:
    """Kill a run in a stage, after some of its events; False if it was over before."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    if stage == "start":
        time.sleep(lot.uniform(0, 0.3 * seconds))
    else:
        _wait_for(process.stdout, stage, lot)
        time.sleep(lot.uniform(0, 0.02))
    process.kill()
    process.stdout.close()
    return process.wait() < 0


def _wait_for(lines: Iterable[str], stage: str, lot: random.Random) -> None:
    """Read events up to one of a stage's; ``end`` is the last progress of all."""
    wanted = None
    for line in lines:
        event = json.loads(line)
        if event["event"] != "progress":
            continue
        done, total = event["done"], event["total"] or event["done"]
        if stage == "end" and event["stage"] == "write" and done == total:
            return
        if event["stage"] == stage:
            wanted = lot.randint(0, total - 1) if wanted is None else wanted
            if done >= wanted:
                return


def _published(place: Path, outs: Sequence[str]) -> dict[str, bytes]:
    """Files that have their final names."""
    files = [out for out in outs if Path(out).suffix]
    return {name: data for name, data in _contents(place, outs).items() if name in files}


def _contents(place: Path, outs: Sequence[str]) -> dict[str, bytes]:
    """All outputs, without the record (it holds timings) and the run's own folder."""
    return {
        str(file.relative_to(place)): file.read_bytes()
        for file in sorted(place.rglob("*"))
        if file.is_file() and file.relative_to(place).parts[0] in outs
    }


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
