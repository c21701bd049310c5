"""Damage every file that the program reads back, one at a time, go on, and judge the result.

    python benchmarks/corrupt.py                   # about a thousand damages
    python benchmarks/corrupt.py --flips 2         # fewer flipped bits a file
    python benchmarks/corrupt.py --every 20        # each 20th damage
    python benchmarks/corrupt.py --only state weights

Right is either the bytes of a run on undamaged files or a refusal: one sentence and a documented
exit code. Wrong is another result (silently wrong), exit code 1, a traceback, or no end. Exit code
1 if anything was wrong.
"""

import argparse
import os
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import injection
import numpy as np
from injection import CLIP, ROOT, SMALL, TINY

Damage = Callable[[Path], object]


@dataclass(frozen=True)
class Case:
    """Files that a command reads back, below a prepared folder.

    ``settle`` removes what may differ between two right results before they are compared.
    """

    name: str
    prepare: Callable[[Path], None]
    command: Callable[[Path], list[object]]
    files: Callable[[Path], list[Path]]
    settle: Callable[[Path], None] = lambda place: None
    cost: int = 1
    """How many times as long as a run it takes: so many times fewer bits are flipped."""


def main() -> int:
    parser = argparse.ArgumentParser(description="Damage what the program reads back.")
    parser.add_argument("--only", nargs="+", metavar="CASE", help="state, kept, record ...")
    parser.add_argument("--flips", type=int, default=24, help="flipped bits a file")
    parser.add_argument("--every", type=int, default=1, help="try each N-th damage")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    injection.import_everything()
    outcomes: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            if arguments.only and case.name not in arguments.only:
                continue
            lot = random.Random(arguments.seed)
            told: Counter[str] = Counter()
            tried = _damaged(case, Path(folder).resolve(), lot, arguments.flips, arguments.every)
            for damage, outcome in tried:
                told[outcome.split(":")[0]] += 1
                if outcome not in ("same", "refused"):
                    print(f"    {case.name}: {damage}: {outcome}", flush=True)
            print(f"{case.name:9} {told.total():5} damages: {dict(told)}", flush=True)
            outcomes += told
    wrong = outcomes.total() - outcomes["same"] - outcomes["refused"]
    print(f"{outcomes.total()} damages: {dict(outcomes)}; {wrong} wrong")
    return 1 if wrong or not outcomes else 0


def _damaged(
    case: Case, folder: Path, lot: random.Random, flips: int, every: int
) -> Iterator[tuple[str, str]]:
    place, template, log = folder / "p", folder / "t", folder / "log"
    injection.lay(None, place)
    case.prepare(place)
    shutil.rmtree(template, ignore_errors=True)
    shutil.copytree(place, template)
    done = injection.run(case.command(place), log)
    assert done.code == 0, done.text
    case.settle(place)
    expected = injection.contents(place)
    damages = [
        (file.relative_to(template), damage, act)
        for file in case.files(template)
        for damage, act in _damages(file, lot, max(flips // case.cost, 1))
    ]
    for name, damage, act in damages[::every]:
        injection.lay(template, place)
        act(place / name)
        ended = injection.run(case.command(place), log)
        yield f"{name} {damage}", _outcome(case, ended, place, expected, name)


def _outcome(
    case: Case, ended: injection.Ended, place: Path, expected: dict[str, bytes], damaged: Path
) -> str:
    if ended.code != 0:
        return f"{ended.refusal}: {ended.text[-400:]!r}" if ended.refusal else "refused"
    case.settle(place)
    found = injection.contents(place)
    # What was damaged and is not an output may stay as it is.
    if str(damaged) in expected and damaged.suffix not in (".mp4", ".npz"):
        found[str(damaged)] = expected[str(damaged)]
    if what := injection.difference(found, expected):
        return f"silently wrong: {what}: {ended.text[-300:]!r}"
    return "same"


def _damages(file: Path, lot: random.Random, flips: int) -> Iterator[tuple[str, Damage]]:
    content = file.read_bytes()
    size = len(content)
    for length in sorted({0, 1, 8, size // 2, size - 1} - {size}):
        yield f"cut to {length} of {size} bytes", _rewritten(content[:length])
    yield "100 zeros appended", _rewritten(content + bytes(100))
    yield "zeros", _rewritten(bytes(size))
    yield "a folder in its place", _replaced_by_folder
    if file.suffix in (".json", ".jsonl", ".toml", ".csv"):
        for title, text in _TEXTS.items():
            yield title, _rewritten(text)
    for number in range(flips):
        # Headers are where a damage can do most: half of the flips hit the first bytes.
        at, bit = lot.randrange(min(size, 200) if number % 2 else size), lot.randrange(8)
        yield f"bit {bit} of byte {at}", _flipped(at, bit)


_TEXTS = {
    "list": b"[]",
    "null": b"null",
    "number": b"1e999",
    "empty object": b"{}",
    "deep": b"[" * 100_000,
    "huge number": b'{"format": ' + b"9" * 5000 + b"}",
    "not UTF-8": b'\xff\xfe{"format": 1}',
}


def _rewritten(content: bytes) -> Damage:
    return lambda path: _write(path, content)


def _flipped(at: int, bit: int) -> Damage:
    def act(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[at] ^= 1 << bit
        _write(path, bytes(content))

    return act


def _write(path: Path, content: bytes) -> None:
    """Change a file as a failing disk does: its times stay what they were."""
    times = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def _replaced_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _half_run(place: Path) -> None:
    injection.killed_run(_run(place), place, 0.5)
    assert (place / "d.npz.work" / "disparity.spool").stat().st_size > 0
    assert (place / "d.npz.work" / "window.safetensors").stat().st_size > 0


def _run(place: Path) -> list[object]:
    outputs = ["--out", place / "d.npz", "--out", place / "d.mp4"]
    return ["run", CLIP, *outputs, *SMALL, "--quiet"]


def _done(*arguments: str) -> Callable[[Path], None]:
    def prepare(place: Path) -> None:
        done = injection.run([*_run(place), *arguments], place.with_name("log"))
        assert done.code == 0, done.text

    return prepare


def _state_files(place: Path) -> list[Path]:
    return sorted(file for file in (place / "d.npz.work").iterdir() if file.stat().st_size)


def _remove_work(place: Path) -> None:
    shutil.rmtree(place / "d.npz.work")


def _finished_batch(place: Path) -> None:
    injection.two_clips(place)
    done = injection.run(injection.batch(place), place.with_name("log"))
    assert done.code == 0, done.text


def _installed_weights(place: Path) -> None:
    """A model folder with a manifest, as a pull leaves it."""
    from depthcrafter_cli.models.manifest import write_manifest

    shutil.copytree(TINY, place / "model", copy_function=shutil.copy)
    write_manifest(place / "model", "tiny")


def _depth_alone(place: Path) -> None:
    """Of an NPZ, drop what it says of its weights: the hashes of files that the depth needs not."""
    shutil.rmtree(place / "model")
    with np.load(place / "d.npz") as arrays:
        depth = {name: arrays[name] for name in arrays.files if name != "metadata_json"}
    np.savez(place / "d.npz", **depth)


def _run_with_weights(place: Path) -> list[object]:
    return [place / "model" if part == str(TINY) else part for part in _run(place)]


def _trained(place: Path) -> None:
    """A training run that was killed late, with checkpoints and cached latents."""
    recipe = injection.recipe(place).replace('"streamed"', '"cached"')
    (place / "recipe.toml").write_text(recipe)
    injection.killed_run(injection.train(place), place, 0.7)


CASES = (
    Case("state", _half_run, lambda place: ["resume", place / "d.npz.work"], _state_files),
    Case(
        "kept",
        _done("--keep-work"),
        lambda place: ["finish", place / "d.npz.work", "--out", place / "f.npz", "--quiet"],
        _state_files,
        _remove_work,
    ),
    Case(
        "record",
        _done(),
        lambda place: [*_run(place), "--resume"],
        lambda place: [place / "d.npz.json"],
    ),
    Case(
        "batch",
        _finished_batch,
        lambda place: [*injection.batch(place), "--resume"],
        lambda place: sorted((place / "out").rglob("*.json")) + sorted(place.rglob("*.csv")),
        cost=2,
    ),
    Case(
        "weights",
        _installed_weights,
        _run_with_weights,
        lambda place: sorted(file for file in (place / "model").rglob("*") if file.is_file()),
        _depth_alone,
    ),
    Case(
        "training",
        _trained,
        injection.train,
        lambda place: sorted(file for file in (place / "training").rglob("*") if file.is_file()),
        cost=6,
    ),
)


if __name__ == "__main__":
    sys.path.append(str(ROOT / "tests"))
    sys.exit(injection.with_faults(main))
