"""Inject faults into every disk operation of the program, go on, and judge what is there then.

    python benchmarks/faults.py                        # everything; about an hour of one core
    python benchmarks/faults.py --only run pull        # some scenarios
    python benchmarks/faults.py --every 40             # each 40th operation
    python benchmarks/faults.py --only pull --dense    # every fault at every operation

Linux and a C compiler are needed: a preloaded library (disk_faults.c) strikes at the N-th
operation. Faults are SIGKILL before the operation, a torn write with SIGKILL, and six errors, for
once or from then on. After each, the same command is run again without a fault, as the program
advises. Right is: no half-written file under a final name; where the program lived, one sentence
and a documented exit code; in the end the bytes of a run that nothing disturbed, and not one file
more. Exit code 1 if anything was wrong.
"""

import argparse
import errno
import os
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import injection
from injection import (
    CLIP,
    FAIL,
    KILL,
    OPEN_TO_READ,
    OPEN_TO_WRITE,
    READ,
    ROOT,
    SETTLE,
    SMALL,
    TEAR,
    WRITE,
    Disk,
    Ended,
    Fault,
)

FAULTS = (
    Fault("killed", KILL),
    Fault("torn write", TEAR, kinds=WRITE),
    Fault("EIO", FAIL, errno.EIO),
    Fault("ENOSPC on", FAIL, errno.ENOSPC, WRITE | OPEN_TO_WRITE | SETTLE, for_good=True),
    Fault("EDQUOT", FAIL, errno.EDQUOT),
    Fault("EACCES", FAIL, errno.EACCES),
    Fault("EROFS on", FAIL, errno.EROFS, for_good=True),
    Fault("EIO reading", FAIL, errno.EIO, READ | OPEN_TO_READ),
    Fault("EMFILE", FAIL, errno.EMFILE, OPEN_TO_WRITE | OPEN_TO_READ),
)


@dataclass(frozen=True)
class Scenario:
    """A command at a place, from a prepared folder, and the command that goes on after a fault."""

    name: str
    command: Callable[[Path], list[object]]
    again: Callable[[Path], list[object]]
    prepare: Callable[[Path], None] = lambda place: None
    cost: int = 1
    """How many times as long as a run it takes: so many times fewer faults are tried."""


def main() -> int:
    parser = argparse.ArgumentParser(description="Faults in every disk operation.")
    parser.add_argument("--only", nargs="+", metavar="SCENARIO", help="run, resume, finish ...")
    parser.add_argument("--every", type=int, default=1, help="try each N-th operation")
    parser.add_argument(
        "--dense", action="store_true", help="errors where kills strike, not at each third of them"
    )
    parser.add_argument("--verbose", action="store_true", help="print every case that was wrong")
    arguments = parser.parse_args()
    wrong: Counter[str] = Counter()
    tried: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder, _hub():
        injection.import_everything()
        # The folder's own name must not change between cases: states hold absolute paths.
        bench = Bench(Path(folder).resolve(), Disk())
        scenarios = [one for one in SCENARIOS if not arguments.only or one.name in arguments.only]
        for scenario in scenarios:
            for fault, fault_tried, faults_wrong in bench.sweep(
                scenario, arguments.every, arguments.dense
            ):
                tried[scenario.name] += fault_tried
                wrong[scenario.name] += len(faults_wrong)
                print(
                    f"{scenario.name:12} {fault.name:12} {fault_tried:5} injected "
                    f"{fault_tried - len(faults_wrong):5} right {len(faults_wrong):5} wrong",
                    flush=True,
                )
                for line in faults_wrong if arguments.verbose else faults_wrong[:3]:
                    print(f"    {line}", flush=True)
    print(f"{tried.total()} faults injected, {wrong.total()} wrong")
    return 1 if wrong.total() or not tried.total() else 0


class Bench:
    """Runs scenarios below one folder."""

    def __init__(self, folder: Path, disk: Disk) -> None:
        self._place, self._template, self._log = folder / "p", folder / "t", folder / "log"
        self._disk = disk

    def sweep(
        self, scenario: Scenario, every: int, dense: bool = False
    ) -> Iterator[tuple[Fault, int, list[str]]]:
        """Try each fault at each ``every``-th operation: yields it, its count, what is wrong."""
        injection.lay(None, self._place)
        scenario.prepare(self._place)
        shutil.rmtree(self._template, ignore_errors=True)
        shutil.copytree(self._place, self._template)
        expected, totals = None, {}
        for kinds in {fault.kinds for fault in FAULTS}:
            done = self._struck(scenario, Fault("none", 0, kinds=kinds), 0)
            assert done.code == 0, done.text
            expected, totals[kinds] = injection.contents(self._place), self._disk.operations
        step = every * scenario.cost
        for number, fault in enumerate(FAULTS):
            # Faults other than kills need not strike everywhere. Each begins elsewhere, and so that
            # a few of them reach the beginning, the middle and the end.
            stride = step if dense or fault.action == KILL else 3 * step
            first = 1 + number * min(stride, totals[fault.kinds]) // len(FAULTS)
            moments = range(first, totals[fault.kinds] + 1, stride)
            wrong = [
                f"at {moment} of {totals[fault.kinds]}: {what}"
                for moment in moments
                if (what := self._judge(scenario, fault, moment, expected))
            ]
            yield fault, len(moments), wrong

    def _struck(self, scenario: Scenario, fault: Fault, moment: int) -> Ended:
        injection.lay(self._template, self._place)
        arm = self._disk.strike(fault, moment, self._place)
        return injection.run(scenario.command(self._place), self._log, arm)

    def _judge(
        self, scenario: Scenario, fault: Fault, moment: int, expected: dict[str, bytes]
    ) -> str | None:
        struck = self._struck(scenario, fault, moment)
        killed = fault.action in (KILL, TEAR) and struck.code == -9
        if not killed and struck.code != 0 and struck.refusal:
            return f"{struck.refusal}: {struck.text[-600:]!r}"
        early = injection.contents(self._place)
        before = injection.contents(self._template)
        if half := [
            name
            for name, data in early.items()
            if name in expected and data not in (expected[name], before.get(name))
        ]:
            return f"half-written under its final name: {', '.join(half)}"
        # What a whole run could not remove (a lock, its state) goes with the next one.
        more = early.keys() - expected.keys()
        if struck.code != 0 or more:
            went_on = injection.run(scenario.again(self._place), self._log)
            if went_on.code != 0:
                why, first = went_on.text[-600:], struck.text[-300:]
                return f"cannot go on ({went_on.code}): {why!r} after {first!r}"
        return injection.difference(injection.contents(self._place), expected)


def _outputs(place: Path) -> list[object]:
    return ["--out", place / "d.mp4", "--out", place / "d.npz", "--out", place / "png", "--quiet"]


def _run(place: Path) -> list[object]:
    return ["run", CLIP, *_outputs(place), *SMALL]


def _other_formats(place: Path) -> list[object]:
    names = ("d.npy", "d.mkv", "tif/d_%05d.tif", "exr/d_%05d.exr")
    outputs = [part for name in names for part in ("--out", place / name)]
    return ["run", CLIP, *outputs, "--quiet", *SMALL]


def _kept_run(place: Path) -> None:
    done = injection.run([*_run(place), "--keep-work"], place.with_name("log"))
    assert done.code == 0, done.text


def _older_results(place: Path) -> None:
    done = injection.run([*_run(place), "--seed", "7"], place.with_name("log"))
    assert done.code == 0, done.text


def _finish(place: Path) -> list[object]:
    return [
        "finish",
        place / "d.mp4.work",
        "--out",
        place / "f.mp4",
        "--out",
        place / "f.npz",
        "--quiet",
    ]


def _pull(place: Path) -> list[object]:
    os.environ["DEPTHCRAFTER_WEIGHTS"] = str(place / "weights")
    return ["weights", "pull", "tiny"]


def _recipe(place: Path) -> None:
    (place / "recipe.toml").write_text(injection.recipe(place))


SCENARIOS = (
    Scenario("run", _run, lambda place: [*_run(place), "--resume"]),
    Scenario("formats", _other_formats, lambda place: [*_other_formats(place), "--resume"], cost=4),
    Scenario(
        "resume",
        lambda place: [*_run(place), "--resume"],
        lambda place: [*_run(place), "--resume"],
        lambda place: injection.killed_run(_run(place), place, 0.5),
    ),
    Scenario(
        "overwrite",
        lambda place: [*_run(place), "--overwrite"],
        lambda place: [*_run(place), "--overwrite", "--resume"],
        _older_results,
        cost=3,
    ),
    Scenario("finish", _finish, lambda place: [*_finish(place), "--overwrite"], _kept_run),
    Scenario(
        "batch",
        injection.batch,
        lambda place: [*injection.batch(place), "--resume"],
        injection.two_clips,
        cost=4,
    ),
    Scenario("pull", _pull, _pull),
    Scenario("train", injection.train, injection.train, _recipe, cost=30),
)


@contextmanager
def _hub() -> Iterator[None]:
    """Serve a model of random bytes on this machine, which ``weights pull tiny`` gets.

    To be entered first: huggingface_hub reads its address when it is imported.
    """
    from fake_hub import REVISION, FakeHub, serve

    from depthcrafter_cli.models.registry import MODELS, NANO, HubFile

    lot = random.Random(1)
    files = {f"part{n}.safetensors": lot.randbytes(200_000) for n in range(2)}
    files |= {"config.json": b'{"a": 1}\n', "other/config.json": b'{"b": 2}\n'}
    sources = tuple(HubFile("lab/tiny", REVISION, name, name) for name in files)
    MODELS["tiny"] = replace(NANO, name="tiny", sources=sources)
    with serve(FakeHub({"lab/tiny": files})) as hub:
        os.environ["HF_ENDPOINT"] = hub.address
        yield


if __name__ == "__main__":
    sys.path.append(str(ROOT / "tests"))
    sys.exit(injection.with_faults(main))
