"""Ctrl-C and SIGTERM, sent to real processes: what is kept, what is said, how it goes on."""

import json
import os
import shlex
import signal
import subprocess
import sys
from threading import Event

import numpy as np
import pytest
from processes import stop_at

from depthcrafter_cli.progress import Progress, ignore
from depthcrafter_cli.workflows.interrupts import Interrupted, stopping_between_steps

SIGNALS = [signal.SIGINT, signal.SIGTERM]
if sys.platform == "win32":
    SIGNALS.append(signal.SIGBREAK)  # Ctrl-Break, or a window that is closed


def resumed(cli, message, arguments=()):
    """Carry out the command that a message ends with; the stages of its events."""
    command = shlex.split(message.partition("Go on with: ")[2])
    assert command[:2] == ["depthcrafter", "resume"], message
    done = cli(*command[1:], *arguments, "--json")
    assert done.code == 0, done.err
    events = [json.loads(line) for line in done.out.splitlines()]
    return [event for event in events if event["event"] == "progress"]


@pytest.mark.parametrize(
    ("number", "done", "kept"),
    [(signal.SIGINT, 1, 1), pytest.param(signal.SIGTERM, 6, 4, marks=pytest.mark.slow)],
)
def test_a_signal_lets_the_step_end_and_the_run_goes_on_from_there(
    cli, clip, options, tmp_path, number, done, kept
):
    place = tmp_path / "a place"  # the command must survive a shell
    place.mkdir()
    out, whole = place / "d.npz", tmp_path / "whole.npz"
    options += ["--steps", 4]
    code, events = stop_at("denoise", done, [clip, "--out", out, *options], number)
    assert code == 130
    assert [event["event"] for event in events].count("stopping") == 1
    assert [path.name for path in place.iterdir()] == ["d.npz.work"]
    refused = cli("run", clip, "--out", out, *options)
    assert refused.code == 6 and "--resume" in refused.err
    progress = resumed(cli, events[-1]["message"])
    steps = [event["done"] for event in progress if event["stage"] == "denoise"]
    assert steps[0] >= kept and steps[-1] == 4 * 4
    assert {path.name for path in place.iterdir()} == {"d.npz", "d.npz.json"}
    assert cli("run", clip, "--out", whole, *options).code == 0
    with np.load(out) as ours, np.load(whole) as expected:
        for name in ("depth", "times", "range"):
            np.testing.assert_array_equal(ours[name], expected[name])


@pytest.mark.slow
def test_a_second_signal_stops_at_once_and_the_run_can_go_on(cli, clip, options, tmp_path):
    command = [clip, "--out", tmp_path / "d.npz", *options]
    code, events = stop_at("decode", 6, command, signal.SIGINT, signal.SIGTERM)
    assert code == 130
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mp4", "d.npz.work"]
    progress = resumed(cli, events[-1]["message"])
    assert min(event["done"] for event in progress if event["stage"] == "decode") > 3
    with np.load(tmp_path / "d.npz") as made:
        assert len(made["depth"]) == 16


@pytest.mark.slow
def test_a_run_stopped_while_writing_goes_on_without_its_model(cli, clip, options, tmp_path):
    out = tmp_path / "d.mp4"
    command = [clip, "--out", out, "--out", tmp_path / "frames", *options, "--size", "1280x720"]
    code, events = stop_at("write", 2, [*command, "--normalize", "percentile"], signal.SIGINT)
    assert code == 130
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mp4", "d.mp4.work"]
    progress = resumed(cli, events[-1]["message"])
    assert {event["stage"] for event in progress} == {"normalize", "write"}
    assert out.exists() and len(list((tmp_path / "frames").iterdir())) == 16


@pytest.mark.slow
def test_a_run_stopped_while_loading_leaves_nothing(clip, options, tmp_path):
    command = [clip, "--out", tmp_path / "d.npz", *options]
    code, events = stop_at("load", 0, command, signal.SIGTERM)
    assert code == 130 and "nothing was finished" in events[-1]["message"]
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


@pytest.fixture
def watched():
    """(observer, event that is set when the user is told) with handlers for real signals."""
    told = Event()
    with stopping_between_steps(ignore, told.set) as observe:
        yield observe, told


@pytest.mark.parametrize("number", SIGNALS)
def test_a_step_worth_keeping_is_waited_for_once(watched, number):
    observe, told = watched
    observe(Progress("denoise", 1))
    signal.raise_signal(number)
    assert told.wait(60)
    with pytest.raises(Interrupted):
        signal.raise_signal(number)
        Event().wait(60)
    with pytest.raises(Interrupted):
        observe(Progress("denoise", 2))


def test_a_stage_of_a_recipe_may_be_called_as_one_of_a_run():
    with stopping_between_steps(ignore, pytest.fail, kept=()) as observe:
        observe(Progress("decode", 20))
        with pytest.raises(Interrupted):
            signal.raise_signal(signal.SIGINT)
            Event().wait(60)


@pytest.mark.parametrize("stage", ["load", "condition", "normalize"])
def test_where_nothing_would_be_kept_a_signal_stops_at_once(watched, stage):
    observe, told = watched
    observe(Progress(stage, 0))
    with pytest.raises(Interrupted):
        signal.raise_signal(signal.SIGINT)
        Event().wait(60)
    with pytest.raises(Interrupted):  # had a finalizer swallowed the first
        observe(Progress("denoise", 1))
    assert not told.is_set()


def test_a_signal_that_a_library_swallows_is_no_error_of_its_own():
    """PyTorch says of a sequence whose first element cannot be read that it has no shape."""

    class Stopped:
        def __len__(self) -> int:
            return 1

        def __getitem__(self, index: int) -> int:
            signal.raise_signal(signal.SIGINT)
            return 1

    torch = pytest.importorskip("torch")
    with pytest.raises(Interrupted), stopping_between_steps(ignore, pytest.fail) as observe:
        observe(Progress("load", 0))
        torch.tensor(Stopped())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_for_an_import_to_end(tmp_path, number):
    (tmp_path / "slow.py").write_text(
        f"import signal\nsignal.raise_signal({int(number)})\nDONE = 1\n"
    )
    program = """
import sys, time
from depthcrafter_cli.workflows.interrupts import Interrupted, raise_on_signals
raise_on_signals()
try:
    import slow
    time.sleep(30)
except Interrupted:
    print(sys.modules["slow"].DONE)
"""
    path = os.pathsep.join([str(tmp_path), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=20,
        env=os.environ | {"PYTHONPATH": path},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr
