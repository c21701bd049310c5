"""What a run keeps on the disk to go on from: true or refused, and never anyone else's."""

import json
import os
import random
import shutil
import signal
import stat
import struct
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from clips import make_clip
from conftest import PARITY
from processes import KILLED, in_child, kill_this_process

from depthcrafter_cli.errors import OutputError
from depthcrafter_cli.types import Size
from depthcrafter_cli.workflows.batches.report import ReportFile, TaskReport
from depthcrafter_cli.workflows.state import RunState

FILES = ("job.json", "window.safetensors", "disparity.spool")
FRAMES = 3  # in the spool of a run that is killed once it has decoded some
OUTPUTS = ("d.npz", "d.mp4", "frames", "old/depth_%05d.png")


def killed_at(name, *, after):
    """From here on this process ends before, or ``after``, a rename to ``name``."""
    real = os.replace

    def replace(source, target):
        if Path(target).name == name and not after:
            kill_this_process()
        real(source, target)
        if Path(target).name == name:
            kill_this_process()

    os.replace = replace


def killed(command, *, at, after=False):
    """Run a command in a child that is killed before, or ``after``, a rename to a name."""
    assert in_child(command, partial(killed_at, at, after=after)) == KILLED


def contents(place):
    """All files below a folder; records, which hold times, by name only."""
    return {
        str(file.relative_to(place)): b"" if file.suffix == ".json" else file.read_bytes()
        for file in sorted(place.rglob("*"))
        if file.is_file()
    }


def lay(saved, place):
    """Make ``place`` what was saved."""
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(saved, place)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A clip of eight frames, and the options of two windows a run."""
    clip = make_clip(tmp_path_factory.mktemp("source") / "clip.mp4", frames=8, size=Size(64, 64))
    return clip, [
        "--weights", PARITY / "tiny_model", "--device", "cpu", "--steps", 1, "--window", 5,
        "--overlap", 2, "--decode-chunk", 3,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def computed(source, tmp_path_factory):
    """A run of outputs of every kind, killed before the first has its name; what it makes."""
    clip, options = source
    folder = tmp_path_factory.mktemp("computed")
    place, saved = folder / "place", folder / "saved"
    (place / "old").mkdir(parents=True)
    outputs = [part for name in OUTPUTS for part in ("--out", place / name)]
    command = ["run", clip, *outputs, *options]
    killed(command, at="depth_00000.png")
    shutil.copytree(place, saved)
    assert in_child(["resume", place / "d.npz.work"]) == 0
    return place, saved, command, contents(place)


@pytest.fixture
def several(computed):
    """That run as it was killed, to go on with."""
    place, saved, command, undisturbed = computed
    lay(saved, place)
    return place, command, undisturbed


MOMENTS = [
    ("d.npz", False), ("d.npz", True), ("d.mp4", True), ("frames", False), ("frames", True),
    ("depth_00005.png", True), ("depth_00007.png", True), ("d.npz.json", False),
    ("d.npz.json", True),
]  # fmt: skip


@pytest.mark.parametrize(("name", "after"), MOMENTS)
def test_a_run_killed_while_it_names_its_outputs_goes_on_and_replaces_its_own(
    cli, several, name, after
):
    place, command, undisturbed = several
    killed(["resume", place / "d.npz.work"], at=name, after=after)
    done = cli(*command, "--resume")
    assert done.code == 0, done.err
    assert contents(place) == undisturbed


@pytest.mark.parametrize("how", ["resume", "run"])
@pytest.mark.parametrize(
    ("at", "taken"),
    [
        ("d.npz", "d.npz"), ("d.npz", "d.npz.json"), ("d.mp4", "d.npz"), ("d.mp4", "d.mp4"),
        ("frames", "frames/depth_00003.png"), ("d.npz.json", "frames/depth_00003.png"),
        ("depth_00005.png", "old/depth_00003.png"), ("depth_00005.png", "old/depth_00006.png"),
        ("d.npz.json", "old/depth_00099.png"),
    ],
)  # fmt: skip
def test_a_file_that_is_not_the_runs_is_never_replaced_when_it_goes_on(
    cli, several, how, at, taken
):
    place, command, undisturbed = several
    killed(["resume", place / "d.npz.work"], at=at)
    mine = place / taken
    mine.parent.mkdir(exist_ok=True)
    mine.unlink(missing_ok=True)
    mine.write_bytes(b"years of work")
    go_on = ["resume", place / "d.npz.work"] if how == "resume" else [*command, "--resume"]
    refused = cli(*go_on, "--quiet")
    assert refused.code == 6 and str(mine) in refused.err, refused
    assert "move it away" in refused.err and "Traceback" not in refused.err
    assert mine.read_bytes() == b"years of work"
    mine.unlink()
    done = cli(*go_on)
    assert done.code == 0, done.err
    assert contents(place) == undisturbed


@pytest.mark.parametrize("taken", ["d.npz", "d.mp4", "old/depth_00001.png", "d.npz.json"])
def test_a_file_that_appears_while_outputs_are_written_stays(cli, several, taken, monkeypatch):
    place, _command, undisturbed = several
    mine, advised = place / taken, ["resume", place / "d.npz.work"]
    real = os.fsync

    def fsync(descriptor):
        """The first thing that is synced is an output with its last frame."""
        if not mine.exists():
            mine.write_bytes(b"years of work")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    refused = cli(*advised, "--quiet")
    monkeypatch.undo()
    assert refused.code == 6 and f"{mine} is there" in refused.err, refused
    assert f"Go on with: depthcrafter resume {advised[1]}" in refused.err
    assert cli(*advised).code == 6 and mine.read_bytes() == b"years of work"
    mine.replace(place.parent / "moved")
    done = cli(*advised)
    assert done.code == 0, done.err
    assert contents(place) == undisturbed


def test_a_batch_that_goes_on_replaces_nothing_that_is_not_its_own(cli, source, tmp_path):
    clip, options = source
    command = ["batch", clip, "--out", tmp_path / "out", "--format", "npz", *options[:2],
               *options[4:], "--devices", "cpu"]  # fmt: skip
    mine = tmp_path / "out" / "clip.npz"
    killed(command, at="clip.npz")
    mine.write_bytes(b"years of work")
    refused = cli(*command, "--resume", "--retries", 0)
    assert refused.code == 7 and "was not made by this run" in refused.err, refused
    assert mine.read_bytes() == b"years of work"
    mine.unlink()
    assert cli(*command, "--resume").code == 0
    with np.load(mine) as made:
        assert len(made["depth"]) == 8


@pytest.fixture
def batch(source, tmp_path):
    """A batch of two clips with a report, and where that is."""
    clip, options = source
    for name in ("a", "b"):
        shutil.copy(clip, tmp_path / f"{name}.mp4")
    report = tmp_path / "report.json"
    command = ["batch", tmp_path / "a.mp4", tmp_path / "b.mp4", "--out", tmp_path / "out",
               "--format", "npz", *options[:2], *options[4:], "--devices", "cpu",
               "--report", report]  # fmt: skip
    return command, report


def killed_at_the_second_with_an_eager_report():
    """From here on the report is always up to date, and this process ends before b.npz is named."""
    from depthcrafter_cli.workflows.batches import report

    report._UPDATE_SECONDS = 0.0
    killed_at("b.npz", after=False)


def test_the_report_of_a_batch_is_whole_after_a_kill(cli, batch):
    command, report = batch
    assert in_child(command, killed_at_the_second_with_an_eager_report) == KILLED
    told = json.loads(report.read_text())["videos"]
    assert [(clip["name"], clip["status"]) for clip in told] == [("a", "done"), ("b", "to do")]
    assert cli(*command, "--resume").code == 0
    told = json.loads(report.read_text())["videos"]
    assert [clip["status"] for clip in told] == ["skipped", "done"]


def stopped_after_the_first(clock_is_set_back=False):
    """From here on this process is told twice to end once the first clip has its record."""
    real = os.replace

    def replace(source, target):
        real(source, target)
        if Path(target).name == "a.npz.json":
            if clock_is_set_back:
                os.utime(target, (0, 0))
            for _ in range(2):  # the second one stops at once
                signal.raise_signal(signal.SIGTERM)

    os.replace = replace


@pytest.mark.parametrize("clock_is_set_back", [False, True])
def test_a_clip_that_ends_as_the_batch_is_stopped_is_reported_done(cli, batch, clock_is_set_back):
    command, report = batch
    assert in_child(command, partial(stopped_after_the_first, clock_is_set_back)) == 130
    told = json.loads(report.read_text())["videos"]
    assert [(clip["name"], clip["status"]) for clip in told] == [("a", "done"), ("b", "to do")]
    assert not (report.parent / "out" / "a.npz.work").exists()


def test_the_report_of_many_clips_takes_little_of_the_batch(tmp_path, monkeypatch):
    clips = [TaskReport(f"shots/{k:05d}", "to do", "a", ("b",)) for k in range(1000)]
    report, writes, clock = ReportFile(tmp_path / "r.json"), 0, 0.0

    def fsync(descriptor):
        """A slow disk's."""
        nonlocal writes, clock
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            writes, clock = writes + 1, clock + 0.5

    monkeypatch.setattr("time.monotonic", lambda: clock)
    monkeypatch.setattr(os, "fsync", fsync)
    for _ in clips:
        clock += 0.1
        report.update(clips)
    assert 0.02 * clock < 0.5 * writes < 0.06 * clock
    assert len(json.loads((tmp_path / "r.json").read_text())["videos"]) == 1000


def killed_once_removed(work, files):
    """From here on this process ends when it has removed so many files of a folder."""
    removed, real = 0, Path.unlink

    def unlink(path, missing_ok=False):
        nonlocal removed
        counts = path.parent == work and path.exists()
        real(path, missing_ok=missing_ok)
        removed += counts
        if removed == files:
            kill_this_process()

    Path.unlink = unlink


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("files", [1, 2, 3, 4])
def test_state_that_a_kill_left_of_a_finished_run_is_removed_by_the_next(cli, several, files, kept):
    place, command, undisturbed = several
    work = place / "d.npz.work"
    assert in_child(["resume", work], partial(killed_once_removed, work, files)) == KILLED
    assert work.exists()
    done = cli(*command, "--resume", *(["--keep-work"] if kept else []))
    assert done.code == 0 and "already finished" in done.err, done
    assert contents(place) == undisturbed and not work.exists()


def test_state_that_cannot_be_removed_is_a_warning_after_whole_results(cli, several, monkeypatch):
    place, command, undisturbed = several
    real = Path.unlink

    def unlink(path, missing_ok=False):
        if path.name == "disparity.spool":
            raise OSError(5, "Input/output error")
        real(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink)
    done = cli("resume", place / "d.npz.work")
    assert done.code == 0 and "Input/output error" in done.err and "finished" in done.err, done
    monkeypatch.undo()
    assert cli(*command, "--resume").code == 0
    assert contents(place) == undisturbed and not (place / "d.npz.work").exists()


@pytest.fixture(scope="module")
def stopped(source, tmp_path_factory):
    """A run that was killed after some decoded frames, and the depth that it is to make."""
    clip, options = source
    place = tmp_path_factory.mktemp("stopped")
    out, work, saved = place / "d.npz", place / "d.npz.work", place / "saved"
    command = ["run", clip, "--out", out, *options, "--no-record"]
    assert in_child(command) == 0
    expected = out.read_bytes()
    out.unlink()
    in_child(command, killed_once_decoded)
    shutil.copytree(work, saved)
    assert {file.name for file in saved.iterdir()} == set(FILES)
    (shot,) = RunState(saved).shots(read_only=True)
    with shot.spool:
        assert len(shot.spool) == FRAMES and shot.load() is not None
    return work, saved, out, expected


def killed_once_decoded():
    """From here on this process ends when a window is saved after frames were decoded."""
    real = os.replace

    def replace(source, target):
        real(source, target)
        spool = Path(target).with_name("disparity.spool")
        if spool.exists() and spool.stat().st_size:
            kill_this_process()

    os.replace = replace


def edited(data, **changes):
    """A window file whose state is changed, in the format it is in."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    state = {**json.loads(header["__metadata__"]["state"]), **changes}
    header["__metadata__"]["state"] = json.dumps(state)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


def flipped(place, bit):
    """Flip a bit at a share of the file."""

    def damage(data):
        data = bytearray(data)
        data[int(place * (len(data) - 1))] ^= 1 << bit
        return bytes(data)

    return damage


LOT = random.Random(5)
DAMAGES = {
    **{f"cut {k}": (None, lambda data, k=k: data[:k]) for k in (0, 1, 8, 60)},
    "cut in half": (None, lambda data: data[: len(data) // 2]),
    "cut at its end": (None, lambda data: data[:-1]),
    "longer": (None, lambda data: data + b"\0" * 51),
    **{f"flip {k}": (None, flipped(LOT.random(), k % 8)) for k in range(4)},
    **{f"flip near the start {k}": (None, flipped(LOT.random() * 0.02, k % 8)) for k in range(2)},
    "zeros": (None, lambda data: bytes(len(data))),
    "window other last": ("window.safetensors", lambda data: edited(data, last=False)),
    "window one more": ("window.safetensors", lambda data: edited(data, windows=3)),
    "window times": ("window.safetensors", lambda data: edited(data, times=None)),
    "window no times": ("window.safetensors", lambda data: edited(data, times=[])),
    "window extra": ("window.safetensors", lambda data: edited(data, more=1)),
    "window steps": ("window.safetensors", lambda data: edited(data, steps=99)),
    "window decoded": ("window.safetensors", lambda data: edited(data, decoded=-8)),
    "window half precision": (
        "window.safetensors",
        lambda data: data.replace(b'"dtype":"F32"', b'"dtype":"I32"'),
    ),
    "window huge header": ("window.safetensors", lambda data: struct.pack("<Q", 1 << 62) + b"{}"),
    "window long header": ("window.safetensors", lambda data: struct.pack("<Q", 90_000_000) + b"{"),
    **{
        f"job {text[:9]!r}": ("job.json", lambda data, text=text: text)
        for text in (b"[]", b"null", b'"x"', b"{}", b'{"format": 4}', b"[" * 100_000, b"\xff\xfe")
    },
    "job of version 0.1": ("job.json", lambda data: data.replace(b'"format": 4', b'"format": 1')),
    "job other seed": ("job.json", lambda data: data.replace(b'"window": 5', b'"window": 6')),
    "job elsewhere": ("job.json", lambda data: data.replace(b"d.npz", b"e.npz")),
    "job not whole": ("job.json", lambda data: data.replace(b'"sha256": ', b'"sha257": ')),
}
# Those after which a run is carried out; the others are known to be noticed by what they open.
CARRIED_OUT = (
    "cut 0",
    "cut in half",
    "cut at its end",
    "longer",
    "flip 0",
    "flip 1",
    "window times",
)
CASES = [
    (file, name)
    for name, (only, _damage) in DAMAGES.items()
    for file in (FILES if only is None else [only])
]


def readable(spool):
    """Whether a spool gives all its frames."""
    try:
        return len(list(spool.frames())) == len(spool)
    except OutputError:
        return False


@pytest.mark.parametrize(("file", "name"), CASES)
def test_damaged_state_gives_the_right_depth_or_a_sentence(cli, stopped, file, name):
    work, saved, out, expected = stopped
    out.unlink(missing_ok=True)
    lay(saved, work)
    data = (work / file).read_bytes()
    damaged = DAMAGES[name][1](data)
    assert damaged != data
    (work / file).write_bytes(damaged)
    if file != "job.json" and name not in CARRIED_OUT:
        (shot,) = RunState(work).shots(read_only=True)
        with shot.spool as spool:
            assert file == "window.safetensors" or len(spool) < FRAMES or not readable(spool)
            assert file == "disparity.spool" or shot.load() is None
        return
    done = cli("resume", work)
    if file == "disparity.spool" and done.code == 6:  # damage that shows when it is read
        assert "damaged" in done.err and "resume" in done.err
        done = cli("resume", work)
    if file == "job.json":
        assert done.code == 2 and str(work) in done.err and "--overwrite" in done.err, done
        assert not out.exists()
    else:
        assert done.code == 0 and out.read_bytes() == expected, done
        whole = name in ("longer", "cut at its end") and file == "disparity.spool"
        assert whole or "begins again" in done.err, done
    assert "Traceback" not in done.err and "unexpected" not in done.err


def test_a_stopped_run_goes_on_to_another_look_which_it_then_keeps(cli, stopped, source, tmp_path):
    work, saved, out, expected = stopped
    clip, options = source
    lay(saved, work)
    look = ["--out", out.with_suffix(".mp4"), "--colormap", "gray", "--no-record", "--resume"]
    assert in_child(["run", clip, "--out", out, *options, *look], killed_once_decoded) == KILLED
    assert not out.exists()
    done = cli("resume", work)  # which says nothing of the look
    assert done.code == 0 and "begins again" not in done.err, done
    assert out.read_bytes() == expected
    fresh = tmp_path / "f.mp4"
    command = ["run", clip, "--out", fresh, *options, "--colormap", "gray", "--no-record"]
    assert cli(*command).code == 0
    assert out.with_suffix(".mp4").read_bytes() == fresh.read_bytes()


def test_a_run_that_goes_on_to_more_outputs_replaces_none_that_was_there(cli, several):
    place, command, undisturbed = several
    killed(["resume", place / "d.npz.work"], at="d.mp4")  # when d.npz has its name
    mine = place / "mine.mp4"
    mine.write_bytes(b"years of work")
    more = [*command, "--out", mine, "--colormap", "gray", "--resume"]
    refused = cli(*more)
    assert refused.code == 6 and f"{mine} is there and was not made by this run" in refused.err
    assert mine.read_bytes() == b"years of work"
    mine.unlink()
    assert cli(*more).code == 0
    made = contents(place)
    assert made["d.npz"] == undisturbed["d.npz"] and made["d.mp4"] != undisturbed["d.mp4"]
    assert made["mine.mp4"] == made["d.mp4"]


def test_the_window_or_the_spool_of_another_run_is_not_taken(cli, stopped, source, tmp_path):
    work, saved, out, expected = stopped
    clip, options = source
    in_child(["run", clip, "--out", tmp_path / "o.npz", *options, "--seed", 9], killed_once_decoded)
    for file in ("window.safetensors", "disparity.spool"):
        out.unlink(missing_ok=True)
        lay(saved, work)
        shutil.copy(tmp_path / "o.npz.work" / file, work / file)
        done = cli("resume", work)
        assert done.code == 0 and "begins again" in done.err, done
        assert out.read_bytes() == expected


def test_a_damaged_list_of_published_files_only_makes_the_run_more_careful(cli, several):
    place, _command, undisturbed = several
    work = place / "d.npz.work"
    killed(["resume", work], at="d.npz.json")
    journal = work / "published.jsonl"
    whole = journal.read_bytes()
    for damage in (b"", b"[]\nnull\n" + b"[" * 100_000, b"\xff", b'{"path": 1}\n'):
        journal.write_bytes(damage)
        refused = cli("resume", work, "--quiet")
        assert refused.code == 6 and "move it away" in refused.err, refused
    journal.write_bytes(b'{"half' + whole)
    assert cli("resume", work).code == 0
    assert contents(place) == undisturbed


def test_no_file_that_the_program_rewrites_is_mapped_once_state_is_loaded(stopped):
    maps = Path("/proc/self/maps")
    if sys.platform != "linux":
        pytest.skip("needs Linux")
    work, saved, _out, _expected = stopped
    lay(saved, work)
    (shot,) = RunState(work).shots(read_only=True)
    with shot.spool:
        found = shot.load()
        assert found is not None and len(found[0].tensors["latents"])
    assert str(work) not in maps.read_text()
    assert not [link for link in Path("/proc/self/fd").iterdir()
                if str(work) in os.path.realpath(link)]  # fmt: skip


@pytest.mark.parametrize("kind", ["video", "images"])
@pytest.mark.parametrize("moment", ["before", "while"])
def test_depth_is_never_shown_beside_other_pictures(
    cli, source, tmp_path, kind, moment, monkeypatch
):
    clip, options = source
    video, out = tmp_path / "v.mp4", tmp_path / "s.mp4"
    shutil.copy(clip, video)
    if kind == "images":
        video = tmp_path / "images"
        command = ["run", clip, "--out", video, *options, "--no-record"]
        assert cli(*command).code == 0
    command = ["run", video, "--out", out, *options, "--side-by-side"]
    target = video if kind == "video" else video / "depth_00007.png"
    from depthcrafter_cli.workflows import deliver

    real = deliver.read_frames

    def replaced(*arguments):
        """As the pictures are about to be read, another program changes the source."""
        frames = real(*arguments)
        if moment == "while":
            yield next(frames)
        os.utime(target, (1, 1))
        yield from frames

    def changed(*arguments):
        os.utime(target, (1, 1))
        return value_range(*arguments)

    value_range = deliver.value_range
    if moment == "before":
        monkeypatch.setattr(deliver, "value_range", changed)
    else:
        monkeypatch.setattr(deliver, "read_frames", replaced)
    refused = cli(*command, "--quiet")
    assert refused.code == 3 and "not what it was" in refused.err, refused
    assert not out.exists() and not (tmp_path / "s.mp4.json").exists()


def test_a_run_shorter_than_a_tick_of_the_clock_ends_well(cli, several, monkeypatch):
    place, _command, undisturbed = several
    monkeypatch.setattr("time.monotonic", lambda: 1.0)  # Windows counts it in 16 ms
    done = cli("resume", place / "d.npz.work")
    assert done.code == 0, done.err
    assert contents(place) == undisturbed
