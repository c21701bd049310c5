"""Films: each shot is computed as if it were alone, and has a range of its own."""

import json
import re
from contextlib import ExitStack
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest
from clips import make_film
from PIL import Image
from processes import KILLED, a_worker, in_child, kill_this_process

from depthcrafter_cli import DepthCrafterPipeline, infer
from depthcrafter_cli.errors import InputError, OutputError, UsageError
from depthcrafter_cli.media.files import claimed, lock_path
from depthcrafter_cli.media.selection import ReadOptions
from depthcrafter_cli.workflows.batches.engine import LocalEngine, engine_for
from depthcrafter_cli.workflows.batches.options import Workers
from depthcrafter_cli.workflows.batches.shots import of_shard, on_engine
from depthcrafter_cli.workflows.batches.task import VideoTask, lost
from depthcrafter_cli.workflows.request import RunRequest
from depthcrafter_cli.workflows.run_plan import plan
from depthcrafter_cli.workflows.runs import run, run_shard
from depthcrafter_cli.workflows.state import RunState

LENGTHS = (9, 12, 6)
TIMES = ("0", "0.37", "0.87", "5")  # seconds between which the shots lie


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Three shots at 24 frames a second."""
    return make_film(tmp_path_factory.mktemp("film") / "film.mp4", *LENGTHS)


@pytest.fixture
def options(tiny_folder):
    return [
        "--weights", tiny_folder, "--steps", 1, "--window", 6, "--overlap", 2, "--decode-chunk", 3,
        "--max-res", 64, "--size", "model", "--quiet",
    ]  # fmt: skip


TRIVIAL = ("--method", "trivial-gradient", "--max-res", 64, "--quiet")


def arrays(path):
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def test_a_shot_has_the_same_disparity_in_the_film_and_alone(cli, film, options, tmp_path):
    out = tmp_path / "d.npz"
    done = cli("run", film, "--out", out, *options)
    assert done.code == 0, done.err
    made = arrays(out)
    borders = np.cumsum((0, *LENGTHS))
    assert list(made["shots"]) == list(borders[:-1])
    for index, (start, end) in enumerate(pairwise(TIMES)):
        alone = tmp_path / f"{index}.npz"
        part = ["--start", start, "--end", end, "--cuts", "none"]
        assert cli("run", film, "--out", alone, *options, *part).code == 0
        of_film = made["depth"][borders[index] : borders[index + 1]]
        assert np.array_equal(of_film, arrays(alone)["depth"])
        assert list(made["ranges"][index]) == [of_film.min(), of_film.max()]
    assert list(made["range"]) == [made["depth"].min(), made["depth"].max()]


def test_a_device_that_is_not_there_is_said_before_cuts_are_looked_for(cli, film, tmp_path):
    for device, code in (("cuda:99", 2), ("cpu", 0)):
        command = ["run", film, "--out", tmp_path / "d.npz", *TRIVIAL, "--device", device, "--json"]
        done = cli(*command)
        assert done.code == code and ('"stage": "read"' in done.out) is (device == "cpu"), done


def test_one_shot_is_written_as_if_nobody_had_looked_for_cuts(cli, film, tmp_path):
    part = ["--start", "0.37", "--end", "0.87", *TRIVIAL]
    for name, cuts in (("auto", []), ("none", ["--cuts", "none"])):
        outs = ["--out", tmp_path / f"{name}.npz", "--out", tmp_path / f"{name}.mp4"]
        assert cli("run", film, *outs, *part, *cuts).code == 0
    for suffix in ("npz", "mp4"):
        one, other = ((tmp_path / f"{name}.{suffix}").read_bytes() for name in ("auto", "none"))
        assert one == other


def test_ranges_and_shots_are_told_beside_and_in_the_outputs(cli, film, options, tmp_path):
    frames, work = tmp_path / "frames", tmp_path / "frames.work"
    assert cli("run", film, "--out", frames, *options, "--keep-work").code == 0
    whole, other = tmp_path / "whole.npz", tmp_path / "shots.npz"
    assert cli("finish", work, "--out", whole, "--range", "film", "--size", "model").code == 0
    assert cli("finish", work, "--out", other, "--size", "model").code == 0
    by_film, by_shot = arrays(whole), arrays(other)
    assert np.array_equal(by_film["depth"], by_shot["depth"])
    assert (by_film["ranges"] == by_film["range"]).all() and by_shot["ranges"].std(0).all()
    record = json.loads((tmp_path / "frames.json").read_text())
    assert record["cuts"] == [9, 21]
    assert [shot["value_range"] for shot in record["shots"]] == by_shot["ranges"].tolist()
    assert [shot["time"] for shot in record["shots"]] == pytest.approx([0, 9 / 24, 21 / 24])
    for number, shot in ((8, 0), (9, 1), (26, 2)):
        with Image.open(frames / f"depth_{number:05}.png") as picture:
            levels, text = np.asarray(picture), picture.text
        low, high = by_shot["ranges"][shot]
        assert text["shot"] == str(shot)
        assert (float(text["disparity_low"]), float(text["disparity_high"])) == (low, high)
        expected = (by_shot["depth"][number] - low) / (high - low) * 65535
        assert np.abs(levels - expected).max() <= 1


def killed_in_the_second_shot():
    """From here on this process ends once some of the second shot is decoded."""
    from depthcrafter_cli.media import spool

    real = spool.DisparitySpool.append

    def append(self, disparity, times):
        if self.path.parent.name == "0001" and len(self):
            kill_this_process()
        real(self, disparity, times)

    spool.DisparitySpool.append = append


def test_a_film_goes_on_in_the_shot_it_was_killed_in_without_looking_for_cuts_again(
    cli, film, options, tmp_path
):
    out, work = tmp_path / "d.npz", tmp_path / "d.npz.work"
    command = ["run", film, "--out", out, *options, "--no-record"]
    assert cli(*command).code == 0
    expected = out.read_bytes()
    out.unlink()
    assert in_child(command, killed_in_the_second_shot) == KILLED
    assert next(shot.complete for shot in RunState(work).shots(read_only=True))
    options.remove("--quiet")
    done = cli("resume", work, "--json")
    events = [json.loads(line) for line in done.out.splitlines()]
    stages = [(event["stage"], event["done"]) for event in events if event["event"] == "progress"]
    assert done.code == 0 and out.read_bytes() == expected, done.err
    assert not work.exists()
    assert "read" not in dict(stages)
    assert min(done for stage, done in stages if stage == "decode") >= LENGTHS[0]


def killed_as_the_second_shot_is_released():
    """From here on this process ends when all outputs have the second shot, before that is told."""
    from depthcrafter_cli.workflows import shot_state

    real = shot_state.ShotState.release

    def release(self, shot):
        if shot.index == 1:
            kill_this_process()
        real(self, shot)

    shot_state.ShotState.release = release


def killed_in_the_middle_of_the_last_shots_writing():
    """From here on this process ends once some frames of the last shot are written."""
    from depthcrafter_cli.media.sinks import video

    real = video.VideoSink._write

    def write(self, frame):
        if frame.number == sum(LENGTHS) - 2:
            kill_this_process()
        real(self, frame)

    video.VideoSink._write = write


def killed_at_the_end():
    """From here on this process ends when the film's packets are put together."""
    from depthcrafter_cli.media.sinks import video

    video.VideoSink._mux_kept = lambda *_args, **_options: kill_this_process()


def files_of(folder):
    """The contents of all files below a folder, by their place, without the records."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        str(file.relative_to(folder)): file.read_bytes() for file in files if file.suffix != ".json"
    }


@pytest.mark.parametrize(
    ("kill", "released"),
    [
        (killed_in_the_second_shot, {0, 1}),  # the first is written while it is computed
        pytest.param(killed_as_the_second_shot_is_released, {1}, marks=pytest.mark.slow),
        pytest.param(killed_in_the_middle_of_the_last_shots_writing, {2}, marks=pytest.mark.slow),
        (killed_at_the_end, {3}),
    ],
)
def test_shots_are_written_as_they_finish_and_their_disparity_goes(
    cli, film, options, tmp_path, kill, released
):
    def command(name):
        outs = ["--out", tmp_path / name / "d.mp4", "--out", tmp_path / name / "frames"]
        (tmp_path / name).mkdir()
        return ["run", film, *outs, *options]

    assert cli(*command("kept"), "--keep-work").code == 0  # written at the end
    assert in_child(command("killed"), kill) == KILLED
    work = tmp_path / "killed" / "d.mp4.work"
    shots = RunState(work).shots(read_only=True)
    delivered = [shot.delivered is not None for shot in shots]
    assert sum(delivered) in released and delivered == sorted(delivered, reverse=True)
    assert sum(shot.spool.path.exists() for shot in shots) <= 2
    done = cli("resume", work, "--quiet")
    assert done.code == 0, done.err
    made, expected = files_of(tmp_path / "killed"), files_of(tmp_path / "kept")
    state = {name for name in expected if name.startswith("d.mp4.work")}
    assert made == {name: data for name, data in expected.items() if name not in state}


@pytest.fixture
def stopped(cli, film, tmp_path):
    """The folder of a run that was killed at its end, with the command and what it makes whole."""
    outs = ["--out", tmp_path / "d.mp4", "--out", tmp_path / "frames"]
    command = ["run", film, *outs, *TRIVIAL, "--side-by-side"]
    assert cli(*command).code == 0
    expected = files_of(tmp_path)
    for name in expected:
        (tmp_path / name).unlink()
    (tmp_path / "frames").rmdir()
    (tmp_path / "d.mp4.json").unlink()
    assert in_child(command, killed_at_the_end) == KILLED
    return command, tmp_path / "d.mp4.work", expected


def test_what_is_lost_of_shots_that_were_written_is_computed_again(cli, stopped, tmp_path):
    _, work, expected = stopped
    # Its images have their names already.
    assert len(list((tmp_path / "frames").iterdir())) == sum(LENGTHS)
    (tmp_path / "frames" / "depth_00010.png").unlink()
    packets = work / "shots" / "0002" / "output0.packets"
    damaged = bytearray(packets.read_bytes())
    damaged[-5] ^= 1
    packets.write_bytes(damaged)
    refused = cli("resume", work, "--quiet")
    assert refused.code == 6 and "damaged" in refused.err
    shots = RunState(work).shots(read_only=True)
    assert [shot.delivered is not None for shot in shots] == [True, True, False]
    before = (tmp_path / "frames" / "depth_00000.png").stat().st_ino
    assert cli("resume", work, "--quiet").code == 0
    assert files_of(tmp_path) == expected
    assert (tmp_path / "frames" / "depth_00000.png").stat().st_ino == before


def test_shots_that_were_written_have_no_other_look(cli, stopped, tmp_path):
    command, work, _ = stopped
    for more in (["--colormap", "gray"], ["--range", "film"], ["--keep-work"]):
        refused = cli(*command, "--resume", *more)
        assert refused.code == 2 and "3 shots" in refused.err, refused.err
    for name, value in (("--cuts", "none"), ("--start", 0.1)):
        other = cli(*command, "--resume", name, value)
        assert other.code == 2 and f"differs in {name}" in other.err, other.err
    assert cli("finish", work, "--out", tmp_path / "o.npz").code == 2
    begun_again = cli(*command, "--resume", "--range", "film", "--overwrite")
    assert begun_again.code == 0, begun_again.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d.mp4", "d.mp4.json", "frames"]


def test_a_run_that_begins_again_leaves_nothing_of_the_one_before(cli, film, tmp_path):
    command = ["run", film, "--out", tmp_path / "d.mp4", *TRIVIAL]
    assert (
        in_child([*command, "--out", tmp_path / "frames"], killed_as_the_second_shot_is_released)
        == KILLED
    )
    assert list(tmp_path.glob(".frames*part"))
    assert cli(*command, "--overwrite").code == 0
    left = sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".lock")
    assert left == ["d.mp4", "d.mp4.json"]


def test_cuts_by_a_list_are_those_of_the_whole_film(cli, film, tmp_path):
    listed, out = tmp_path / "cuts.txt", tmp_path / "d.npz"
    listed.write_text("9\n15\n21\n")
    command = ["run", film, *TRIVIAL, "--cuts", listed, "--out"]
    assert cli(*command, out, "--keep-work").code == 0
    assert list(arrays(out)["shots"]) == [0, 9, 15, 21]
    part = tmp_path / "part.npz"
    assert cli(*command, part, "--start", "0.5", "--fps", "12").code == 0
    assert list(arrays(part)["shots"]) == [0, 2, 5]  # of frames 12, 14, 16, 18, 20, 22, ...
    # The list belongs to what makes the disparity.
    again = cli(*command, out, "--resume")
    assert again.code == 0 and not again.out
    listed.write_text("12\n")
    for made in (out, tmp_path / "d.npz.json"):
        made.unlink()
    changed = cli(*command, out, "--resume")
    assert changed.code == 2 and "the list of cuts" in changed.err
    other = cli(*command[:-3], "--cuts", "none", "--out", out, "--resume", "--overwrite")
    assert other.code == 0 and "shots" not in arrays(out)


@pytest.mark.parametrize(
    ("cuts", "more", "code", "says"),
    [
        ("no.csv", [], 3, "no.csv"),
        ("film.mp4", [], 3, "list of cuts"),
        ("late.txt", [], 3, "frame 99"),
        ("late.txt", ["--reference"], 2, "--reference"),
    ],
)
def test_a_list_that_cannot_be_followed_is_refused(cli, film, tmp_path, cuts, more, code, says):
    (tmp_path / "late.txt").write_text("99\n")
    path = film if cuts == film.name else tmp_path / cuts
    method = TRIVIAL[4:] if more else TRIVIAL
    refused = cli("run", film, *method, "--out", tmp_path / "d.npz", "--cuts", path, *more)
    assert (refused.code, says in refused.err) == (code, True), refused.err
    assert not (tmp_path / "d.npz").exists() and not (tmp_path / "d.npz.work").exists()


def test_images_are_one_shot_unless_a_list_says_otherwise(cli, film, tmp_path):
    frames, out = tmp_path / "frames", tmp_path / "d.npz"
    frames.mkdir()
    for index, colour in enumerate([(250, 0, 0)] * 8 + [(0, 0, 250)] * 8):
        speckled = np.random.default_rng(colour[0]).integers(0, 2, (64, 64, 1)) * np.array(colour)
        Image.fromarray(speckled.astype(np.uint8)).save(frames / f"{index:03}.png")
    assert cli("run", frames, *TRIVIAL, "--out", out).code == 0
    assert "shots" not in arrays(out)
    (tmp_path / "cuts.txt").write_text("8\n")
    listed = ["--cuts", tmp_path / "cuts.txt", "--overwrite"]
    assert cli("run", frames, *TRIVIAL, "--out", out, *listed).code == 0
    assert list(arrays(out)["shots"]) == [0, 8]


def test_each_shot_has_a_file_and_a_folder_of_its_own(cli, film, tmp_path):
    out, frames, video = tmp_path / "d.npz", tmp_path / "f", tmp_path / "v.mp4"
    command = ["run", film, *TRIVIAL, "--out", out, "--out", frames, "--out", video]
    assert cli(*command).code == 0
    whole = arrays(out)
    places = tmp_path / "per_shot"
    outs = ["--out", places / "d.npz", "--out", places / "f", "--out", places / "v.mp4"]
    apart = ["run", film, *TRIVIAL, *outs, "--per-shot"]
    done = cli(*apart)
    assert done.code == 0, done.err
    starts = [0, *whole["shots"][1:], sum(LENGTHS)]
    for index, (start, stop) in enumerate(pairwise(starts)):
        shot = arrays(places / f"d_shot{index:04}.npz")
        assert np.array_equal(shot["depth"], whole["depth"][start:stop])
        assert list(shot["range"]) == list(whole["ranges"][index])
        assert np.allclose(shot["times"], np.arange(stop - start) / 24)
        assert json.loads(str(shot["metadata_json"]))["shot"] == index
        pictures = sorted((places / "f" / f"shot{index:04}").iterdir())
        assert [file.name for file in pictures] == [f"depth_{n:05}.png" for n in range(start, stop)]
        of_film = frames / pictures[0].name
        with Image.open(pictures[0]) as one, Image.open(of_film) as other:
            assert np.array_equal(np.asarray(one), np.asarray(other))
        with av.open(str(places / f"v_shot{index:04}.mp4")) as shown:
            times = [float(frame.time) for frame in shown.decode(video=0)]
        assert np.allclose(times, np.arange(stop - start) / 24)
    made = sorted(path.name for path in places.iterdir())
    assert made == sorted(
        ["d.npz.json", "f", *(f"{name}_shot{n:04}.{suffix}" for n in range(3)
                              for name, suffix in (("d", "npz"), ("v", "mp4")))]
    )  # fmt: skip
    # Complete, by the contents of every file.
    before = (places / "d_shot0000.npz").stat().st_mtime_ns
    again = cli(*[part for part in apart if part != "--quiet"], "--resume")
    assert "already finished" in again.err
    assert again.out.split()[0] == str(places / "d_shot0000.npz")
    assert len(again.out.split()) == 3 * len(LENGTHS)
    assert (places / "d_shot0000.npz").stat().st_mtime_ns == before
    for name in ("d.npz", "f", "v.mp4"):  # each stands for all shots
        assert f"in {sum(LENGTHS)} frames" in cli("check", places / name).out
    (places / "v_shot0001.mp4").write_bytes(b"mine")
    refused = cli(*apart, "--resume")
    assert refused.code == 6 and "exists" in refused.err


def test_shots_are_not_written_over_files_that_are_there(cli, film, tmp_path):
    mine = tmp_path / "d_shot0002.npz"
    mine.write_text("mine")
    refused = cli("run", film, *TRIVIAL, "--out", tmp_path / "d.npz", "--per-shot")
    assert refused.code == 6 and mine.name in refused.err and mine.read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == [mine.name]
    again = cli("run", film, *TRIVIAL, "--out", tmp_path / "d.npz", "--per-shot", "--overwrite")
    assert again.code == 0 and np.load(mine)["depth"].shape[0] == LENGTHS[2]


def test_a_plan_knows_the_shots_and_counts_the_part_that_is_read(cli, film):
    part = ["--method", "trivial-gradient", "--start", "0.2", "--end", "1"]
    planned = json.loads(cli("plan", film, *part, "--json").out)
    assert (planned["shots"], planned["frames"]) == (3, 19)
    told = cli("plan", film, *part).out
    assert "19 frames in 3 shots" in told
    uncut = json.loads(cli("plan", film, *part, "--cuts", "none", "--json").out)
    states = [each["disk_bytes"]["state"] for each in (planned, uncut)]
    held = 4 + LENGTHS[1]  # the first two shots
    assert states[0] == pytest.approx(states[1] * held / 19, rel=0.02)
    seen = []
    plan(RunRequest(film, (), method="trivial-gradient", reading=ReadOptions(end=Fraction(1, 2))),
         observer=seen.append)  # fmt: skip
    assert {(event.stage, event.total) for event in seen} == {("read", 12)} and len(seen) == 12


@pytest.mark.parametrize(("shots", "says"), [((1, 2), "run the film again"), ((), "the batch")])
def test_what_is_said_of_a_lost_worker_suits_its_task(film, shots, says):
    task = VideoTask("shots 1 to 2", RunRequest(film, (), only_shots=shots))
    assert says in lost(task, "cpu #1", "exit code -9").error


def test_from_python_a_film_is_cut_as_run_does(cli, film, options, tiny_folder, tmp_path):
    out = tmp_path / "d.npz"
    assert cli("run", film, "--out", out, *options).code == 0
    settings = {"steps": 1, "window": 6, "overlap": 2, "decode_chunk": 3, "max_res": 64}
    with DepthCrafterPipeline.from_pretrained(tiny_folder, device="cpu") as pipeline:
        steps, events = [], []
        depth = pipeline(
            film, size="model", observer=events.append,
            callback_on_step_end=lambda _pipeline, step, *_rest: steps.append(step), **settings,
        )  # fmt: skip
        disparity, times = depth
        made = arrays(out)
        assert np.array_equal(disparity, made["depth"]) and np.array_equal(times, made["times"])
        assert depth.cuts == tuple(made["shots"][1:]) == (9, 21)
        windows = 2 + 3 + 1  # evenly spread over each shot
        assert steps == list(range(windows))
        decoded = [event.done for event in events if event.stage == "decode"]
        assert decoded == sorted(decoded) and decoded[-1] == sum(LENGTHS)
        assert pipeline(film, size="model", cuts="none", **settings).cuts == ()
        pictures = np.zeros((2, 64, 64, 3), np.uint8)
        with pytest.raises(UsageError, match="`cuts`"):
            pipeline(pictures, cuts="list.csv", **settings)
    with pytest.raises(InputError, match=r"list\.csv"):
        infer(film, method="trivial-gradient", cuts=tmp_path / "list.csv")


class Recorded(LocalEngine):
    """Notes which shots it is given."""

    def __init__(self, device):
        super().__init__(device)
        self.given = []

    def start(self, task):
        self.given.append(task.request.only_shots)
        super().start(task)


def test_a_film_whose_shots_are_tasks_is_the_same_file(film, tmp_path):
    listed, engine = tmp_path / "cuts.txt", Recorded("cpu")
    listed.write_text("\n".join(map(str, range(1, 27))))  # more shots than tasks
    for name, elsewhere in (("one", None), ("tasks", on_engine(engine))):
        request = RunRequest(
            film, (tmp_path / f"{name}.npz",), cuts=str(listed), max_res=64, record=False,
            method="trivial-gradient", device="cpu",
        )  # fmt: skip
        assert run(request, elsewhere=elsewhere) is not None
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "tasks.npz").read_bytes()
    assert sorted(shot for part in engine.given for shot in part) == list(range(27))
    assert 2 <= len(engine.given) <= 17
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".npz", ".npz", ".txt"]


def test_shots_of_workers_are_written_as_they_finish(film, tmp_path):
    listed, one, other = tmp_path / "cuts.txt", tmp_path / "one.mp4", tmp_path / "other.mp4"
    listed.write_text("\n".join(map(str, range(1, 27))))
    request = RunRequest(
        film, (one,), cuts=str(listed), max_res=64, record=False, method="trivial-gradient",
        device="cpu",
    )  # fmt: skip
    assert run(request) is not None
    held = []

    class Watched(Recorded):
        def start(self, task):
            shots = RunState(tmp_path / "other.mp4.work").shots(read_only=True)
            held.append(sum(shot.spool.path.exists() for shot in shots))
            super().start(task)

    engine = Watched("cpu")
    assert run(replace(request, outputs=(other,)), elsewhere=on_engine(engine)) is not None
    assert other.read_bytes() == one.read_bytes()
    assert engine.given == sorted(engine.given) and max(held) <= max(map(len, engine.given))


@pytest.mark.slow
def test_a_film_in_shards_is_the_same_file(cli, film, options, tmp_path):
    one, other, late = tmp_path / "one.mp4", tmp_path / "other.mp4", tmp_path / "late.npz"
    options.remove("--quiet")
    command = ["run", film, *options, "--align", "windows", "--no-record", "--json", "--out"]
    assert cli(*command, one).code == 0
    left = []
    for part in ("2/2", "1/2"):
        done = cli(*command, other, "--shard", part)
        assert done.code == 0, done.err
        told = json.loads(done.out.splitlines()[-1])
        left.append((told["frames"], told["shots_left"]))
        assert not other.exists()
    assert left == [(LENGTHS[2], 2), (sum(LENGTHS[:2]), 0)]
    work = tmp_path / "other.mp4.work"
    assert cli("finish", work, "--out", late, "--size", "model").code == 0
    assert cli("resume", work, "--quiet").code == 0
    assert other.read_bytes() == one.read_bytes() and not work.exists()
    assert len(arrays(late)["depth"]) == sum(LENGTHS)


def test_a_shot_is_computed_by_one_process_at_a_time(cli, film, tmp_path):
    command = ["run", film, *TRIVIAL, "--out", tmp_path / "d.npz"]
    assert cli(*command, "--shard", "1/3").code == 0
    shots = RunState(tmp_path / "d.npz.work").shots(read_only=True)
    with claimed([shots[1].place]):
        refused = cli(*command, "--shard", "2/3")
        assert refused.code == 6 and "another run" in refused.err
        assert cli(*command, "--shard", "3/3").code == 0
    assert cli(*command, "--overwrite").code == 0  # what a shard left is no obstacle
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d.npz", "d.npz.json"]


def test_a_shard_that_waits_for_the_cuts_says_so_once(film, tmp_path):
    request = RunRequest(film, (tmp_path / "d.npz",), method="trivial-gradient", max_res=64)
    with ExitStack() as other:  # the job that looks for cuts, until this one has said that it waits
        other.enter_context(claimed([request.work_folder]))
        said = []

        def warn(sentence):
            said.append(sentence)
            other.close()

        assert run_shard(request, of_shard("1/2"), warn=warn) == (sum(LENGTHS[:2]), 1)
    (line,) = said
    assert str(lock_path(request.work_folder)) in line and re.search(r"since \d\d:\d\d:\d\d", line)


def test_a_shard_is_one_process(cli, film, tmp_path):
    asked = ["--out", tmp_path / "d.npz", "--devices", "cpu", "--shard", "1/2"]
    refused = cli("run", film, *TRIVIAL, *asked)
    assert refused.code == 2 and "--shard" in refused.err


def test_workers_and_a_device_of_the_run_contradict_each_other(cli, film, tmp_path):
    asked = ["--out", tmp_path / "d.npz", "--devices", "cpu", "--device", "cpu"]
    refused = cli("run", film, *TRIVIAL, *asked)
    assert refused.code == 2 and "--device out" in refused.err


def test_what_a_worker_cannot_do_is_an_error_of_the_run(film, tmp_path):
    work = tmp_path / "d.npz.work"
    request = RunRequest(film, (tmp_path / "d.npz",), method="trivial-gradient", device="cpu")

    class Spoilt(Recorded):
        def start(self, task):
            (work / "shots").write_text("no folder")
            super().start(task)

    with pytest.raises(OutputError, match="shots"):
        run(request, elsewhere=on_engine(Spoilt("cpu"), retries=0))
    assert not (tmp_path / "d.npz").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("engine", "name", "align"),
    [
        ("processes", "d.npz", "off"),
        ("processes", "d.mp4", "skeleton"),
        ("ray", "d.npz", "skeleton"),
        ("ray", "d.mp4", "windows"),
    ],
)
def test_a_film_on_two_workers_one_of_which_dies_is_the_same_file(
    cli, film, options, tmp_path, engine, name, align
):
    out, other = tmp_path / "one" / name, tmp_path / "two" / name
    done = cli("run", film, "--out", out, *options, "--no-record", "--align", align)
    assert done.code == 0, done.err
    settings = {"steps": 1, "window": 6, "overlap": 2, "decode_chunk": 3, "align": align}
    request = RunRequest(
        film, (other,), size="model", weights=str(options[1]), max_res=64, device="cpu",
        settings=settings, record=False, create_folders=True,
    )  # fmt: skip
    killed = []

    def kill_one(event):
        if event.stage == "decode" and not killed and (worker := a_worker()):
            worker.kill()
            killed.append(worker.pid)

    warned = []
    workers = engine_for(Workers("cpu,cpu", engine))
    assert run(request, kill_one, warned.append, elsewhere=on_engine(workers)) is not None
    assert killed and other.read_bytes() == out.read_bytes()
    assert any("run the film again" in sentence for sentence in warned)
