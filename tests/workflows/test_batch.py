"""Many clips: found, named, checked, carried out, killed, resumed, reported."""

import csv
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from clips import make_audio, make_clip
from filelock import FileLock
from processes import ENVIRONMENT, assert_gone, workers_of

from depthcrafter_cli.types import Size
from depthcrafter_cli.workflows.batches.engine import LocalEngine
from depthcrafter_cli.workflows.batches.on_ray import RayEngine
from depthcrafter_cli.workflows.batches.queue import run_tasks
from depthcrafter_cli.workflows.batches.task import VideoTask
from depthcrafter_cli.workflows.request import RunRequest

BROKEN = {"empty", "cut", "deep/text", "deep/sound", "deep/header"}


@pytest.fixture(scope="module")
def shots(tmp_path_factory) -> Path:
    """25 clips of 5 frames, in three folders, and 5 that cannot be read."""
    root = tmp_path_factory.mktemp("shots")
    (root / "deep" / "er").mkdir(parents=True)
    first = make_clip(root / "clip00.mp4", frames=5, size=Size(64, 64))
    for index in range(1, 25):
        folder = (root, root / "deep", root / "deep" / "er")[index % 3]
        make_clip(folder / f"clip{index:02d}.mp4", frames=4 + index % 3, size=Size(64, 64))
    (root / "empty.mp4").touch()
    (root / "cut.mp4").write_bytes(first.read_bytes()[:40])
    (root / "deep" / "text.mp4").write_text("these are the notes of the shoot\n" * 20)
    make_audio(root / "deep" / "sound.mp4")
    (root / "deep" / "header.mkv").write_bytes(b"\x1a\x45\xdf\xa3" + bytes(200))
    (root / "deep" / "notes.txt").write_text("no clip")
    return root


@pytest.fixture
def options(tiny_folder) -> list[object]:
    """Two windows a clip, a fraction of a second each."""
    return [
        "--weights", tiny_folder, "--steps", 1, "--window", 4, "--overlap", 2, "--decode-chunk", 2
    ]  # fmt: skip


def files(folder: Path) -> dict[str, bytes]:
    """What a batch made: everything but the records, which hold times."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".json")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def killed_at(clips: int, arguments: list[object], *, worker_first: bool = False) -> list[dict]:
    """SIGKILL for a real batch when so many clips are done and another is under way.

    With ``worker_first`` one of its workers is killed in the middle of the first clip. Gives the
    events of clips that were to be tried again.
    """
    command = [sys.executable, "-m", "depthcrafter_cli", "batch", *arguments, "--json"]
    process = subprocess.Popen(
        [str(part) for part in command], stdout=subprocess.PIPE, text=True, env=ENVIRONMENT
    )
    assert process.stdout is not None
    retries = []
    for line in process.stdout:
        event = json.loads(line)
        under_way = event.get("stage") in ("decode", "denoise")
        if under_way and worker_first:
            os.kill(workers_of(process.pid)[0], signal.SIGKILL)
            worker_first = False
        retries += [event] if event["event"] == "retry" else []
        clips -= event["event"] == "video"
        if clips <= 0 and under_way:
            break
    workers = workers_of(process.pid)
    process.kill()
    process.communicate(timeout=600)
    assert process.returncode == -signal.SIGKILL
    assert_gone(workers)  # none goes on in the dark
    return retries


@pytest.mark.slow
def test_a_night_of_clips_some_broken_killed_twice_and_resumed(cli, shots, options, tmp_path):
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    formats = ["--format", "npz", "--format", "mp4"]
    report = tmp_path / "report.json"
    done = cli("batch", shots, "--out", whole, *formats, *options, "--report", report)
    assert done.code == 7, done.err
    told = {clip["name"]: clip for clip in json.loads(report.read_text())["videos"]}
    assert len(told) == 30
    assert {name for name, clip in told.items() if clip["status"] == "failed"} == BROKEN
    assert all(told[name]["exit_code"] == 3 and told[name]["error"] for name in BROKEN)
    assert "5 of 30 videos failed" in done.err and "Traceback" not in done.err
    made = files(whole)
    assert len(made) == 50
    for name in ("clip00", "deep/er/clip05"):
        alone = tmp_path / "alone.npz"
        assert cli("run", shots / f"{name}.mp4", "--out", alone, *options, "--overwrite").code == 0
        assert alone.read_bytes() == made[f"{name}.npz"]

    arguments = [shots, "--out", resumed, *formats, *options]
    retried = killed_at(5, [*arguments, "--devices", "cpu,cpu"], worker_first=True)
    assert ["died (exit code -9)" in event["message"] for event in retried] == [True]
    assert 10 <= len(list(resumed.rglob("*.npz"))) + len(list(resumed.rglob("*.mp4"))) < 50
    assert killed_at(4, [*arguments, "--resume"]) == []
    again = cli("batch", *arguments, "--resume", "--report", tmp_path / "report.csv")
    assert again.code == 7, again.err
    assert files(resumed) == made
    with (tmp_path / "report.csv").open(newline="") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    states = [row["status"] for row in rows.values()]
    assert states.count("failed") == 5 and states.count("skipped") >= 9
    assert states.count("done") + states.count("skipped") == 25


@pytest.fixture
def three(tmp_path, shots, tiny_folder) -> list[VideoTask]:
    """Three clips to be carried out."""
    settings = {"steps": 1, "window": 4, "overlap": 2, "decode_chunk": 2}
    return [
        VideoTask(
            name,
            RunRequest(
                shots / f"{name}.mp4",
                (tmp_path / f"{name}.npz",),
                weights=str(tiny_folder),
                settings=settings,
            ),
        )
        for name in ("clip00", "clip03", "clip06")
    ]


def carried_out(tasks, engine, kill=lambda worker: None, retried=lambda ended: None):
    """The last ends by name and those before; ``kill`` gets the first worker."""
    retries, killed = [], []

    def watch(task, worker, event):
        if event.stage == "denoise" and not killed:
            killed.append(worker)
            kill(worker)

    def failed(ended, again):
        if again:
            retries.append(ended)
            retried(ended)

    ends = run_tasks(tasks, engine, retries=1, on_progress=watch, failed=failed)
    return {end.task.name: end for end in ends}, retries


def test_what_replaces_outputs_has_its_previews_too(three):
    task = replace(three[0], request=replace(three[0].request, preview=True, overwrite=True))
    for _ in range(2):
        ends, _retries = carried_out([task], LocalEngine("cpu"))
        assert ends["clip00"].outcome.error == ""
        folder = task.request.outputs[0].parent
        previews = {path.name for path in folder.glob("clip00.npz.*")} - {"clip00.npz.json"}
        assert previews == {"clip00.npz.preview.gif", "clip00.npz.sheet.jpg"}
        for name in previews:
            (folder / name).unlink()


def check_all_right(tasks, ends):
    assert not any(end.outcome.error for end in ends.values()), ends
    for task in tasks:
        with np.load(task.request.outputs[0]) as made:
            assert made["depth"].shape[1:] == (64, 64) and np.isfinite(made["depth"]).all()


@pytest.mark.slow
def test_a_ray_worker_that_dies_does_not_take_the_batch_with_it(three, capfd):
    def kill(worker):
        os.kill(int(worker.rpartition("/")[2]), signal.SIGKILL)

    # Long clips, so that the one whose worker is killed cannot be over before.
    settings = {**three[0].request.settings, "steps": 10}
    three = [replace(task, request=replace(task.request, settings=settings)) for task in three]
    handler = signal.getsignal(signal.SIGTERM)
    ends, retries = carried_out(three, RayEngine("cpu,cpu", None), kill)
    check_all_right(three, ends)
    assert len(retries) == 1 and "died" in retries[0].outcome.error
    assert ends[retries[0].task.name].task.attempt == 2
    assert retries[0].worker not in {end.worker for end in ends.values()}
    assert signal.getsignal(signal.SIGTERM) is handler
    assert capfd.readouterr().out == ""  # where programs read our events


@pytest.mark.slow
def test_windows_that_memory_shortens_are_said_of_the_clip(cli, tiny_folder, tmp_path):
    make_clip(tmp_path / "long.mp4", frames=100, size=Size(64, 64))
    report = tmp_path / "report.json"
    command = ["batch", tmp_path / "long.mp4", "--out", tmp_path / "out", "--report", report,
               "--weights", tiny_folder, "--steps", 1, "--window", 100, "--overlap", 2]  # fmt: skip
    assert cli(*command, "--max-vram", 0.534).code == 0
    [clip] = json.loads(report.read_text())["videos"]
    assert any("changes the result" in warning for warning in clip["warnings"])


def test_what_may_pass_is_tried_again_after_the_others(three):
    lock = FileLock(three[0].request.outputs[0].parent / ".clip00.npz.lock")
    lock.acquire()
    ends, retries = carried_out(three, LocalEngine("cpu"), retried=lambda _: lock.release())
    check_all_right(three, ends)
    assert [(ended.task.name, ended.task.attempt) for ended in retries] == [("clip00", 1)]
    assert list(ends) == ["clip03", "clip06", "clip00"]


def test_damage_is_not_tried_again(three, shots, tmp_path):
    weights = three[0].request.weights
    request = RunRequest(shots / "cut.mp4", (tmp_path / "cut.npz",), weights=weights)
    ends, retries = carried_out([VideoTask("cut", request)], LocalEngine("cpu"))
    assert (ends["cut"].outcome.exit_code, retries) == (3, [])


@pytest.mark.slow
def test_an_interrupt_stops_all_workers_and_says_how_to_go_on(shots, options, tmp_path):
    arguments = [shots / "deep", "--out", tmp_path / "out", "--engine", "processes", *options]
    report = tmp_path / "report.json"
    command = [sys.executable, "-m", "depthcrafter_cli", "batch", *arguments, "--report", report]
    process = subprocess.Popen(
        [str(part) for part in [*command, "--steps", 30, "--json"]],
        stdout=subprocess.PIPE, text=True, env=ENVIRONMENT, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        event = json.loads(line)
        if event.get("stage") == "denoise" and event["done"]:  # there is something to keep
            break
    workers = workers_of(process.pid)
    assert len(workers) == 1
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    out = process.communicate(timeout=600)[0]
    assert process.returncode == 130
    last = json.loads(out.splitlines()[-1])
    assert "the same command with --resume" in last["message"]
    assert_gone(workers)
    statuses = [clip["status"] for clip in json.loads(report.read_text())["videos"]]
    assert {"to do", "stopped"} <= set(statuses) and statuses.count("failed") == 3
